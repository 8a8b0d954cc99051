"""Defense-VAE (Li and Ji 2019): one pass through a VAE trained from attacked to clean images."""

from typing import Self

from torch import Tensor, nn

from purification.purifiers.base import Purifier


class DefenseVAE(Purifier):
    """Replaces an image by the decoded mean of its code.

    The mean, not a sample: deterministic, and as the published code has it. Batch norm runs in
    evaluation mode, on the statistics of training. The published code (rec_init_multi.py) clears
    only the top module's training flag, so that its batch norm normalises by the statistics of the
    batch, and its batch is the whole attacked test set: an image's result then depends on all the
    other images and on how they were attacked, which no deployed defence knows.
    """

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Batch norm stays in evaluation mode, whatever mode a surrounding module is put into."""
        super().train(mode)
        self.vae.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.vae(images)
