"""Threat models in which a defence was not attacked, because the attack could not move.

A file of `attack_defense` then lacks that threat model's set, and each set that it has says why, in
an attribute. What reads the file has no number for it, and says so.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py

from purification.storage import ImageSet, read_field

REFUSED = "refused"
"""The column that says why a row has no number."""


def record_refusals(sets: Mapping[str, ImageSet], refused: Mapping[str, str]) -> None:
    """Write the reasons, by threat model, to the attributes of all sets."""
    for made in sets.values():
        made.attributes |= {f"{REFUSED}_{name}": reason for name, reason in refused.items()}


def refusal(path: str | Path, group: str | None) -> str | None:
    """Why a file has no set `group`; None if it has one, or if nothing was refused there.

    A file that is missing or damaged is left to who reads the set; one that has a reason is read
    as any other, and raises as `read_field` where it is not what the job expects.
    """
    if group is None or not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r", locking=False) as file:
        if group in file:
            return None
        name = f"{REFUSED}_{group}"
        reasons = {
            other: str(held.attrs[name]) for other, held in file.items() if name in held.attrs
        }
    for other, reason in reasons.items():
        read_field(path, "labels", group=other)
        return reason
    return None
