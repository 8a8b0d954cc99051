"""A cascade of attacks on one model, cheap ones first, each on the images that are still right.

An accuracy under one attack is an upper bound of what a model withstands. The bound is tighter if
an image counts as broken by whichever attack breaks it (Carlini et al. 2019, "On evaluating
adversarial robustness", ask for the worst case example by example). Where each attack runs on what
those before have left, as in AutoAttack (Croce and Hein 2020, "Reliable evaluation of adversarial
robustness with an ensemble of diverse parameter-free attacks"), dear attacks see few images.

An image is broken if what an attack returns lies within `epsilon` of it, in the norm of the
cascade, and the defended model errs on it, in a pass of its own. Which model was attacked, and what
that said, plays no part. So an attack without a bound (DeepFool, CW, HopSkipJump) counts where its
image happens to lie in the ball. Which images are broken does not depend on the order of the
attacks; which attack is named for an image does, and what all of them cost. (Both are so of attacks
that begin by themselves. One may also go on from the strongest image that those before it found.)

A randomised model is attacked on fresh draws or on known ones (`judge`). On known ones it is as a
deterministic one. On fresh ones an image is broken that the model errs on in all draws by which the
attacker selects; all others go on to the next attack, and of all images that the attacks made of
one the attacker keeps that on which the model errs most often. No success on fewer draws ends an
attack. How accurate the model is on the kept images, draws tell that played no part until then
(`protocols`); what is counted before is the attacker's opinion.

A cascade of `every_image` asks each attack about all images that are right as they are. It costs
more, and tells besides what each attack leaves by itself. An attack that goes on leaves nothing by
itself, and is asked there, too, only about images that are left.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purification.attacks import MaskedGradientError, run_attack
from purification.attacks.contract import NORMS
from purification.evaluation.accuracy import share
from purification.evaluation.checks import DOUBLED, Bench, check_steps
from purification.evaluation.judge import Judge, Selection, change, on_fresh_draws
from purification.evaluation.protocols import FIXED, judging_seed
from purification.evaluation.purifiers import Files, fitted_purifier
from purification.evaluation.threat_models import (
    KNOWN,
    attacked_model,
    knows_draws,
    surrogate_model,
)
from purification.models.checkpoints import load_network
from purification.provenance import DamagedFile, digest_of, name_of, place_of
from purification.randomness import derive_seed, is_randomised
from purification.runtime import progress, warn
from purification.storage import (
    ImageSet,
    read_split,
    read_state,
    write_checkpoint,
    write_image_set,
)

CLEAN, LEFT = -2, -1
"""`found_by` of an image that is misclassified without attack, and of one that no stage broke."""
TRANSFER = "transfer:"
"""Begins the threat model of an attacker of another defence, whose name follows."""
PASSES = ("passes", "purifier_passes", "classifier_passes")
COST_COLUMNS = (
    *("dataset", "seed", "classifier", "defense", "cascade", "norm", "epsilon", "draws", "known"),
    *("stage", "kind", "attack", "threat_model", "begin"),
    *("asked", "broken", "outside", "left", "accuracy"),
    *(*PASSES, "seconds", "refused"),
)
"""Columns of the costs of a cascade, a row a stage, of which the first, `clean` (stage -1), is the
pass of the images as they are; behind the stages a row a step of the checks
(`evaluation.checks`), which `kind` names. begin: "strongest", if the stage went on from what was
found before it. asked: images that the stage attacked; broken: those that it broke, in a cascade
of `every_image` also those that were broken before; outside: those on whose image the defended
model errs, but which lie outside the ball; left and accuracy: images that are right after it,
and their share of all. Of a randomised model `draws` are those of each image by which the
attacker selects, and `known` whether it is attacked and judged on them: an image that is not
right is one that errs on all of them, and accuracy is the mean share of them that are right;
where they are not known, that is the attacker's estimate. passes: images in forward passes of
the defended model, for the attack and for the judgement after it; purifier_passes and
classifier_passes: in those of purifiers and of bare classifiers, of which the defended model is
made and which are attacked by themselves; of purifiers also other defences' and surrogates,
which cost less. seconds: measured, for all this. refused: why the stage has no images, its
gradient being masked."""


@dataclass(frozen=True)
class Stage:
    """An attack on a model.

    Attributes:
        attack: `name`, `method`, `settings` and, of a user's own, `files`, as in an `Attack`
            recipe.
        threat_model: what the attacker has, in a word.
        model: what it attacks, images (N, C, H, W) in [0, 1] to logits: the defended model, or one
            with its predictions and another gradient, or a third, whose images are transferred.
        goes_on: whether it begins at the strongest image that the stages before found of each, not
            by itself.
    """

    attack: Mapping[str, Any]
    threat_model: str
    model: nn.Module
    goes_on: bool = False


@dataclass
class Found:
    """What a cascade has found so far, of N images.

    Attributes:
        images: float32 (N, C, H, W), the strongest image of each: that which broke it, or, as long
            as none did, that of greatest margin, the image itself included.
        found_by: int64 (N,), the number of the stage that broke it, from 0; `CLEAN` or `LEFT`.
        predictions: int64 (N,), the defended model's of `images`; of a randomised one on the first
            of the draws by which the attacker selects.
        margin: float32 (N,), its largest other logit minus the label's for `images`; of a
            randomised one the mean over these draws.
        errors: int64 (N,), on how many of these draws it errs on `images`; of a deterministic one
            0 or 1.
        made_by: int64 (N,), the number of the stage that made `images`, -1 of the image itself.
        tried: float32 (S, N, C, H, W), what each of the S stages that are done made of each image;
            the image itself where it did not attack it, or left the ball. Kept in a cascade of
            `every_image`; else S is 0. What a stage that went on made, it did not by itself.
        broke: bool (S, N), which of them it broke, by itself.
        costs: of the clean pass, of each stage and of each step of the checks, by the names of
            `COST_COLUMNS` from `stage` on.
        checked: what the checks found (`evaluation.checks`).
    """

    images: Tensor
    found_by: Tensor
    predictions: Tensor
    margin: Tensor
    errors: Tensor
    made_by: Tensor
    tried: Tensor
    broke: Tensor
    costs: list[dict[str, Any]] = field(default_factory=list)
    checked: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> Tensor:
        """The numbers of the images that are right under all that was run, ascending."""
        return (self.found_by == LEFT).nonzero().squeeze(1)

    @property
    def right_at_first(self) -> Tensor:
        """The numbers of those that are right as they are, ascending."""
        return (self.found_by != CLEAN).nonzero().squeeze(1)

    def record(self, cost: Mapping[str, Any], seconds: float, draws: int) -> str:
        """Add the costs of a stage, and return them in words. `draws`: by which an image is
        selected."""
        left, judged = len(self.left), draws * len(self.found_by)
        shares = {"left": left, "accuracy": (judged - int(self.errors.sum())) / judged}
        self.costs.append({**cost, **shares, "seconds": round(seconds, 3)})
        why = f"; refused: {cost['refused']}" if cost["refused"] else ""
        named = [cost[name] for name in ("attack", "threat_model", "kind") if cost.get(name)]
        return (
            f"{', '.join(named)}: asked {cost['asked']}, broken {cost['broken']}, left {left} of "
            f"{len(self.found_by)}, {seconds:.1f} s{why}"
        )


@dataclass(frozen=True)
class Saved:
    """Where the state of a cascade is kept after each stage, and of which cascade it is: `digest`
    is one of all that decides what it finds."""

    path: Path
    digest: str

    def save(self, found: Found) -> None:
        tensors = {name: getattr(found, name) for name in _TENSORS}
        noted = {name: json.dumps(getattr(found, name)) for name in _NOTED}
        write_checkpoint(self.path, tensors, {"digest": self.digest}, **noted)

    def load(self) -> Found | None:
        """The state, if there is one of this cascade. A damaged one is set aside."""
        if not self.path.exists():
            return None
        try:
            tensors, metadata = read_state(self.path)
        except DamagedFile as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            warn(f"{error}. It is now {aside}; the cascade begins anew")
            return None
        if metadata["recipe"].get("digest") != self.digest or {*tensors} != {*_TENSORS}:
            return None  # of another cascade, or of an earlier version
        noted = {name: json.loads(metadata[name]) for name in _NOTED if name in metadata}
        return Found(**tensors, **noted)


_OF_DRAWS = ("errors", "made_by")
_OF_IMAGES = ("found_by", "predictions", "margin", *_OF_DRAWS)
_TENSORS = ("images", *_OF_IMAGES, "tried", "broke")
_NOTED = ("costs", "checked")
_RESULT = ("broken", "outside")
Tell = Callable[[str, int, int], None]
"""Is told what was done, in words, how many steps after the clean pass are, and how many will be.
"""


def _printed(line: str, done: int, steps: int) -> None:
    print(line)


def run_cascade(
    defended: nn.Module,
    stages: Sequence[Stage],
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    seed: int,
    batch_size: int,
    counted: Mapping[str, Iterable[nn.Module]] | None = None,
    saved: Saved | None = None,
    selection: Selection | None = None,
    checks: bool = False,
    every_image: bool = False,
    tell: Tell = _printed,
) -> Found:
    """Attack images by stage after stage, each on those that are right under all before it.

    An image that is misclassified as it is counts as broken, and is not attacked. Of a randomised
    model "misclassified" is on all draws of the `selection`; as long as an image is not, the one of
    its candidates is kept that errs on most of them, and of equal ones that of greatest margin.

    A stage whose gradient is exactly zero for all images that it is asked about is recorded as
    refused, and the next one runs. An attack draws random numbers by (`seed`, its name, its threat
    model, the number of the image), so that what it does to an image depends neither on the other
    images, nor on the batch size, nor on the place of its stage, unless it `goes_on`.

    Args:
        defended: the model that is judged, (N, C, H, W) in [0, 1] -> logits (N, K).
        stages: in this order. Those that are done in the saved state are passed over.
        images: float32 (N, C, H, W) in [0, 1], on the CPU: the first N of a set, in its order.
        labels: int64 (N,).
        norm: "linf" or "l2".
        epsilon: radius of the ball around each image, in pixel units of [0, 1].
        seed: of the attacks' random numbers.
        batch_size: images at a time.
        counted: the modules whose passes are counted, by the names of `PASSES`; if not given, those
            of `defended` as `passes`.
        saved: where the state is kept after each stage; that of the same cascade is taken up.
        selection: of a randomised `defended`, the draws by which its attacker selects.
        checks: whether it is looked into, after all stages, what they may have missed
            (`evaluation.checks`); the first of them is a further stage.
        every_image: whether each stage that does not go on attacks all images that are right as
            they are, and what it leaves by itself is kept.
        tell: called after the clean pass and after each step; by default the words are printed.

    Raises:
        ValueError: unknown norm, or as `run_attack`, whose other errors it raises, too, but for
            MaskedGradientError.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
    if is_randomised(defended) != (selection is not None):
        kind = "randomised" if selection is None else "deterministic"
        raise ValueError(f"a selection is for a randomised model; got a {kind} one and {selection}")
    judge = Judge(defended, images, labels, norm, epsilon, batch_size, selection)
    found = saved.load() if saved else None
    with _counting({"passes": [defended]} if counted is None else counted) as passes:
        line = ""
        if found is None:
            found, line = _clean(judge, passes)
        run = partial(_run, judge, found, seed, every_image=every_image)
        steps = [partial(run, stage, number) for number, stage in enumerate(stages)]
        if checks:
            attacked = partial(_attacked, judge, seed)
            steps += check_steps(Bench(stages, found, judge, run, attacked, every_image))
        if line:
            tell(line, 0, len(steps))
        for step in steps[len(found.costs) - 1 :]:
            began = time.perf_counter()
            cost = step()
            cost |= {**_taken(passes), "refused": cost.pop("refused")}
            line = found.record(cost, time.perf_counter() - began, judge.draws)
            tell(line, len(found.costs) - 1, len(steps))
            if saved:
                saved.save(found)
    return found


