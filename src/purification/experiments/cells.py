"""What the cells of all tables share: how a defence is named, and the accuracies without attack."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from purification.experiments.artifacts import AdversarialSet, Attack, Cell, Substitute
from purification.experiments.catalogue import Catalogue
from purification.experiments.methods import architectures, settings_of, stated
from purification.experiments.names import PLAIN, base_name
from purification.experiments.papers import Study, paper_name
from purification.experiments.protocols import protocols
from purification.experiments.quirks import KEY, ordered
from purification.experiments.studies import encoder_column
from purification.facts import decorated

CLEAN = "none"
"""Attack and defence of a cell that has none."""
UNIT_RANGE = [0, 1]
"""The range of our images."""
NOT_AS_NAMED = "not_as_named"
"""As `evaluation.measure.NAMING_COLUMN`, which this room may not import."""


def clean_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, *, hold_out: bool
) -> Iterator[Cell]:
    """Accuracy on clean test images, undefended and behind each defence of the table.

    `hold_out`: without the images that the black-box attacker has.
    """
    common = of_run(catalogue, dataset, seed, classifier, CLEAN)
    yield undefended(catalogue, dataset, seed, classifier, CLEAN, hold_out=hold_out)
    for defense in defenses_of(catalogue, study):
        labels = common | named_defense(catalogue, study, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if catalogue.purifies(defense):
            purifier = catalogue.for_classifier(defense, classifier)
            purified = catalogue.purified_images(dataset, seed, purifier, "test")
            for protocol in protocols(CLEAN, catalogue.judged_draws(defense)):
                yield Cell(labels | protocol, deployed, purified, hold_out=hold_out)
        else:
            data = catalogue.dataset(dataset)
            yield Cell(labels, deployed, data, split="test", hold_out=hold_out)


def undefended(
    catalogue: Catalogue,
    dataset: str,
    seed: int,
    classifier: str,
    attack: str,
    *,
    hold_out: bool = False,
) -> Cell:
    """Accuracy of the plain classifier on clean test images (`hold_out`: as of `clean_cells`), or
    under an attack on itself."""
    labels = of_run(catalogue, dataset, seed, classifier, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    if attack == CLEAN:
        data = catalogue.dataset(dataset)
        return Cell(labels | of_no_defense(), plain, data, split="test", hold_out=hold_out)
    bare = catalogue.attacked_classifier(dataset, seed, PLAIN, classifier, attack)
    return Cell(labels | {"threat_model": "white_box"} | of_no_defense(), plain, bare)


def defenses_of(catalogue: Catalogue, study: Study) -> list[str]:
    """The table's defences. Where a redeployed one deploys just what another does (both the plain
    classifier, say), it would fill the same column again, and is left out. A table may have its own
    number of `steps` for the searches that start from an encoder."""
    wanted = study.settings
    columns: dict[tuple[Any, ...], str] = {}
    for defense in wanted.get("defenses", ()):
        for name in _searched(catalogue, wanted, defense):
            named = named_defense(catalogue, study, name).values()
            columns.setdefault((*named, catalogue.quirks_of(name)), name)
    return list(columns.values())


def _searched(catalogue: Catalogue, wanted: Mapping[str, Any], defense: str) -> Iterator[str]:
    """A table's defence, or that at each L and R of the table's own `searches`. A search from an
    encoder's code has one start, hence no restarts to vary."""
    deployed = catalogue.deployment_of(defense)
    own = catalogue.defense_settings(deployed)
    if "searches" in wanted:
        for restarts in wanted["searches"]["restarts"] if "restarts" in own else [None]:
            for steps in wanted["searches"]["steps"]:
                yield catalogue.defense_at(defense, steps, restarts)
    elif "steps" in wanted and "steps" in own and catalogue.stated(deployed, "from_encoder"):
        yield catalogue.defense_at(defense, wanted["steps"])
    else:
        yield defense


def named_defense(catalogue: Catalogue, study: Study, defense: str) -> dict[str, Any]:
    """The columns that name a defence in a table: in one over the length of the code with that."""
    labels = of_defense(catalogue, defense)
    if study.over_latent:
        own = catalogue.defense_settings(defense)
        own = catalogue.config["generators"][own["generator"]] if "generator" in own else own
        parts = [labels["variant"], f"latent={own['latent']}" if "latent" in own else ""]
        labels["variant"] = ";".join(part for part in parts if part)
    return labels


