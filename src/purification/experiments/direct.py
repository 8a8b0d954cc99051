"""Tables of attacks on the defences themselves, as lists of cells, such as Defense-GAN's Table 4.

Rows: dataset, attack, classifier. Columns: no attack, no defence, and each defence in the threat
models that the config lists for it, and on clean images. AE-GAN+rs's tables have some attacks by
way of substitutes, too: rows with a substitute beside rows without.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell, Examples
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import (
    attack_in_brief,
    defenses_of,
    named_defense,
    of_run,
    picture_title,
    shown_name,
    undefended,
)
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study
from purification.experiments.protocols import protocols
from purification.experiments.transferred import transferred_cells


def direct_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy under one attack, undefended and behind each of the table's defences in each of its
    threat models; and by way of the table's substitutes, if the attack is one of `transferred`.
    An attack on a generator's codes has the white box of those defences that have one, alone.

    The gray box of every purifier is one and the same set of images, made against the plain
    classifier: what the attacker has who knows of no defence.
    """
    common = of_run(catalogue, dataset, seed, classifier, attack)
    defenses, on_codes = defenses_of(catalogue, study), catalogue.searches_codes(attack)
    if on_codes:
        defenses = [defense for defense in defenses if catalogue.generates(defense)]
    else:
        yield undefended(catalogue, dataset, seed, classifier, attack)
    for defense in defenses:
        labels = common | named_defense(catalogue, study, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if not catalogue.purifies(defense):
            bare = catalogue.attacked_classifier(dataset, seed, defense, classifier, attack)
            yield Cell(labels | {"threat_model": "white_box"}, deployed, bare)
            continue
        attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
        for threat_model, group in attacked.sets.items():
            here = labels | {"threat_model": threat_model}
            for protocol in protocols(threat_model, attacked.judged_draws):
                yield Cell(here | protocol, deployed, attacked, group=group)
    if attack in study.settings.get("transferred", ()):
        yield from transferred_cells(catalogue, study, dataset, seed, classifier, attack)


def table4_examples(catalogue: Catalogue) -> list[Examples]:
    """A picture for each dataset: the first seed, classifier and attack of the table, gray box."""
    wanted = catalogue.study("table4").settings
    seed, classifier = catalogue.config["seeds"][0], wanted["classifiers"][0]
    return [
        examples(catalogue, dataset, seed, classifier, wanted["attacks"][0])
        for dataset in wanted["datasets"]
    ]


def examples(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Examples:
    """The first test images clean, attacked in the gray box, and after each purifier."""
    data = catalogue.dataset(dataset)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.attacked_classifier(dataset, seed, PLAIN, classifier, attack)
    rows = [
        Cell({"row": "original"}, plain, data, split="test"),
        Cell({"row": attack_in_brief(bare.attack)}, plain, bare),
    ]
    for defense in defenses_of(catalogue, catalogue.study("table4")):
        if catalogue.purifies(defense) and "gray_box" in catalogue.threat_models(defense):
            deployed = catalogue.deployed(dataset, seed, defense, classifier)
            attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
            row = {"row": shown_name(catalogue, defense)}
            rows.append(Cell(row, deployed, attacked, group="gray_box"))
    title = f"{dataset}: {picture_title([bare])}"
    return Examples(data, seed, classifier, attack, 10, tuple(rows), title)