def _clean(judge: Judge, passes: Counter[str]) -> tuple[Found, str]:
    """All images as they are, and what that cost, in words."""
    began, everything = time.perf_counter(), torch.arange(len(judge.images))
    said = judge.says(judge.images, everything)
    wrong = said.errors == judge.draws
    found = Found(
        judge.images.clone(),
        torch.where(wrong, CLEAN, LEFT),
        said.predictions,
        said.margin,
        said.errors,
        made_by=torch.full_like(said.errors, -1),
        tried=judge.images[None][:0],
        broke=wrong[None][:0],
    )
    cost = {"stage": -1, "attack": "clean", "threat_model": "clean", "asked": len(wrong)}
    cost |= {"broken": int(wrong.sum()), "outside": 0, **_taken(passes), "refused": None}
    return found, found.record(cost, time.perf_counter() - began, judge.draws)


def _run(
    judge: Judge,
    found: Found,
    seed: int,
    stage: Stage,
    number: int,
    kind: str | None = None,
    every_image: bool = False,
) -> dict[str, Any]:
    """A stage, which may be one of a kind of check. Its costs, without passes and time."""
    kept = every_image and kind is None
    alone = kept and not stage.goes_on
    rows, refused = found.right_at_first if alone else found.left, None
    result, tried = dict.fromkeys(_RESULT, 0), judge.images.clone()
    broke = torch.zeros(len(tried), dtype=torch.bool)
    if len(rows):
        try:
            begin_at = found.images[rows] if stage.goes_on else None
            attacked = _attacked(judge, seed, stage, rows, begin_at)
        except MaskedGradientError as error:
            refused = " ".join(str(error).split())
        else:
            result, inside = _take(attacked, rows, number, judge, found, broke)
            tried[rows[inside]] = attacked[inside]
    if kept:
        found.tried = torch.cat([found.tried, tried[None]])
        found.broke = torch.cat([found.broke, broke[None]])
    name = {"kind": kind} if kind else {}
    name |= {"attack": stage.attack["name"], "threat_model": stage.threat_model}
    name |= {"begin": "strongest"} if stage.goes_on else {}
    return {"stage": number, **name, "asked": len(rows), **result, "refused": refused}


