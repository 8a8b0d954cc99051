"""How a GAN's training changes what Cowboy makes of attacked images (its Figures 6 and 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from purification.evaluation.accuracy import share
from purification.evaluation.discriminator import discriminator_logits
from purification.evaluation.purifiers import BatchSize, Files
from purification.models.checkpoints import load_network, load_snapshot
from purification.models.prediction import predict
from purification.purifiers.batches import in_batches
from purification.purifiers.cowboy import Cowboy
from purification.purifiers.latent_search import sweep_search
from purification.storage import ImageSet, read_image_set, read_split

Rows = list[dict[str, Any]]


def training_course(
    recipe: Mapping[str, Any], files: Files, batch_size: BatchSize, device: torch.device
) -> tuple[Rows, Rows]:
    """Rows of the two tidy files of a `TrainingCourse` recipe (`reporting.training_steps`).

    Cleaning: accuracy on the attacked images after each number of search steps with each snapshot;
    and, without training steps, of the attacked images as they are (cleaning steps 0) and of the
    same images before the attack (attack "none"). Scores: mean and quartiles of D(x) over these
    images before ("real") and after the attack.

    `files` are the recipe's inputs by name.
    """
    given = read_image_set(files["attacked"])
    clean = read_split(files["dataset"], "test", first=len(given.labels))[0]
    classifier = load_network(files["classifier"], "Classifier").to(device)
    names = {"dataset": recipe["dataset"]["name"]}
    attack = {"attack": recipe["attacked"]["attack"]["name"]}
    right = {
        "none": given.fields["clean_predictions"] == given.labels,
        attack["attack"]: given.fields["predictions"] == given.labels,
    }
    cleaning: Rows = [
        {**names, "attack": name, "training_steps": None, "cleaning_steps": 0, **share(correct)}
        for name, correct in right.items()
    ]
    scores: Rows = []
    for step in recipe["training_steps"]:
        at = {**names, **attack, "training_steps": step}
        networks = {"generator": load_snapshot(files["snapshots"], step)}
        purifier = Cowboy.of_recipe(recipe["purifier"], networks, None).to(device)
        found = _cleaned(purifier, given, recipe["cleaning_steps"], batch_size, device)
        for steps, images in found.items():
            logits = predict(classifier, images, device=device)
            correct = logits.argmax(dim=1).numpy() == given.labels
            cleaning.append({**at, "cleaning_steps": steps, **share(correct)})
        for source, images in (("real", clean), ("attack", given.images)):
            discriminator = purifier.objective.discriminator
            logits = discriminator_logits(discriminator, images, batch_size, device)
            here = 1 / (1 + np.exp(-logits))
            low, high = np.quantile(here, (0.25, 0.75))
            values = {"mean": here.mean(), "q25": low, "q75": high}
            scores.append({**at, "source": source, "n": len(here), **values})
    return cleaning, scores


def _cleaned(
    purifier: nn.Module,
    given: ImageSet,
    steps: Sequence[int],
    batch_size: BatchSize,
    device: torch.device,
) -> dict[int, torch.Tensor]:
    """The images after each number of steps, from one search."""
    cells = [(count, len(purifier.starts)) for count in steps]

    def search(batch: torch.Tensor) -> dict[tuple[int, int], torch.Tensor]:
        found = sweep_search(
            purifier.generator, batch.to(device), purifier.starts, purifier.settings, cells
        )
        return {cell: result.reconstructions.cpu() for cell, result in found.items()}

    parts = list(in_batches(search, torch.from_numpy(given.images), batch_size, device))
    return {cell[0]: torch.cat([part[cell] for part in parts]) for cell in cells}
