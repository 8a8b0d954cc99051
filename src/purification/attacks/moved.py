"""The model is asked again only about images that an attack has moved.

At large steps iterates saturate: an attack proposes an image, bit for bit, that the model has just
seen, and all that it could say of it is known.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from purification.attacks.gradient import loss_gradient
from purification.randomness import is_randomised


class LastLook:
    """What a model last said of each image of a batch: its logits, and the gradient of a loss.

    Only images of which a pixel differs from the look before are given to the model, as a smaller
    batch. This assumes the contract of this project's models: an image's logits depend on that
    image alone, and are the same each time. A model that counts its calls or looks at the rest of
    its batch (batch norm in training mode) is asked less often, and about other batches, than the
    attack has steps. One that is `randomised` (`attacks.drawn`) is asked about all images, because
    another look is another draw.

    From the second look on, the choice of the images waits for the device. That is little beside a
    pass through a purifier; on a GPU it may take as long as a pass through a small bare classifier.

    Attributes:
        logits: (N, classes), at the images of the last look, detached.
        gradients: (N, C, H, W), of the loss in these images, detached.
    """

    logits: Tensor
    gradients: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """`model`: images (n, C, H, W) -> logits (n, classes). `loss`: (those logits, int64 (n,),
        the rows of the batch that they are of) -> (n,), each of its own row's logits alone.
        Where it has no slope in any of them, there is no backward pass."""
        self._model, self._loss = model, loss
        self._images: Tensor | None = None
        self._draws = is_randomised(model)

    def at(self, images: Tensor) -> Tensor:
        """Looks at `images` (N, C, H, W), as many and in the same order each time, which must not
        be changed in place before the next look.

        Returns int64 (n,), ascending: the rows that the model was asked about.
        """
        images = images.detach()
        before, self._images = self._images, images
        if before is None or self._draws:
            rows = torch.arange(len(images), device=images.device)
        else:
            # NaN differs from itself, so that it is asked about again.
            rows = (images != before).flatten(1).any(dim=1).nonzero().squeeze(1)
        if len(rows) == len(images):
            self.logits, self.gradients = self._ask(images, rows)
        elif len(rows):
            logits, gradients = self._ask(images[rows], rows)
            self.logits = self.logits.index_copy(0, rows, logits)
            self.gradients = self.gradients.index_copy(0, rows, gradients)
        return rows

    def _ask(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return loss_gradient(
            self._model,
            images,
            lambda logits: self._loss(logits, rows),
            rows,
            may_be_flat=True,
        )