def of_run(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> dict[str, Any]:
    """The columns that name a run, a classifier, and an attack or none. A classifier that has a
    paper's network with quirks, by a name of its own, has one more, `paper_classifier`."""
    labels = {"dataset": dataset, "seed": seed, "classifier": classifier}
    entry = catalogue.config["classifiers"][classifier]
    if KEY in entry and entry["architecture"] != classifier:
        labels["paper_classifier"] = entry["architecture"]
    if attack == CLEAN:
        return labels | {"attack": CLEAN, "epsilon": None, "threat_model": "none"}
    return labels | of_attack(catalogue, attack)


def of_detector(catalogue: Catalogue, defense: str, labels: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that name the score of a defence's purifier as a detector; `labels` are those
    that name the run and the attack, and those that the defence has otherwise."""
    named = of_defense(catalogue, defense)
    kept = ("defense", "iterations_L", "restarts_R", NOT_AS_NAMED)
    made = as_named(catalogue, {**{name: named[name] for name in kept if name in named}, **labels})
    return {name: value for name, value in made.items() if name != "substitute"}


def of_attack(catalogue: Catalogue, attack: str) -> dict[str, Any]:
    """The columns that name an attack: its key in the config and its strength as it stands there.

    Where these are not what they seem, two more: `paper_attack`, the name by which it is compared
    with a paper's, and `pixel_range`, the range of images in whose units the strength is.
    """
    settings = settings_of(catalogue.config["attacks"][attack])
    labels = {"attack": attack, "epsilon": catalogue.attack(attack).settings.get("epsilon")}
    if "paper_name" in settings:
        labels["paper_attack"] = settings["paper_name"]
    if settings.get("pixel_range", UNIT_RANGE) != UNIT_RANGE:
        labels["pixel_range"] = str(list(settings["pixel_range"]))
    return labels


def attack_list(attacks: Iterable[Attack]) -> str:
    """Attacks for the reader, with their strengths in units of pixels in [0, 1], whatever those of
    the config: "fgsm, ε = 0.1, 0.2 (pixels in [0, 1]); cw"."""
    strengths: dict[str, dict[str, None]] = {}
    for attack in attacks:
        name, epsilon = base_name(attack.name), attack.settings.get("epsilon")
        if epsilon is None:
            blind = stated("attacks", attack.method).get("model_free")
            further = ", which looks at no model" if blind else ""
            strengths[name + further] = {}
            continue
        low, high = attack.settings.get("pixel_range", UNIT_RANGE)
        sign = "l2 norm" if stated("attacks", attack.method).get("norm") == "l2" else "ε ="
        strengths.setdefault(f"{name}, {sign}", {})[f"{epsilon / (high - low):.4g}"] = None
    return "; ".join(
        f"{name} {', '.join(values)} (pixels in [0, 1])" if values else name
        for name, values in strengths.items()
    )


def attack_in_brief(attack: Attack) -> str:
    """An attack beside its images, in two lines if it has a strength: "fgsm", "ε = 0.1"."""
    name, _, strength = attack_list([attack]).removesuffix(" (pixels in [0, 1])").partition(", ")
    return "\n".join(filter(None, [name, strength if "epsilon" in attack.settings else ""]))


def shown_name(catalogue: Catalogue, defense: str) -> str:
    """What a picture calls a defence: as the papers do."""
    labels = of_defense(catalogue, defense)
    return paper_name(labels["defense"], labels["variant"])


def header_name(catalogue: Catalogue, defense: str) -> str:
    """The same above a narrow column: a long name in two lines."""
    name = shown_name(catalogue, defense)
    start, dash, end = name.rpartition("-")
    return f"{start}{dash}\n{end}" if len(name) > 12 and dash else name


def picture_title(attacked: Sequence[AdversarialSet]) -> str:
    """What stands above a picture of attacked images: the attacks, and what the attacker knows."""
    victim = attacked[0].classifier
    box = f"Gray box: made against the bare classifier {victim.name}"
    if isinstance(victim, Substitute):
        behind = "" if victim.oracle == PLAIN else f" behind {victim.oracle}"
        box = (
            f"Black box: made against substitute {victim.name} of {victim.classifier.name}{behind}"
        )
    return f"{attack_list(made.attack for made in attacked)}. {box}."


def as_named(catalogue: Catalogue, labels: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's labels; where a data set, network, attack or defence of it has the name of one that
    is built in, by which papers' numbers are found, and is something else in the config, with
    `NOT_AS_NAMED`, which says what."""
    config, found = catalogue.config, []
    dataset = labels["dataset"]
    source = config["datasets"][dataset]["source"]
    if dataset in decorated("datasets") and source != dataset:
        found.append(f"data set {dataset} is {source}")
    for kind in ("classifier", "substitute"):
        name = labels.get(kind)
        if name in architectures():
            architecture = config["classifiers"][name]["architecture"]
            if architecture != name:
                found.append(f"{kind} {name} is {architecture}")
            elif kind == "classifier" and "checkpoint" in config["classifiers"][name]:
                found.append(f"{kind} {name} was trained elsewhere")
    if labels["attack"] != CLEAN:
        settings = config["attacks"][base_name(labels["attack"])]
        name = settings.get("paper_name", base_name(labels["attack"]))
        attacks = decorated("attacks").items()
        methods = {facts.stated.get("paper_name", method): method for method, facts in attacks}
        if settings["method"] != methods.get(name, settings["method"]):
            found.append(f"attack {name} is {settings['method']}")
    if NOT_AS_NAMED in labels:
        found.append(labels[NOT_AS_NAMED])
    return {**labels, NOT_AS_NAMED: "; ".join(found)} if found else dict(labels)


def with_quirks_named(labels: Mapping[str, Any], quirks: Iterable[str]) -> dict[str, Any]:
    """A row's labels, with the quirks that decide it in a column of their own if there are some."""
    return {**labels, **({KEY: ";".join(ordered(quirks))} if quirks else {})}


def _defense_as_named(config: Mapping[str, Any], name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a defence is what a paper has by that name, or has a name of its own."""
    method = settings["method"]
    if name in ("ae", "ae_gan", "bigan"):
        own = {key: value for key, value in settings.items() if key != "column"}
        return method == "ae_gan" and encoder_column(config, own)[0] == name
    # Cowboy's search without the discriminator is the Defense-GAN of its Table 2.
    discriminator = settings.get("discriminator_weight", 0) > 0
    own_name: dict[str, bool] = {
        "defense_gan": method == "defense_gan" or (method == "cowboy" and not discriminator),
        "cowboy": method == "cowboy" and discriminator,
        "magnet": method == "magnet",
        "defense_vae": method in ("defense_vae", "defense_vae_e2e"),
        "adv_training": method == "adversarial_training",
    }
    return own_name.get(name, True)


def of_no_defense() -> dict[str, Any]:
    """The columns that name a defence, where there is none."""
    return {"defense": "none", "variant": "", "iterations_L": None, "restarts_R": None}


def of_defense(catalogue: Catalogue, defense: str) -> dict[str, Any]:
    """The columns that name a defence, in the vocabulary of resources/papers; and `NOT_AS_NAMED`
    where it is something else."""
    name = catalogue.deployment_of(defense)
    settings = catalogue.defense_settings(name)
    classifier = catalogue.defense_settings(defense).get("classifier")
    restarts = settings.get("restarts")
    column = catalogue.stated(name, "column", base_name(name))
    variant = catalogue.stated(name, "variants", {"reconstructions": "rec"}).get(classifier, "")
    if settings["method"] == "adversarial_training":
        pgd = settings.get("attack") == "pgd"
        column, variant = "adv_training", "pgd" if pgd else f"eps={settings['epsilon']:g}"
    elif catalogue.stated(name, "from_encoder"):
        column, variant = encoder_column(catalogue.config, settings)
        # One search, from the encoder's code.
        restarts = 1 if "steps" in settings else None
    elif "from_scratch" in settings:
        variant = "e2e_scratch" if settings["from_scratch"] else "e2e"
    name = settings.get("column", column)
    labels = {
        "defense": name,
        "variant": variant,
        "iterations_L": settings.get("steps"),
        "restarts_R": restarts,
    }
    if not _defense_as_named(catalogue.config, name, settings):
        labels[NOT_AS_NAMED] = f"defense {name} is {settings['method']}"
    return labels
