"""What a Defense-VAE reads from the sign of a classifier's gradient alone.

CW at the Defense-VAE paper's learning rates leaves little of an image but that sign. Prints, for
the bare pattern of the gradient of the true label and of two wrong ones, how often the purified
pattern is classified as the image's class, and as the label that was attacked. After `defense_vae`:

    python benchmarks/sign_patterns.py results/digits --classifier A
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from purification.models.checkpoints import load_network
from purification.purifiers.defense_vae import DefenseVAE
from purification.storage import read_split


def sign_pattern(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """1 where the margin of the label over the best other logit falls with the pixel, else 0."""
    given = images.clone().requires_grad_()
    logits = model(given)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((own - other).sum(), given)
    return (gradient < 0).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results of a data set, such as results/digits")
    parser.add_argument("--classifier", default="A")
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    run = arguments.folder / "seed0"
    name = f"{arguments.classifier}.safetensors"
    classifier = load_network(run / "classifiers/plain" / name, "Classifier")
    purifier = DefenseVAE(load_network(run / "vaes/defense_vae" / name, "DefenseVAE"))
    split = read_split(arguments.folder / "dataset.h5", "test", arguments.images)
    images, labels = map(torch.from_numpy, split)
    for shift in (0, 1, 3):
        attacked = (labels + shift) % 10
        pattern = sign_pattern(classifier, images, attacked)
        with torch.no_grad():
            classes = classifier(purifier(pattern)).argmax(dim=1)
        shares = [(classes == truth).float().mean().item() for truth in (labels, attacked)]
        print(f"label + {shift}: true class {shares[0]:.2f}, attacked label {shares[1]:.2f}")


if __name__ == "__main__":
    main()
