"""From the config's names to artifacts: what the rules ask for everything they make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

from purification.diffusers_folder import is_folder, read_folder, weights_of, wrong_images
from purification.experiments.artifacts import (
    AdversarialCopies,
    AdversarialSet,
    Artifact,
    Attack,
    AttackedAdaptively,
    AttackedDefense,
    BlackBoxSet,
    BuiltPurifier,
    CascadeStage,
    Classifier,
    Dataset,
    EndToEnd,
    OtherDefense,
    PurifiedBlackBox,
    PurifiedImages,
    Substitute,
    Sweep,
    Timing,
    TrainedAEGAN,
    TrainedAutoencoder,
    TrainedBiGAN,
    TrainedDefense,
    TrainedDiffusion,
    TrainedGAN,
    TrainedGenerator,
    TrainedNetwork,
    TrainedVAE,
    cell_group,
)
from purification.experiments.cascades import (
    OTHER_SEED,
    SURROGATE,
    THREAT_MODELS,
    TRANSFER,
    WHOLE,
    called,
)
from purification.experiments.config import ConfigError
from purification.experiments.grids import sweep_cells, sweep_epsilons
from purification.experiments.image_counts import available, beyond
from purification.experiments.methods import stated
from purification.experiments.names import NONE, PLAIN, VARIED, Names, base_name
from purification.experiments.papers import PAPERS
from purification.experiments.protocols import KNOWN, SELECTION_DRAWS
from purification.experiments.quirks import KEY, NO_GRADIENT
from purification.experiments.references import SEARCHES, WGAN_GP
from purification.facts import facts_at
from purification.plugins import file_digest, source_digest
from purification.reach import too_short

SWEPT_SETTINGS = ("step_size", "momentum", "starts", "precision", "optimizer")
"""What a sweep has of its defence's search: it takes all steps of all restarts."""
SEARCH_ARITHMETIC = 3
"""Raised when the latent search computes the same in another order, which changes the last bits."""
DIFFUSION = "diffusion"
GENERATIVE_MODELS: Mapping[str, type[TrainedNetwork]] = {
    WGAN_GP: TrainedGenerator,
    "ae_gan": TrainedAEGAN,
    "bigan": TrainedBiGAN,
    "gan": TrainedGAN,
    DIFFUSION: TrainedDiffusion,
}
"""Kinds of the config's generators."""
TRAINED_DEFENSES = {made.KIND: made for made in (TrainedAutoencoder, TrainedVAE)}
"""What defences that are trained have learned, by the KIND that they state; others' is a
`TrainedDefense`."""
_TRAINING = ("epochs", "batch_size", "learning_rate")
_VAE_TRAINING = ("epochs", "batch_size", "learning_rate", "reconstruction", "kl_weight")