def _attacked(
    judge: Judge, seed: int, stage: Stage, rows: Tensor, begin_at: Tensor | None = None
) -> Tensor:
    """What the stage's attack makes of the images `rows`, by itself or from those of `begin_at`."""
    attack, own = stage.attack, judge.selection
    known = knows_draws(stage.threat_model)
    with progress(len(rows), f"{attack['name']}, {stage.threat_model}", "image") as bar:
        return run_attack(
            attack["method"],
            stage.model,
            judge.images[rows],
            judge.labels[rows],
            indices=rows.tolist(),
            seed=derive_seed(seed, attack["name"], stage.threat_model),
            batch_size=judge.batch_size,
            settings=attack["settings"],
            files=attack.get("files"),
            progress=bar,
            draws="fixed" if known else "fresh",
            judge=own.seed if known and own is not None and own.known else None,
            begin_at=begin_at,
        ).images


def _take(
    attacked: Tensor, rows: Tensor, number: int, judge: Judge, found: Found, broke: Tensor
) -> tuple[dict[str, int], Tensor]:
    """Judge what a stage made of the images `rows`, and keep what is stronger than before. Returns
    the counts, and which of them lie in the ball; those that are broken are noted in `broke`."""
    said, inside = judge.says(attacked, rows), judge.inside(attacked, rows)
    wrong, before = said.errors == judge.draws, found.errors[rows]
    more = (said.margin > found.margin[rows]) & (said.errors == before)
    kept = inside & (more | (said.errors > before))
    stronger, broken = rows[kept], wrong & inside
    found.images[stronger], found.made_by[stronger] = attacked[kept], number
    found.predictions[stronger], found.margin[stronger] = said.predictions[kept], said.margin[kept]
    found.errors[stronger] = said.errors[kept]
    broke[rows[broken]] = True
    found.found_by[(found.found_by == LEFT) & broke] = number
    counts = (broken, wrong & ~inside)
    return {name: int(one.sum()) for name, one in zip(_RESULT, counts, strict=True)}, inside


