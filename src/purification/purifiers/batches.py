"""Whole sets of images, a batch at a time: purified, or worked on otherwise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from purification.guests import check_images, name_of, refuse_not_finite
from purification.parts import Images, joined
from purification.purifiers.base import purified_by, reconstruction_error
from purification.runtime import progress

Result = TypeVar("Result")
PROBE = 16  # images of the first batch where the batch size is "auto"
ON_CPU = 250  # images a batch there: a search's memory does not grow with them
# Of a batch on a large GPU: a search with R=10 at full width has 5e8 numbers in one layer's maps
# then, and many kernels cannot count beyond 2^31.
AT_MOST = 4096


@dataclass(frozen=True)
class Purified:
    """Purified images (N, C, H, W) in [0, 1]; per image its detection score and its reconstruction
    error (mean square, squared pixel units), both (N,). All on the CPU."""

    images: Tensor
    score: Tensor
    reconstruction_error: Tensor


def purify_images(
    purifier: nn.Module,
    images: Images,
    *,
    batch_size: int | Literal["auto"],
    device: torch.device,
    seeds: Tensor | None = None,
) -> Purified:
    """Purify `images` (N, C, H, W), `batch_size` at a time, as `in_batches` has it. `seeds` (N,),
    int64: of a randomised purifier, the draw of each image (`randomness.draw_seeds`).

    Raises ValueError if a randomised purifier gets no seeds, GuestError if the purifier returns
    something else than images of the same shape in [0, 1], FloatingPointError if a score is not
    finite; the last two name the first such image.
    """
    parts = purified_parts(purifier, images, batch_size=batch_size, device=device, seeds=seeds)
    return joined(parts)


def purified_parts(
    purifier: nn.Module,
    images: Images,
    *,
    batch_size: int | Literal["auto"],
    device: torch.device,
    seeds: Tensor | None = None,
) -> Iterator[Purified]:
    """As `purify_images`, each batch as it is made: of more images than fit into memory."""
    purifier, done = purifier.to(device), 0
    score_of, name = getattr(purifier, "score_purified", None), name_of(purifier)

    # Not around the loop: it would hold for whoever takes the parts, too.
    @torch.no_grad()
    def purify(batch: Tensor) -> Purified:
        numbers = range(done, done + len(batch))
        given = batch.to(device)
        own = None if seeds is None else seeds[numbers.start : numbers.stop]
        result = purified_by(purifier, given, own)
        check_images(name, result, given, numbers)
        error = reconstruction_error(result, given)
        score = error if score_of is None else score_of(given, result)
        refuse_not_finite(score, f"{name}: the detection scores", numbers)
        return Purified(result.cpu(), score.cpu(), error.cpu())

    with progress(len(images), "purifying", "image") as bar:
        for part in in_batches(purify, images, batch_size, device):
            done += len(part.images)
            bar.update(len(part.images), reconstruction_error=part.reconstruction_error.mean())
            yield part


def in_batches(
    work: Callable[[Tensor], Result],
    images: Images,
    batch_size: int | Literal["auto"],
    device: torch.device,
) -> Iterator[Result]:
    """`work(batch)` for batch after batch of `images`, in their order.

    A batch for which the memory is too small is halved, and so are all after it. With "auto" a GPU
    takes a first batch of 16 images, and then as many as its free memory holds by what they needed,
    4,096 at most; a CPU takes 250. So `work` must treat each image by itself. Raises
    torch.OutOfMemoryError if there is no room for one image, ValueError for a batch size below 1 or
    another word.
    """
    if batch_size != "auto" and (isinstance(batch_size, str) or batch_size < 1):
        raise ValueError(f'batch_size must be at least 1, or "auto", got {batch_size!r}')
    start, size, probe = 0, batch_size, False
    if size == "auto":
        probe = torch.device(device).type == "cuda"
        size = PROBE if probe else ON_CPU
    while start < len(images):
        batch = images[start : start + size]
        if probe:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        try:
            result = work(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            result = None
        # Outside of the handler, where the traceback still held what was allocated.
        if result is None:
            size, probe = len(batch) // 2, False
            torch.cuda.empty_cache()
            continue
        if probe:
            each = (torch.cuda.max_memory_allocated(device) - before) / len(batch)
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(device)
            # One fifth is left over.
            size, probe = min(max(PROBE, int(0.8 * free / max(each, 1))), AT_MOST), False
        start += len(batch)
        yield result