class Catalogue(Names):
    """All artifacts that a config can name. Names that it does not define raise ConfigError."""

    @cache  # noqa: B019
    def printed_numbers(self, paper: str) -> str:
        """The digest of the file of a paper's numbers: with them a table or figure changes; and the
        `revision` of what is known of them, if it has had one."""
        path = self._papers / f"{paper}.csv"
        if not path.is_file():
            return ""
        return f"{file_digest(path)[:16]}{PAPERS[paper].known.get('revision', '')}"

    def _network(
        self, dataset: str, section: str, name: str, training: str = PLAIN
    ) -> dict[str, Any]:
        """A classifier's or generator's settings on a data set (`per_dataset`), with digests of
        what else decides. Of one that was trained elsewhere the settings of a training count only
        where a defence, `training`, trains it anew. Raises ConfigError if there are none.
        """
        settings = {k: v for k, v in self._lookup(section, name).items() if k != KEY}
        settings |= settings.pop("per_dataset", {}).get(dataset, {})
        settings |= _own(settings.get("architecture", ""), settings)
        if "checkpoint" not in settings:
            return settings
        checkpoint = settings.pop("checkpoint")
        weights: dict[str, Any] = {"checkpoint": file_digest(weights_of(checkpoint))}
        if is_folder(checkpoint):
            weights |= read_folder(checkpoint)
        if training == PLAIN:
            return {k: v for k, v in settings.items() if k not in _TRAINING} | weights
        if missing := [key for key in _TRAINING if key not in settings]:
            needed = ", ".join(missing)
            raise ConfigError(f"{section}.{name}: defenses.{training} trains it; missing: {needed}")
        return settings

    @cache  # noqa: B019 (one catalogue lives as long as the process)
    def dataset(self, dataset: str) -> Dataset:
        settings = dict(self._lookup("datasets", dataset))
        if ":" in settings["source"]:
            # A user's loader is told where the data lie, and may return anything that is there.
            settings["data_root"] = self.config["data_root"]
        return Dataset(dataset, settings | _own(settings["source"], settings))

    @cache  # noqa: B019
    def generator(
        self, dataset: str, seed: int, generator: str, kind: str | None = None
    ) -> TrainedNetwork:
        """A generative model of the config. `kind`: the one that it must be of."""
        settings = self._network(dataset, "generators", generator)
        own = settings.pop("kind", WGAN_GP)
        if kind not in (None, own):
            raise ConfigError(f"generators.{generator} is of the kind {own}, not {kind}")
        if own == DIFFUSION:
            self._check_sides(dataset, generator, settings.get("unet"))
        make = GENERATIVE_MODELS[own]
        return make(self.dataset(dataset).for_training, seed, generator, settings)

    def _check_sides(self, dataset: str, generator: str, unet: Any = None) -> None:
        """Raise ConfigError if a diffusion model, or that of a folder, is not for the images of a
        data set, as far as its source states them."""
        source = self._lookup("datasets", dataset)["source"]
        shape = stated("datasets", source).get("shape")
        if unet is not None:
            for what in wrong_images(unet, tuple(shape)) if shape else ():
                raise ConfigError(f"generators.{generator}, datasets.{dataset}: {what}")
            return
        _, *sides = shape or [0]
        if any(side % 4 for side in sides):
            shown = "x".join(map(str, sides))
            raise ConfigError(
                f"generators.{generator}: a diffusion model needs images whose sides are multiples "
                f"of 4; datasets.{dataset} has {shown}"
            )

    def settings_of(self, defense: str) -> dict[str, Any]:
        """What the config sets of what a defence states, or of a user's own."""
        settings, facts = self._lookup("defenses", defense), self._facts[base_name(defense)]
        own = ":" in settings["method"]
        given = settings.get("settings", {}) if own else settings
        if facts is None or (own and "settings" not in facts.stated):
            return dict(given)
        defaults = {} if facts.stated.get("unfilled") else facts.defaults
        return defaults | {k: given[k] for k in facts.settings if k in given and k != "generator"}

    @cache  # noqa: B019
    def trained(
        self, dataset: str, seed: int, defense: str, classifier: str = ""
    ) -> TrainedDefense:
        """What a defence has learned, for a classifier where that makes a difference."""
        settings = self._lookup("defenses", defense)
        if not (learns_from := self.stated(defense, "learns_from")):
            raise ConfigError(f"defenses.{defense} is not trained")
        if self._per_classifier(defense) != bool(classifier):
            each = "no purifier" if classifier else "a purifier"
            raise ConfigError(f"{defense} has {each} for each classifier: {defense}@A, say")
        if "start" in settings:
            return self.end_to_end_vae(dataset, seed, defense, classifier)
        own, given = self.settings_of(defense), dict[str, Any]()
        copies = own.pop("copies") if "copies" in learns_from else ()
        make = TRAINED_DEFENSES.get(self.stated(defense, "kind"), TrainedDefense)
        if make is TrainedDefense:
            given |= {"method": settings["method"], **_own(settings["method"], settings)}
        if "classifier" in learns_from:
            given["victim"] = self.classifier(dataset, seed, PLAIN, classifier)
        if "generator" in settings:
            made = self.generator(dataset, seed, settings["generator"])
            given["networks"] = {"generator": made}
        return make(
            self.dataset(dataset).for_training,
            seed,
            defense,
            own,
            classifier=classifier,
            copies=tuple(self.copies(dataset, seed, classifier, name) for name in copies),
            **given,
        )

    @cache  # noqa: B019
    def copies(self, dataset: str, seed: int, classifier: str, attack: str) -> AdversarialCopies:
        """Attacked copies of the training images, as `copies.<attack>` says."""
        settings = dict(self._lookup("copies", attack))
        lists = {key: value for key, value in settings.items() if isinstance(value, list)}
        single = {key: value for key, value in settings.items() if key not in lists}
        variants = [(f"{k}={v}", {k: v}) for k, values in sorted(lists.items()) for v in values]
        base = self._attack_on_network(attack)
        attacks = tuple(
            (name, replace(base, settings={**base.settings, **single, **own}))
            for name, own in variants or [("copy", {})]
        )
        for name, one in attacks:
            self._look_at(one, f"copies.{attack} ({name})")
        victim = self.classifier(dataset, seed, PLAIN, classifier)
        return AdversarialCopies(self.dataset(dataset).for_training, seed, attack, attacks, victim)

    @cache  # noqa: B019
    def end_to_end(self, dataset: str, seed: int, defense: str, classifier: str) -> EndToEnd:
        """A VAE and its classifier, trained together."""
        settings = self._lookup("defenses", defense)
        if "start" not in settings:
            raise ConfigError(f"defenses.{defense} is not trained end to end")
        vae = self.trained(dataset, seed, self.deployment_of(settings["start"]), classifier)
        assert isinstance(vae, TrainedVAE)
        if settings["from_scratch"]:
            # Of the start only the kinds of network and the pairs count, not how it is trained.
            own = {k: v for k, v in vae.settings.items() if k not in _VAE_TRAINING}
            vae = replace(vae, settings=own)
            begun = self.classifier(dataset, seed, PLAIN, classifier)
            network = self._network(dataset, "classifiers", classifier, defense)
            begun = replace(begun, settings=network)
        else:
            begun = self.deployed(dataset, seed, settings["start"], classifier)
        return EndToEnd(
            self.dataset(dataset),
            seed,
            defense,
            vae,
            begun,
            settings["from_scratch"],
            {key: settings[key] for key in (*_VAE_TRAINING, "classifier_weight")},
            self.attacked_classifier(dataset, seed, PLAIN, classifier, settings["curve"]),
        )

    def end_to_end_vae(self, dataset: str, seed: int, defense: str, classifier: str) -> TrainedVAE:
        """The VAE that comes of it."""
        training = self.end_to_end(dataset, seed, defense, classifier)
        return replace(training.vae, name=defense, copies=(), end_to_end=training)

    @cache  # noqa: B019
    def purifier(self, dataset: str, seed: int, defense: str) -> BuiltPurifier:
        defense = self.deployment_of(defense)
        settings = self._lookup("defenses", defense)
        method = settings["method"]
        networks: dict[str, Any] = {}
        if method == "adversarial_training":
            raise ConfigError(f"defenses.{defense} is adversarial training: it purifies nothing")
        if "generator" in settings:
            networks["generator"] = self.generator(dataset, seed, settings["generator"])
        if self.stated(defense, "learns_from"):
            name, _, classifier = defense.partition(VARIED)
            learned = self.trained(dataset, seed, name, classifier)
            networks[self.stated(defense, "weights", "weights")] = learned
            method = self.stated(defense, "loaded_as", method)
            return BuiltPurifier(defense, seed, method, {}, networks)
        own = self.settings_of(defense)
        if self.stated(defense, "from_encoder"):
            own["search"] = "steps" in settings
            if steps := own.get("steps"):
                # A step size that doubles fits a few L only.
                sizes = dict(own.pop("step_sizes", ()))
                own["step_size"] = sizes.get(steps, own["step_size"])
            if rule := own.pop("rule", None):
                own["false_positive_rate"] = rule["false_positive_rate"]
                one_pass = self.purified_images(dataset, seed, rule["one_pass"], "validation")
                networks["validation"] = one_pass
        # The base's name seeds the starts: a varied search has the same.
        made = BuiltPurifier(
            base_name(defense), seed, method, own, networks, **_own(method, settings)
        )
        return replace(made, arithmetic=SEARCH_ARITHMETIC) if "steps" in settings else made

    @cache  # noqa: B019
    def purified_images(self, dataset: str, seed: int, defense: str, split: str) -> PurifiedImages:
        own = self._lookup("defenses", self.deployment_of(defense))
        images = own.get("clean_images") if split == "test" else None
        purifier = self.purifier(dataset, seed, defense)
        data = self.dataset(dataset)
        data = data if split == "test" else data.for_training
        # The networks that learn from purified images are those of a defence without quirks.
        place, quirks = self._deployed_as(purifier, defense, NONE if split == "test" else split)
        draws = self.judged_draws(defense) if split == "test" else None
        return PurifiedImages(data, seed, split, images, purifier, place, draws, quirks)

    @cache  # noqa: B019
    def classifier(self, dataset: str, seed: int, trained_for: str, classifier: str) -> Classifier:
        """`trained_for`: "plain", or the key of the defence that the classifier is trained for:
        adversarially, or on the purifier's reconstructions of the training images."""
        settings = self._network(dataset, "classifiers", classifier, trained_for)
        _check_unvaried(trained_for)
        data = self.dataset(dataset).for_training
        plain = Classifier(data, seed, trained_for, classifier, settings)
        if trained_for == PLAIN:
            return plain
        defense = self._lookup("defenses", trained_for)
        if defense["method"] == "adversarial_training":
            attack = dict(defense)
            if attack.pop("attack", "fgsm") == "pgd":
                del attack["method"]
                return replace(plain, adversarial_pgd=attack)
            labels = defense.get("labels", "ground_truth")
            return replace(plain, adversarial_epsilon=defense["epsilon"], adversarial_labels=labels)
        if "start" in defense:
            trained = self.end_to_end(dataset, seed, trained_for, classifier)
            return replace(plain, end_to_end=trained)
        purifier = self.for_classifier(trained_for, classifier)
        images = self.purified_images(dataset, seed, purifier, "train")
        return replace(plain, reconstructions=images)

    def deployed(self, dataset: str, seed: int, defense: str, classifier: str) -> Classifier:
        """The classifier that stands behind a defence; "plain": the one without."""
        if defense == PLAIN:
            return self.classifier(dataset, seed, PLAIN, classifier)
        settings = self._lookup("defenses", defense)
        # Without this key it has a classifier of its own.
        retrained = settings.get("classifier") != "originals"
        trained_for = base_name(self.deployment_of(defense)) if retrained else PLAIN
        return self.classifier(dataset, seed, trained_for, classifier)

    def attack(self, attack: str, *, draws: bool = False) -> Attack:
        """An attack; `draws`: on a randomised model, on which alone its `expectation` tells."""
        entry = self._lookup("attacks", attack)
        others = ["method", "images", "paper_name", "published_reach", "files", "settings", KEY]
        others += [] if draws else ["expectation"]
        settings = {k: v for k, v in entry.items() if k not in others}
        settings = {**entry.get("settings", {}), **settings}
        made = Attack(attack, entry["method"], settings, **_own(entry["method"], entry))
        self._look_at(made, f"attacks.{attack}", entry.get("published_reach"))
        return made

    def _look_at(self, attack: Attack, place: str, published: float | None = None) -> None:
        """Remark on an attack whose steps cannot cross its ball, unless they go the share of the
        way that is `published`: those are its paper's."""
        short = too_short(attack.method, attack.settings)
        if short and not (published and short.goes(published)):
            self.remarks.setdefault(place, f"{place}: {short}")

    def _attack_on_network(self, attack: str) -> Attack:
        """An attack that a bare classifier is made for. Raises ConfigError for another."""
        if self.searches_codes(attack):
            raise ConfigError(
                f"attacks.{attack} searches the codes of a defense's generator, and a bare "
                "classifier has none: expected only among the attacks of a table of the form "
                "`direct`, such as table4 (not first, where its picture is)"
            )
        return self.attack(attack)

    @cache  # noqa: B019
    def attacked_classifier(
        self,
        dataset: str,
        seed: int,
        trained_for: str,
        classifier: str,
        attack: str,
        split: str = "test",
    ) -> AdversarialSet:
        """An attack on a bare classifier, `trained_for` as there; of validation images, on all."""
        number = self._lookup("attacks", attack)["images"]["gray_box"]
        number = number if split == "test" else None
        victim = self.classifier(dataset, seed, trained_for, classifier)
        data = self.dataset(dataset) if split == "test" else self.dataset(dataset).for_training
        return AdversarialSet(data, seed, self._attack_on_network(attack), number, victim, split)

    @cache  # noqa: B019
    def attacked_defense(
        self, dataset: str, seed: int, defense: str, classifier: str, attack: str
    ) -> AttackedDefense:
        """A purifier and its classifier under an attack, in the defence's threat models."""
        own, draws = self._lookup("attacks", attack), self.judged_draws(defense)
        models = self.threat_models(defense)
        like = {"surrogate": "white_box"}
        threat_models = {n: own["images"][like.get(n, n.removesuffix(KNOWN))] for n in models}
        model_free = facts_at("attacks", own["method"]).stated.get("model_free")
        if VARIED in attack or model_free:
            # Of an attack of another strength there is the gray box alone: what pictures show. One
            # that looks at no model makes the same images for every attacker.
            threat_models = {k: v for k, v in threat_models.items() if k == "gray_box"}
        if self.searches_codes(attack):
            # It has no gray box, and BPDA's backward pass has no part in it.
            threat_models = {k: v for k, v in threat_models.items() if k == "white_box"}
        again = {}
        if not self.needs_gradient(attack):
            # What it sees is the same with BPDA's backward pass as without.
            plain = {name: _white_box_of(name) for name in threat_models}
            again = {
                name: other
                for name, other in plain.items()
                if name != other and threat_models.get(other, 0) == threat_models[name]
            }
            threat_models = {k: v for k, v in threat_models.items() if k not in again}
        gray = None
        if "gray_box" in threat_models:
            gray = self.attacked_classifier(dataset, seed, PLAIN, classifier, attack)
        quirks = self.quirks_of(defense, threat_models)
        if not self.needs_gradient(attack):
            quirks = tuple(name for name in quirks if name != NO_GRADIENT)
        purifier = self.purifier(dataset, seed, self.for_classifier(defense, classifier))
        return AttackedDefense(
            self.dataset(dataset),
            seed,
            self.attack(attack, draws=draws is not None),
            threat_models,
            self.deployed(dataset, seed, defense, classifier),
            purifier,
            gray,
            None if purifier.name == defense else defense,
            draws,
            self._lookup("defenses", defense)["surrogate"]
            if "surrogate" in threat_models
            else None,
            again or None,
            quirks,
        )

    @cache  # noqa: B019
    def cascade(
        self,
        dataset: str,
        seed: int,
        cascade: str,
        defense: str,
        classifier: str,
        known_draw: bool = False,
    ) -> AttackedAdaptively:
        """A defence under a cascade of the config; "none": the plain classifier. It has those of
        the stages that mean something for it (`_stages_for`). A randomised one has stages of its
        own, or, on a draw that the attacker knows, those of the deterministic ones."""
        settings = self.cascade_settings(cascade)
        split = settings.get("split", "test")
        self._check_images(f"cascades.{cascade}", settings["images"], dataset, split)
        data = self.dataset(dataset)
        wanted, draws = self._drawn_stages(cascade, settings, defense, known_draw)
        run = (dataset, seed)
        own = self._deployment(*run, defense, classifier)
        plain = self.classifier(*run, PLAIN, classifier)
        stages = self._stages_for(seed, defense, own, plain, wanted, known_draw)
        if not stages:
            raise ConfigError(f"cascades.{cascade}: none of its stages is for {defense}")
        asked = dict.fromkeys(stage.threat_model for stage in stages)
        others = [name.removeprefix(TRANSFER) for name in asked if name.startswith(TRANSFER)]
        return AttackedAdaptively(
            data if split == "test" else data.for_training,
            seed,
            cascade,
            defense,
            settings["norm"],
            settings["epsilon"],
            settings["images"],
            stages,
            own.classifier,
            own.purifier,
            plain if "gray_box" in asked and plain != own.classifier else None,
            {name: self._other(*run, name, defense, classifier) for name in others},
            **draws,
            checks=settings.get("checks", False),
            every_image=settings.get("every_image", False),
            split=split,
        )

    def _drawn_stages(
        self, cascade: str, settings: Mapping[str, Any], defense: str, known_draw: bool
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """The stages of a cascade for a defence, and the draws on which they attack it."""
        judged = None if defense == NONE else self.judged_draws(defense)
        if judged is None:
            if known_draw:
                raise ConfigError(f"{defense} is not randomised: no attacker knows a draw of it")
            return settings["stages"], {}
        if known_draw:
            afresh = {"judged_draws": judged} if settings.get("every_image") else {}
            return settings["stages"], {"known_draw": True, **afresh}
        own = settings.get("randomised")
        if own is None:
            raise ConfigError(
                f"cascades.{cascade}: {defense!r} is randomised, and this cascade has no stages "
                "for such a defense: give it `randomised: {stages: [...]}`, of attacks that end at "
                "no first success"
            )
        selected = own.get("selection_draws", SELECTION_DRAWS)
        return own["stages"], {"selection_draws": selected, "judged_draws": judged}

    def _stages_for(
        self,
        seed: int,
        defense: str,
        own: OtherDefense,
        plain: Classifier,
        stages: Sequence[Mapping[str, Any]],
        known_draw: bool,
    ) -> tuple[CascadeStage, ...]:
        """The stages of a cascade for a defence that deploys `own`: without those that do not
        concern it, and without a second one of an attack on the same network."""
        made: list[CascadeStage] = []
        kinds: list[tuple[str, str, str | None]] = []
        for stage in stages:
            attack, threat_model = stage["attack"], called(stage)
            if not self._concerns(stage, seed, defense):
                continue
            if own.purifier is None:  # then there is a classifier alone
                threat_model = threat_model.removesuffix(":classifier")
            attacked = threat_model
            if threat_model == "gray_box":
                attacked = plain.path
            elif threat_model in THREAT_MODELS and not (own.purifier and threat_model in WHOLE):
                attacked = own.classifier.path
            drawn = self._is_drawn(threat_model, defense)
            if not self.needs_gradient(attack):
                attacked = _white_box_of(attacked)
            if own.purifier is None and attacked == own.classifier.path:
                threat_model = "white_box"  # by whatever name: that is the whole defence
            elif known_draw and (threat_model in WHOLE or SURROGATE in stage):
                threat_model, drawn = f"{threat_model}{KNOWN}", False
            # Of the stages that are left the first has nothing to go on from.
            begin = stage.get("begin") if made else None
            named = (self.attack(attack, draws=drawn), threat_model, stage.get(SURROGATE), begin)
            # One that goes on begins elsewhere each time, unless nothing was between.
            kind = (attack, attacked, begin)
            if kind not in (kinds[-1:] if begin else kinds):
                kinds.append(kind)
                made.append(CascadeStage(*named))
        return tuple(made)

    def _is_drawn(self, threat_model: str, defense: str) -> bool:
        """Whether an attacker of a threat model looks at a randomised purifier."""
        other = threat_model.removeprefix(TRANSFER)
        own = other == threat_model or OTHER_SEED.fullmatch(other)
        name = defense if own else other
        if name == NONE or threat_model in ("gray_box", "classifier"):
            return False
        return self.judged_draws(name) is not None

    def _concerns(self, stage: Mapping[str, Any], seed: int, defense: str) -> bool:
        """Whether a stage of a cascade means something for a defence: without a purifier there is
        no backward pass to replace, an attack on a generator's codes needs one, as a surrogate
        needs a cheaper version, and nothing is transferred from the defence to itself."""
        threat_model, purifies = stage["threat_model"], defense != NONE and self.purifies(defense)
        if threat_model == "white_box_bpda" and not purifies:
            return False
        if threat_model == SURROGATE:
            return purifies and self.has_surrogate(defense, stage[SURROGATE])
        other = threat_model.removeprefix(TRANSFER)
        transfers, found = other != threat_model, OTHER_SEED.fullmatch(other)
        if self.searches_codes(stage["attack"]):
            searched = other if transfers and not found else defense
            if searched == NONE or not self.purifies(searched):
                return False
            # Of a randomised one they are others in each draw.
            if self.judged_draws(searched) is not None or not self.generates(searched):
                return False
        if not transfers:
            return True
        if found:
            return int(found["seed"]) != seed and (purifies or found["part"] != "purifier")
        return bool(other != defense)

    def _other(
        self, dataset: str, seed: int, name: str, defense: str, classifier: str
    ) -> OtherDefense:
        """What the attacker of a transfer has: another defence, or this one, or a part of it,
        trained with another seed."""
        if not (found := OTHER_SEED.fullmatch(name)):
            return self._deployment(dataset, seed, name, classifier)
        made = self._deployment(dataset, int(found["seed"]), defense, classifier)
        own = self._deployment(dataset, seed, defense, classifier)
        if found["part"] == "purifier":
            return replace(made, classifier=own.classifier)
        return replace(made, purifier=own.purifier) if found["part"] else made

    def _check_images(self, place: str, number: int | None, dataset: str, split: str) -> None:
        """Raise ConfigError for more images than a data set's split has."""
        there = available(self.config, dataset, split)
        for key, what in beyond("images", number or 1, f"datasets.{dataset}.{split}", there):
            raise ConfigError(f"the config is wrong:\n  {place}.{key}: {what}")

    def _deployment(self, dataset: str, seed: int, defense: str, classifier: str) -> OtherDefense:
        """What a defence deploys; "none": the plain classifier."""
        if defense == NONE:
            return OtherDefense(self.classifier(dataset, seed, PLAIN, classifier), None)
        deployed, purifier = self.deployed(dataset, seed, defense, classifier), None
        if self.purifies(defense):
            purifier = self.purifier(dataset, seed, self.for_classifier(defense, classifier))
        return OtherDefense(deployed, purifier)

    @cache  # noqa: B019
    def substitute(
        self, dataset: str, seed: int, oracle: str, classifier: str, substitute: str
    ) -> Substitute:
        """The substitute of an attacker who asks the plain `classifier` (oracle: "plain"), or the
        one that the defence `oracle` deploys."""
        _check_unvaried(oracle)
        purifier = None
        if oracle != PLAIN and self.purifies(oracle):
            self._check_deterministic(oracle, "be asked for labels")
            purifier = self.purifier(dataset, seed, self.for_classifier(oracle, classifier))
        network = self._lookup("classifiers", substitute)
        own = {key: network.get(key, "paper") for key in ("architecture", "dropout")}
        return Substitute(
            # Of the test images it reads the first 150, whatever their number in MNIST's layout.
            self.dataset(dataset).for_training,
            seed,
            oracle,
            self.deployed(dataset, seed, oracle, classifier),
            purifier,
            substitute,
            own | _own(network["architecture"], network),
            dict(self.config["substitute"]),
        )

    @cache  # noqa: B019
    def black_box(
        self, dataset: str, seed: int, oracle: str, classifier: str, substitute: str, attack: str
    ) -> BlackBoxSet:
        """An attack on that substitute."""
        number = self._lookup("attacks", attack)["images"].get("black_box")
        surrogate = self.substitute(dataset, seed, oracle, classifier, substitute)
        return BlackBoxSet(
            self.dataset(dataset), seed, self._attack_on_network(attack), number, surrogate
        )

    def purified_black_box(
        self, dataset: str, seed: int, defense: str, **names: str
    ) -> PurifiedBlackBox:
        """The images of `black_box`, purified by a defence."""
        self._check_deterministic(defense, "be judged on transferred attacks")
        attacked = self.black_box(dataset, seed, **names)
        purifier = self.purifier(dataset, seed, defense)
        place, quirks = self._deployed_as(purifier, defense, "black_box")
        return PurifiedBlackBox(self.dataset(dataset), seed, attacked, purifier, place, quirks)

    def _check_deterministic(self, defense: str, what: str) -> None:
        """What is asked for by its file, and not for a study, which looks at its own defences."""
        if self.judged_draws(defense) is not None:
            raise ConfigError(f"defenses.{defense} is randomised, and cannot {what} here yet")

    def _deployed_as(
        self, purifier: BuiltPurifier, defense: str, threat_model: str
    ) -> tuple[str | None, tuple[str, ...]]:
        """The folder of what a purifier with another L or R makes (None: the purifier's own name),
        and the quirks with which it does. A redeployed one is looked up by the purifier that it
        deploys, unless it has other quirks."""
        name, quirks = self.deployment_of(defense), self.quirks_of(defense, [threat_model])
        if quirks != self.quirks_of(name, [threat_model]):
            name = defense
        return (None if name == purifier.name else name), quirks

    @cache  # noqa: B019
    def clean_sweep(self, dataset: str, seed: int, defense: str, split: str) -> Sweep:
        """The search of a defence on clean images, at all L and R that are wanted of them."""
        data = self.dataset(dataset)
        own = self._lookup("defenses", defense)
        limits = {
            "test": own.get("clean_images"),
            "validation": self.study("sweep").settings["validation_images"],
        }
        return Sweep(
            data if split == "test" else data.for_training,
            seed,
            defense,
            self._searcher(dataset, seed, defense),
            self._cells(dataset, None),
            split=split,
            images=limits.get(split),
        )

    @cache  # noqa: B019
    def black_box_sweep(self, dataset: str, seed: int, defense: str, **names: str) -> Sweep:
        """The same on the images of `black_box`."""
        attacked = self.black_box(dataset, seed, **names)
        epsilon = attacked.attack.settings.get("epsilon")
        if epsilon is None:
            raise ConfigError(f"attacks.{names['attack']} has no epsilon: no sweep is made of it")
        searcher = self._searcher(dataset, seed, defense)
        cells = self._cells(dataset, epsilon)
        return Sweep(attacked.dataset, seed, defense, searcher, cells, attacked=attacked)

    def _cells(self, dataset: str, epsilon: float | None) -> dict[str, tuple[int, int]]:
        """The (L, R) of a sweep, by the names of their groups."""
        cells = sweep_cells(self.config, dataset, epsilon)
        if not cells:
            known = ", ".join(map(str, sweep_epsilons(self.config, dataset))) or "none"
            asked = "the clean images" if epsilon is None else f"epsilon {epsilon}"
            raise ConfigError(
                f"no table or figure sweeps {asked} of {dataset}; epsilons swept there: {known}"
            )
        return {cell_group(*cell): cell for cell in cells}

    def _searcher(self, dataset: str, seed: int, defense: str) -> BuiltPurifier:
        """A search-based purifier without its own L and R."""
        _check_unvaried(defense)
        self._check_deterministic(defense, "be swept")
        if self._lookup("defenses", self.deployment_of(defense))["method"] not in SEARCHES:
            raise ConfigError(f"defenses.{defense} is no latent search")
        purifier = self.purifier(dataset, seed, defense)
        settings = {k: v for k, v in purifier.settings.items() if k in SWEPT_SETTINGS}
        return replace(purifier, settings=settings)

    @cache  # noqa: B019
    def timing(self, dataset: str, seed: int, defense: str, table: str = "table13") -> Timing:
        """How long the defence's search takes, as a table asks for it."""
        _check_unvaried(defense)
        self._check_deterministic(defense, "be timed")
        study = self.study(table)
        settings = self._lookup("defenses", defense)
        if settings["method"] not in SEARCHES:
            raise ConfigError(f"defenses.{defense} is no latent search")
        wanted = ("steps", "restarts", "repeats", "largest_batch")
        return Timing(
            self.dataset(dataset),
            seed,
            defense,
            {k: settings[k] for k in ("step_size", "momentum", "optimizer") if k in settings},
            self.generator(dataset, seed, settings["generator"]),
            {key: study.settings[key] for key in wanted},
            study.place_of_times(defense),
        )

    def own_files(self, made: Artifact) -> list[str]:
        """The files that users' own code reads in the making of an artifact or of what it is made
        from: each once, sorted."""
        if not self.files:
            return []
        owners = {(_SECTION[type(owner)], owner.name) for owner in _owners(made)}
        return sorted({path for owner in owners for path in self._files_of(*owner)})


_SECTION = {
    Dataset: "datasets",
    Classifier: "classifiers",
    Substitute: "classifiers",
    Attack: "attacks",
    BuiltPurifier: "defenses",
    TrainedDefense: "defenses",
}
"""Artifacts that an entry of the config stands behind, by its name; an entry of which section."""


def _owners(value: Any) -> Iterator[Any]:
    """The artifacts of `_SECTION` in an artifact and in what it is made from."""
    if type(value) in _SECTION:
        yield value
    if isinstance(value, Artifact):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _owners(item)


def _check_unvaried(defense: str) -> None:
    """Of a search with another L or R there are the images that it purifies. No classifier is
    trained for it, no substitute asks it, and it is neither swept nor timed."""
    if VARIED in defense:
        raise ConfigError(f"{defense}: with another L there are only purified images")


def _white_box_of(threat_model: str) -> str:
    """Of a threat model with BPDA's backward pass the one without."""
    bpda = "white_box_bpda"
    return (
        threat_model.replace(bpda, "white_box") if threat_model.startswith(bpda) else threat_model
    )


def _own(place: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """For a user's own code: a digest of its file, so that an edit there is one of the recipe; and
    those of the `files` that the entry says it reads, by name."""
    if ":" not in place:
        return {}
    digests = {name: file_digest(path) for name, path in entry.get("files", {}).items()}
    return {"code": source_digest(place), **({"files": digests} if digests else {})}
