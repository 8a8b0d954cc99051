"""One latent search for a whole sweep, as its recipe says, and what is kept of it."""

from collections.abc import Mapping
from typing import Any

import torch

from purification.evaluation.adversarial import purified_means
from purification.evaluation.purifiers import BatchSize, Files
from purification.guests import refuse_not_finite
from purification.purifiers.base import reconstruction_error
from purification.purifiers.batches import in_batches
from purification.purifiers.descent import SearchResult
from purification.purifiers.latent_search import sweep_search
from purification.purifiers.loading import load_search
from purification.runtime import progress
from purification.storage import ImageSet, read_image_set, read_split


def sweep_images(
    recipe: Mapping[str, Any], files: Files, batch_size: BatchSize, device: torch.device
) -> dict[str, ImageSet]:
    """What the search of a `Sweep` recipe makes of its images, for every (L, R).

    Returns the image sets by the names that the recipe gives the cells: reconstructions, with the
    score, the reconstruction error and the index `restart` of the winner for each image, and all
    that was known of the images given. `files` are the recipe's inputs by name. Raises
    FloatingPointError, naming the first image, if a reconstruction is not finite.
    """
    if recipe["attacked"]:
        given = read_image_set(files["attacked"])
    else:
        given = ImageSet(*read_split(files["dataset"], recipe["split"], first=recipe["images"]))
    cells = {name: tuple(cell) for name, cell in recipe["cells"].items()}
    most = max(restarts for _, restarts in cells.values())
    # The steps are each cell's own.
    generator, starts, settings = load_search(recipe["purifier"], files, 0, most)
    generator, images = generator.to(device), torch.from_numpy(given.images)
    found: dict[str, list[SearchResult]] = {name: [] for name in cells}

    def search(batch: torch.Tensor) -> dict[tuple[int, int], SearchResult]:
        return sweep_search(generator, batch.to(device), starts, settings, cells.values())

    with progress(len(images), "searching", "image") as bar:
        for results in in_batches(search, images, batch_size, device):
            for name, cell in cells.items():
                found[name].append(results[cell])
            error = results[cell].objective
            bar.update(len(error), reconstruction_error=error.mean())
    return {name: _kept(parts, images, given) for name, parts in found.items()}


def _kept(results: list[SearchResult], images: torch.Tensor, given: ImageSet) -> ImageSet:
    reconstructions = torch.cat([result.reconstructions.cpu() for result in results])
    refuse_not_finite(reconstructions, "the latent search: its reconstructions")
    error = reconstruction_error(reconstructions, images).numpy()
    fields = {"score": error, "reconstruction_error": error}
    attributes = given.attributes | purified_means(fields)
    fields["restart"] = torch.cat([result.restart.cpu() for result in results]).numpy()
    return ImageSet(reconstructions.numpy(), given.labels, given.fields | fields, attributes)
