"""Attacks, one file each or for each kind, and the one function that runs any of them on a set.

An attack is a function `(model, images, labels, *, settings...) -> adversarial images` that states
what it is (`attack`); one that draws random numbers also takes `seed` and `indices` (a number for
each image, from which, with the seed, its noise is drawn). One that begins with the gradient at the
images given may take it as `first_gradient`. A user's own is named "package.module:function"; it is
handed copies, and what it returns is checked. One that reads files takes their paths as `files`.
"""

from purification.attacks.contract import attack
from purification.attacks.gradient import input_gradient
from purification.attacks.registry import ATTACKS, AttackEntry, find_attack
from purification.attacks.run import AttackResult, MaskedGradientError, run_attack

__all__ = [
    "ATTACKS",
    "AttackEntry",
    "AttackResult",
    "MaskedGradientError",
    "attack",
    "find_attack",
    "input_gradient",
    "run_attack",
]
# Each attack by its name, also where its file is called like it.
globals().update({name: entry.function for name, entry in ATTACKS.items()})
