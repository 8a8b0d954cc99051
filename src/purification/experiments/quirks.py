"""Quirks of the papers' published code, which the config turns on by name.

Some printed numbers cannot be what their papers say they are. A quirk does what the published code
does, as far as it can be read, so that the number can be made again by its mistake. The key
`quirks` stands in an entry of the config, or at its top level for all entries that it concerns.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from purification.experiments.methods import facts_for, stated
from purification.facts import constant_of

KEY = "quirks"
"""The config's key, the key of recipes, and the column of tables, as `evaluation.measure` has it,
which this room may not import."""
NO_GRADIENT, TEST_BATCH_STATISTICS = "no_gradient", "test_batch_statistics"
"""As `evaluation.threat_models` and `evaluation.adversarial` have them."""
KEEP_PROBABILITY, PREDICTED_LABELS = "keep_probability", "predicted_labels"
QUIRKS: Mapping[str, str] = {
    NO_GRADIENT: "no gradient passes the defense's search. In the white box an attack by gradients "
    "returns what it starts from: FGSM and CW the image as it is, RAND+FGSM and PGD their random "
    "step",
    KEEP_PROBABILITY: "the printed dropout rates are read as the share of units that is kept in "
    "training: of B's input 20 %, not 80 %",
    TEST_BATCH_STATISTICS: "the VAE's batch norm takes mean and variance of all images that are "
    "purified together, here of the whole set, so that an image's result depends on the others",
    PREDICTED_LABELS: "attacks climb away from the label that the attacked model predicts, not "
    "from the true one: an image that is wrong as it is may become right",
}
"""What each does, for the reader of a table."""
CONCERNED: Mapping[str, tuple[str, ...]] = {
    NO_GRADIENT: ("white_box", "white_box_fixed"),
    TEST_BATCH_STATISTICS: ("none", "gray_box", "black_box"),
}
"""The quirks of a defence, and the threat models that each concerns; "none": clean images."""
SECTIONS = ("classifiers", "attacks", "defenses")
"""Those of the config whose entries may have quirks."""


def ordered(quirks: Iterable[str]) -> list[str]:
    """Each once, in the order of `QUIRKS`."""
    found = set(quirks)
    return [name for name in QUIRKS if name in found]


def objection(quirk: str, entry: Mapping[str, Any], purifier: Mapping[str, Any]) -> str | None:
    """Why a quirk concerns nothing of an entry, or None if it does. `purifier`: of a defence, the
    entry whose purifier it deploys, else the same."""
    if quirk == KEEP_PROBABILITY:
        if "checkpoint" in entry:
            return "it was trained elsewhere"
        if (architecture := entry.get("architecture")) not in (known := _read_otherwise()):
            return f"{architecture!r} is the same network with it; others: {', '.join(known)}"
        return None
    if quirk == PREDICTED_LABELS:
        facts = stated("attacks", entry["method"])
        looks = facts.get("labels", not facts.get("model_free"))
        return None if looks else f"{entry['method']!r} looks at no label"
    code = facts_for(purifier["method"])
    if code is None or quirk not in code.stated.get("quirks", ()):
        return f"it is no quirk of {purifier['method']!r}"
    if quirk == NO_GRADIENT and "steps" not in purifier:
        return "it searches nothing: it has no steps"
    concerned = CONCERNED[quirk]
    if "none" in concerned or not set(concerned).isdisjoint(entry["threat_models"]):
        return None
    return f"it concerns {' and '.join(concerned)} alone, and threat_models has neither"


def _read_otherwise() -> tuple[str, ...]:
    """The built-in classifiers whose printed dropout is another one as a share that is kept."""
    return tuple(constant_of("purification.models.classifiers:READ_OTHERWISE"))


def with_quirks(config: Mapping[str, Any]) -> dict[str, Any]:
    """A checked config in which each entry has its own quirks, those of the defence whose purifier
    it deploys, and those of the top level, as far as they concern it: a classifier's `dropout` and
    an attack's `labels` are what they mean, and a defence's stand under its `quirks`. Without any
    it is the same config."""
    made = dict(config)
    for section in SECTIONS:
        made[section] = entries = dict(config[section])
        for name, entry in entries.items():
            purifier = purifier_entry(config, entry)
            others = [*config.get(KEY, ()), *purifier.get(KEY, ())]
            there = [
                quirk
                for quirk in dict.fromkeys(others)
                if _SECTION_OF.get(quirk, "defenses") == section
                and objection(quirk, entry, purifier) is None
            ]
            if own := ordered([*entry.get(KEY, ()), *there]):
                meant = {k: v for quirk in own for k, v in _SETTINGS.get(quirk, {}).items()}
                entries[name] = {**entry, **meant, KEY: own}
    return made


def purifier_entry(config: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry whose purifier a defence deploys; of all else the same."""
    found: Mapping[str, Any] = config["defenses"].get(entry.get("purifier"), entry)
    return found


_SECTION_OF = {KEEP_PROBABILITY: "classifiers", PREDICTED_LABELS: "attacks"}
_SETTINGS = {
    KEEP_PROBABILITY: {"dropout": "keep_probability"},
    PREDICTED_LABELS: {"labels": "predicted"},
}
"""The settings that are the same as a quirk."""


def is_kept(network: Mapping[str, Any]) -> bool:
    """Whether a classifier's settings have the dropout of `KEEP_PROBABILITY`, by that name or by
    the key `dropout`."""
    meant = network.get("dropout") == "keep_probability"
    return meant and network.get("architecture") in _read_otherwise()
