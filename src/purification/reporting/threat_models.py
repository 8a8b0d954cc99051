"""Threat models in words."""

import re

MEANING = {
    "none": "no attack: accuracy on the untouched images, with the defense where one is named.",
    "white_box": "the attacker differentiates the classifier and the defense in front of it, "
    "through every step of a latent search (of one in bfloat16: the same steps in float32).",
    "gray_box": "the attacker differentiates the bare classifier and does not know the defense.",
    "white_box_bpda": "the attacker runs the defense forward and replaces its gradient by the "
    "identity (backward pass differentiable approximation, BPDA).",
    "white_box_fixed": "as `white_box`, by an attacker who knows the random numbers of a "
    "randomised defense: the draw on which the image is judged.",
    "white_box_bpda_fixed": "as `white_box_bpda`, by an attacker who knows that draw.",
    "surrogate": "the attacker differentiates the classifier and a cheaper version of the defense "
    "(config: `surrogate`); the whole defense judges the images, success and norms are of the "
    "attack on that version.",
    "black_box": "the attacker asks an oracle for labels (column `oracle` of the long table: "
    "`plain` is the bare classifier) and differentiates a substitute trained on them; success and "
    "norms are of the attack on the substitute.",
}


def in_brief(threat_model: str) -> str:
    """What the attacker does, without what a page says further."""
    name = {"white_box_bpda": "BPDA"}.get(threat_model, threat_model.replace("_", " "))
    meaning = re.split("[,;.]", re.sub(r" \([^)]*\)", "", MEANING[threat_model]))[0]
    return f"{name}: {meaning}"