@contextmanager
def _counting(groups: Mapping[str, Iterable[nn.Module]]) -> Iterator[Counter[str]]:
    """Counts the images in forward passes of modules inside the block, by the name of the group."""
    passes: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, modules in groups.items():

            def count(_: nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
                passes[name] += len(arguments[0])

            for module in modules:
                stack.callback(module.register_forward_pre_hook(count).remove)
        yield passes


def _taken(passes: Counter[str]) -> dict[str, int]:
    """The passes since the last call."""
    taken = {name: passes[name] for name in PASSES}
    passes.clear()
    return taken


def attack_adaptively(
    recipe: Mapping[str, Any],
    files: Files,
    path: str,
    batch_size: int,
    device: torch.device,
    state: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Writes the strongest images that a cascade found to `path`, as an `AttackedAdaptively` recipe
    says, and returns what they cost: rows of `COST_COLUMNS`.

    The file has for each image what `Found` says, and `linf` and `l2`, the norms of its change. Its
    attributes: `norm`, `epsilon`, `clean_correct` and `correct` (images that are right without
    attack, and under all stages), their share `accuracy` with Wilson's 95 % interval `ci_low` and
    `ci_high`, `attackers` (stages that were not refused), and `stages`, a JSON list that has of the
    clean pass and of each stage what `COST_COLUMNS` says, without seconds: the same recipe gives
    the same bytes. With `checks` in the recipe, those at twice the iterations are among the stages,
    and the attribute `checks` is `Found.checked` as JSON.

    A randomised purifier is attacked on known draws if the recipe says so (`known_draw`); all this
    is then on them, and the attribute `protocol` is `fixed`. Otherwise the set that is found is
    judged when all is done, on `judged_draws` fresh ones: `predictions` and `clean_predictions`,
    both (N, D), are on these. In place of the numbers above the attribute `protocols` has them, a
    JSON list with one mapping for `one_shot` and one for `evaluations`, which say `clean_accuracy`
    under the same protocol, too; `selection_draws` are those by which the attacker selected.

    `state`: the file that keeps what is done after each stage, and that a rerun takes up if it is
    of this recipe; `finish_cascade` removes it. `files` are the recipe's inputs by name.

    With `every_image` in the recipe there is what each stage leaves by itself: `broken_by`, bool
    (N, S), of the S stages; or, judged on fresh draws, `stage_predictions` (N, D, S), of what each
    made. (Of one with `begin` among the `stages` it is what it made of the images left.) Images
    that were made for known draws are then judged on fresh ones, too: `fresh_predictions` (N, D).

    Raises as `run_cascade`.
    """
    split = recipe.get("split", "test")
    images, labels = map(torch.from_numpy, read_split(files["dataset"], split, recipe["images"]))
    attackers = _Attackers.of(recipe, files, device, images)
    defended, seed = attackers.models["white_box"], derive_seed(recipe["seed"], name_of(path))
    selection = Selection.of(recipe, seed)
    stages = [
        Stage(
            *(one["attack"], one["threat_model"], attackers.models[one["threat_model"]]),
            goes_on="begin" in one,
        )
        for one in recipe["stages"]
    ]
    ball = {"norm": recipe["norm"], "epsilon": recipe["epsilon"], "batch_size": batch_size}
    found = run_cascade(
        *(defended, stages, images, labels),
        **ball,
        seed=seed,
        counted=attackers.counted,
        saved=None if state is None else Saved(place_of(state), digest_of(recipe)),
        selection=selection,
        checks=recipe.get("checks", False),
        every_image=recipe.get("every_image", False),
    )
    made = _image_set(found, images, labels, recipe)
    if selection is not None and "judged_draws" in recipe:
        fresh = Selection(judging_seed(recipe), recipe["judged_draws"])
        judge = Judge(defended, images, labels, **ball, selection=fresh)
        made = on_fresh_draws(made, judge, selection, found.tried)
    write_image_set(path, made, recipe, recipe["seed"])
    named = {"dataset": recipe["dataset"]["name"], "classifier": recipe["classifier"]["name"]}
    named |= {name: recipe[name] for name in ("seed", "defense", "cascade", "norm", "epsilon")}
    by = (None, None) if selection is None else (selection.draws, selection.known)
    named |= dict(zip(("draws", "known"), by, strict=True))
    return [named | cost for cost in found.costs]


def finish_cascade(state: str | Path) -> None:
    """Remove the state of a cascade, all files of whose job are written."""
    place_of(state).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Attackers:
    """What each attacker attacks, by the threat model, and the parts whose passes are counted. The
    defended model is that of `white_box`."""

    models: Mapping[str, nn.Module]
    counted: Mapping[str, list[nn.Module]]

    @classmethod
    def of(
        cls, recipe: Mapping[str, Any], files: Files, device: torch.device, images: Tensor
    ) -> "_Attackers":
        """Of an `AttackedAdaptively` recipe, which attacks `images`."""
        purifier, classifier = _parts(recipe, files, device)
        models = {"white_box": classifier, "classifier": classifier, "gray_box": classifier}
        if purifier is not None:
            for name in ("white_box", "white_box_bpda"):
                models[name] = attacked_model(name, purifier, classifier)
                models[f"{name}{KNOWN}"] = models[name]
        if recipe["gray"] is not None:
            models["gray_box"] = load_network(files["gray_box"], "Classifier").to(device)
        purifiers, classifiers = [purifier], [classifier, models["gray_box"]]
        for name, other in recipe["others"].items():
            own, network = _parts(other, _of_other(other, files, name), device)
            models[TRANSFER + name] = network
            if own is not None:
                models[TRANSFER + name] = attacked_model("white_box", own, network)
            purifiers, classifiers = [*purifiers, own], [*classifiers, network]
        for stage in recipe["stages"]:
            if settings := stage.get("surrogate"):
                made = surrogate_model(purifier, classifier, settings, images.to(device))
                models[stage["threat_model"]] = made
                purifiers.append(made.purifier)
        counted = {
            "passes": [models[name] for name in ("white_box", "white_box_bpda") if name in models],
            "purifier_passes": [one for one in purifiers if one is not None],
            "classifier_passes": [*dict.fromkeys(classifiers)],
        }
        return cls(models, counted)


def _parts(
    recipe: Mapping[str, Any], files: Files, device: torch.device
) -> tuple[nn.Module | None, nn.Module]:
    """Purifier, if there is one, and classifier of a defence."""
    classifier = load_network(files["classifier"], "Classifier").to(device)
    if recipe["purifier"] is None:
        return None, classifier
    return fitted_purifier(recipe["purifier"], files).to(device), classifier


def _of_other(other: Mapping[str, Any], files: Files, name: str) -> dict[str, str]:
    """The files of another defence, whose images are transferred, by the names that it knows."""
    networks = (other["purifier"] or {}).get("networks", ())
    own = {part: files[f"transfer_{name}_{part}"] for part in ("classifier", *networks)}
    return {"dataset": files["dataset"], **own}


def _image_set(found: Found, images: Tensor, labels: Tensor, recipe: Mapping[str, Any]) -> ImageSet:
    drawn = "selection_draws" in recipe
    kept = [name for name in _OF_IMAGES if drawn or name not in _OF_DRAWS]
    fields = {name: getattr(found, name).numpy() for name in kept}
    if len(found.broke) and not drawn:
        fields["broken_by"] = found.broke.T.numpy()
    fields |= {norm: change(found.images, images, norm).float().numpy() for norm in NORMS}
    stages = [
        {k: v for k, v in cost.items() if k != "seconds"}
        for cost in found.costs
        if cost.get("kind") in (None, DOUBLED)
    ]
    attributes = {
        **{name: recipe[name] for name in ("norm", "epsilon")},
        "attackers": sum(stage["refused"] is None for stage in stages[1:]),
        "stages": json.dumps(stages),
    }
    if not drawn:
        right = share((found.found_by == LEFT).numpy())
        attributes |= {name: right[name] for name in ("correct", "accuracy", "ci_low", "ci_high")}
        attributes["clean_correct"] = int((found.found_by != CLEAN).sum())
    if recipe.get("checks"):
        attributes["checks"] = json.dumps(found.checked)
    if recipe.get("known_draw"):
        attributes["protocol"] = FIXED
    return ImageSet(found.images.numpy(), labels.numpy(), fields, attributes)
