"""What tests of strong attacks share: a small network of the digits, and a count of its passes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.datasets import load

COUNT = 100


def digits() -> tuple[Tensor, Tensor]:
    """The first 100 test images, averaged to 14x14, and their labels."""
    images, labels = load("digits", data_root="", validation=147, test=500)["test"]
    return _small(torch.from_numpy(images[:COUNT])), torch.from_numpy(labels[:COUNT])


def digits_network() -> nn.Module:
    """A small classifier of them, eval mode, right on almost all."""
    images, labels = map(
        torch.from_numpy, load("digits", data_root="", validation=147, test=500)["train"]
    )
    images = _small(images)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 12, 4, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(24 * 16, 10)),
        )
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(8):
            for batch in torch.randperm(len(images)).split(50):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
    return model.eval().requires_grad_(False)


def _small(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 2)


class Counting(nn.Module):
    """How many images went through a model, forward and backward, as rows of all batches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, slopes: Tensor) -> None:
        self.backwards += len(slopes)


class Linear(nn.Module):
    """Logits W (x - 1/2) of flattened images, float64: boundaries meet in the middle of the box."""

    def __init__(self, pixels: int, classes: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        weight = torch.randn(classes, pixels, generator=random, dtype=torch.float64)
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ self.weight.T


def inner_images(count: int, pixels: int, seed: int) -> Tensor:
    """(count, 1, 1, pixels) near the middle of the box, float64."""
    random = torch.Generator().manual_seed(seed)
    return 0.5 + 0.1 * torch.randn(count, 1, 1, pixels, generator=random, dtype=torch.float64)


def distances_to_boundaries(model: Linear, images: Tensor, labels: Tensor, dual: float) -> Tensor:
    """Of each image to each other class's boundary (N, K - 1), in the norm of that dual, whose box
    is not in the way: |difference of logits| / |difference of weights|."""
    logits = model(images)
    others = torch.stack(
        [torch.arange(logits.shape[1])[torch.arange(logits.shape[1]) != y] for y in labels]
    )
    values = logits.gather(1, others) - logits.gather(1, labels[:, None])
    slopes = model.weight[others] - model.weight[labels][:, None]
    return -values / torch.linalg.vector_norm(slopes, ord=dual, dim=2)
