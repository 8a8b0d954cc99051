"""What an attack did to a set of images, in four numbers. Needs no torch."""

from collections.abc import Mapping

import numpy as np


def attack_summary(fields: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Success rate, mean l2 and linf norm, and share of zero gradients of an adversarial set.

    `fields` are per image, as `AttackResult` names them; `labels` the true ones, (N,).

    Norms are means over the images that the attack had to change and did: right before, wrong
    after. An image that was wrong before needs no change and a failure of CW is returned unchanged;
    both would make the attack look cheaper than it is. NaN if there is no such image.
    """
    changed = fields["success"] & (fields["clean_predictions"] == labels)
    return {
        "success_rate": float(fields["success"].mean()),
        "mean_l2": float(fields["l2"][changed].mean()) if changed.any() else float("nan"),
        "mean_linf": float(fields["linf"][changed].mean()) if changed.any() else float("nan"),
        "zero_gradient_share": float(fields["zero_gradient"].mean()),
    }
