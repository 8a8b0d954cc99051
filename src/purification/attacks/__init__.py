"""Attacks, one file each or for each kind, and the one function that runs any of them on a set.

An attack is a function `(model, images, labels, *, settings...) -> adversarial images` that states
what it is (`attack`); one that draws random numbers also takes `seed` and `indices` (a number for
each image, from which, with the seed, its noise is drawn). One that begins with the gradient at the
images given may take it as `first_gradient`. One that can begin its search at other images than
those that it attacks takes them as `begin_at`, or None. A user's own is named
"package.module:function"; it is handed copies, and what it returns is checked. One that reads files
takes their paths as `files`.

All attacks of this room take and give the same, so that their "Args" are their own settings alone:
`model` is a classifier, (N, C, H, W) -> logits (N, classes), attacked in the mode that it is in;
`images` are (N, C, H, W) in [0, 1]; `labels` are int64 (N,), those to be left, whose loss is
increased (`contract.attack` says which attacks look at neither model nor labels); an image's noise
depends on `seed` and its own index alone, never on the rest of the batch. What they return is
(N, C, H, W) in [0, 1], and detached. They raise ValueError for settings out of the range that they
state, or if there is not one index an image.
"""

from purification.attacks.contract import attack
from purification.attacks.gradient import input_gradient
from purification.attacks.registry import ATTACKS, AttackEntry, find_attack
from purification.attacks.run import AttackResult, MaskedGradientError, attacked_parts, run_attack

__all__ = [
    "ATTACKS",
    "AttackEntry",
    "AttackResult",
    "MaskedGradientError",
    "attack",
    "attacked_parts",
    "find_attack",
    "input_gradient",
    "run_attack",
]
# Each attack by its name, also where its file is called like it.
globals().update({name: entry.function for name, entry in ATTACKS.items()})
