"""Defense-VAE (Li and Ji 2019): one pass through a VAE trained from attacked to clean images."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from purification.models.vae import VAE
from purification.models.wgan import Shape
from purification.parts import Images
from purification.purifiers.base import Purifier
from purification.training.defense_vae import train_defense_vae

TRAINING = {
    "epochs": "count: passes over all pairs of an attacked and a clean image",
    "batch_size": "count: pairs a step",
    "learning_rate": "positive: Adam's",
    "reconstruction": "bce|mse: the loss of an image",
    "kl_weight": "not_negative: factor of the KL divergence",
}


class DefenseVAE(Purifier):
    """Replaces an image by the decoded mean of its code.

    The mean, not a sample: deterministic, and as the published code has it. Batch norm runs in
    evaluation mode, on the statistics of training. The published code (rec_init_multi.py) clears
    only the top module's training flag, so that its batch norm normalises by the statistics of the
    batch, and its batch is the whole attacked test set: an image's result then depends on all the
    other images and on how they were attacked, which no deployed defence knows. The quirk
    `test_batch_statistics` does so, too (`with_statistics_of`).
    """

    METHOD = "defense_vae"
    KIND = "DefenseVAE"
    WEIGHTS = "vae"
    LEARNS_FROM = ("copies",)
    QUIRKS = ("test_batch_statistics",)
    VARIANTS = {"reconstructions": "rec", "originals": "base"}
    SETTINGS = {
        "latent": "count: length of the code",
        "width": "count: maps of the first convolution",
        "copies": "copies: attacks, of `copies`, whose images it learns from",
        "clean_pairs": "boolean: whether it learns to keep clean images, too",
        **TRAINING,
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.settings = settings
        self.vae = VAE(settings["latent"], settings["width"], image_shape)

    @property
    def trained(self) -> nn.Module:
        return self.vae

    def fit(
        self, images: Tensor, labels: Tensor, *, copies: Any, seed: int, device: Any, name: str
    ) -> list[dict[str, Any]]:
        own = {key: self.settings[key] for key in TRAINING} | {"seed": seed, "device": device}
        pairs = [*copies, images] if self.settings["clean_pairs"] else copies
        return train_defense_vae(self.vae, pairs, images, **own, name=name)

    def train(self, mode: bool = True) -> Self:
        """Batch norm stays in evaluation mode, whatever mode a surrounding module is put into."""
        super().train(mode)
        self.vae.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.vae(images)

    @torch.no_grad()
    def with_statistics_of(self, images: Images, batch_size: int = 250) -> Self:
        """A copy that purifies each of `images`, (N, C, H, W) in [0, 1], as in one batch of all of
        them in training mode: its batch norm has their mean and (biased) variance.

        These are computed layer by layer in the order of the pass, as each changes what the next
        one sees, from `batch_size` images at a time.
        """
        made = deepcopy(self)
        device = next(made.parameters()).device
        for layer in (m for m in made.vae.modules() if isinstance(m, nn.BatchNorm2d)):
            seen: list[Tensor] = []

            def note(_: nn.Module, given: tuple[Tensor], seen: list[Tensor] = seen) -> None:
                values = given[0].double()
                ones = torch.ones_like(values)
                parts = (ones, values, values.square())
                seen.append(torch.stack([part.sum((0, 2, 3)) for part in parts]))

            with layer.register_forward_pre_hook(note):
                for start in range(0, len(images), batch_size):
                    made(images[start : start + batch_size].to(device))
            count, total, squares = torch.stack(seen).sum(0)
            mean = total / count
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(squares / count - mean.square())
        return made

    def latent_codes(self, images: Tensor) -> Tensor:
        """The means of the images' codes: (N, C, H, W) -> (N, latent)."""
        return self.vae.encode(images)[0]

    def generate(self, codes: Tensor) -> Tensor:
        """The decoder's images, (N, latent) -> (N, C, H, W) in [0, 1]."""
        return self.vae.decode(codes)


class EndToEnd(DefenseVAE):
    """A VAE and the classifier behind it, trained together; as a purifier it is the VAE."""

    METHOD = "defense_vae_e2e"
    LOADED_AS = "defense_vae"
    COLUMN = "defense_vae"
    KEYS = ("column", "threat_models", "clean_images", "quirks")
    SETTINGS = {
        "start": "defense_vae: the Defense-VAE that it begins with",
        "from_scratch": "boolean: whether it begins with new weights of that one's kind",
        **TRAINING,
        "classifier_weight": "not_negative: factor of the classifier's loss",
        "curve": "attack: attack that the pair is measured under",
    }
