"""Threat models in which a defence was not attacked, because the attack could not move.

A file of `attack_defense` then lacks that threat model's set, and each set that it has says why, in
an attribute. What reads the file has no number for it, and says so.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from purification.storage import NewSet, read_attributes

REFUSED = "refused"
"""The column that says why a row has no number."""


def record_refusals(sets: Iterable[NewSet], refused: Mapping[str, str]) -> None:
    """Write the reasons, by threat model, to the attributes of all sets."""
    for made in sets:
        made.attributes |= {f"{REFUSED}_{name}": reason for name, reason in refused.items()}


def refusal(path: str | Path, group: str | None) -> str | None:
    """Why a file has no set `group`; None if it has one, or if nothing was refused there.

    Raises as `read_image_set`.
    """
    if group is None:
        return None
    sets = read_attributes(path)
    if group in sets:
        return None
    reasons = (attributes.get(f"{REFUSED}_{group}") for attributes in sets.values())
    return next((str(reason) for reason in reasons if reason is not None), None)
