"""Attacked copies of the training images, from which Defense-VAE learns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from purification.evaluation.adversarial import Attacker, write_attacked
from purification.evaluation.purifiers import Files
from purification.models.checkpoints import load_network
from purification.storage import new_image_file, open_split, read_image_set

HALF_FROM = 16e9


def craft_copies(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: int, device: torch.device
) -> None:
    """Writes all training images, attacked through a bare classifier, to `path`: a set for each
    attack of an `AdversarialCopies` recipe, by the name that it gives it.

    `files` are the recipe's inputs by name. Raises as `run_attack`.
    """
    model = load_network(files["classifier"], "Classifier").to(device)
    given = open_split(files["dataset"], "train")
    with new_image_file(path, recipe, recipe["seed"]) as file:
        for name, attack in recipe["attacks"]:
            attacker = Attacker(model, attack, recipe["seed"], f"{path}:{name}", batch_size)
            write_attacked(file, attacker, given.images, given.labels, name)


def read_lessons(recipe: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """What a network learns from beside the training images, as its recipe says: `copies`, the
    bare `classifier` and other `networks`.

    `files` are the recipe's inputs by name. Raises as `read_copies` and `load_network`.
    """
    others = recipe.get("networks") or {}
    networks = {name: load_network(files[name], made["kind"]) for name, made in others.items()}
    lessons = {"networks": networks, "copies": read_copies(recipe.get("copies", ()), files)}
    if "victim" in recipe:
        lessons["classifier"] = load_network(files["classifier"], "Classifier")
    return lessons


def read_copies(recipes: Sequence[Mapping[str, Any]], files: Files) -> list[Tensor]:
    """The images (N, C, H, W) of each copy, in the order of `AdversarialCopies` recipes whose files
    are `copies_<name>`.

    float32; from `HALF_FROM` bytes on, which CelebA has and 28x28 images have not, float16, which
    rounds by at most 1/16 of an 8-bit step. Raises as `read_image_set`.
    """
    names = [(files[f"copies_{r['name']}"], group) for r in recipes for group, _ in r["attacks"]]
    copies: list[Tensor] = []
    for file, group in names:
        images = torch.from_numpy(read_image_set(file, group=group).images)
        halved = images.nbytes * len(names) >= HALF_FROM
        copies.append(images.half() if halved else images)
    return copies
