"""A purifier and a classifier of your own, under the cascade of the leaderboard.

    python examples/own_purifier_and_classifier.py

Nothing needs to be trained before. The digits are scikit-learn's, of 28x28 pixels.
"""

import argparse

import torch
from torch import Tensor, nn

from purification import Defended, Purifier, evaluate
from purification.datasets import load
from purification.randomness import normal_of


class Blur(Purifier):
    """The mean of each pixel's neighbourhood: deterministic, and differentiable."""

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.mean = nn.AvgPool2d(size, stride=1, padding=size // 2, count_include_pad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.mean(images)


class NoiseThenBlur(Purifier):
    """The same after noise, which is drawn anew in each evaluation.

    What is random for image i is a function of seeds[i] alone, so that no result depends on the
    batch.
    """

    RANDOMISED = True

    def __init__(self, deviation: float = 0.2) -> None:
        super().__init__()
        self.deviation, self.blur = deviation, Blur()

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        noise = normal_of(seeds, images.shape[1:]).to(images)
        return self.blur((images + self.deviation * noise).clamp(0, 1))


def trained(images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """A small classifier: images (N, 1, 28, 28) in [0, 1] to logits (N, 10)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 0.002)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(50):
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def main(epochs: int, epsilon: float, n: int, budget: str) -> None:
    splits = load("digits", data_root="", validation=147, test=500)
    classifier = trained(*map(torch.from_numpy, splits["train"]), epochs)
    images, labels = (torch.from_numpy(array[:n]) for array in splits["test"])
    models = {
        "classifier alone": classifier,
        "behind a blur": Defended(Blur(), classifier),
        "behind noise and a blur": Defended(NoiseThenBlur(), classifier),
    }
    for name, model in models.items():
        report = evaluate(model, images, labels, epsilon=epsilon, budget=budget)
        print(f"\n## {name}\n\n{report.markdown()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("-n", type=int, default=100, help="images")
    parser.add_argument("--budget", default="quick", choices=["quick", "standard", "full"])
    main(**vars(parser.parse_args()))
