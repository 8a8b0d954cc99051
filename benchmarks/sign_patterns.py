"""What a Defense-VAE reads from the sign of a classifier's gradient.

FGSM's step tells the label that it climbs away from, and a network that is trained on attacked
images can learn to read it there (label leaking, Kurakin et al. 2017); of CW at the Defense-VAE
paper's learning rates little is left but that sign. Prints, for the labels of the images and for
wrong ones, how often the purified image is classified as the image's class and as the label that
was attacked, under FGSM (with --epsilon) or of the bare pattern of signs. After `defense_vae`:

    python benchmarks/sign_patterns.py results/digits --classifier A
    python benchmarks/sign_patterns.py results/digits --epsilon 0.1 --defenses defense_vae_e2e
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from purification.attacks.fgsm import fgsm
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers.base import Defended
from purification.purifiers.defense_vae import DefenseVAE
from purification.storage import read_split

VAE = "defense_vae"
RETRAINED = "defense_vae_rec"
END_TO_END = "defense_vae_e2e"


def sign_pattern(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """1 where the margin of the label over the best other logit falls with the pixel, else 0."""
    given = images.clone().requires_grad_()
    logits = model(given)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((own - other).sum(), given)
    return (gradient < 0).float()


def defended(run: Path, classifier: str, defense: str) -> nn.Module:
    """A VAE and the classifier behind it, by the defence's name in the config."""
    if defense == END_TO_END:
        networks = run / "end_to_end" / defense
        files = (
            networks / f"{classifier}.vae.safetensors",
            networks / f"{classifier}.classifier.safetensors",
        )
    else:
        behind = "plain" if defense == VAE else VAE
        files = (
            run / "vaes" / VAE / f"{classifier}.safetensors",
            run / "classifiers" / behind / f"{classifier}.safetensors",
        )
    vae, reader = (
        load_network(file, kind)
        for file, kind in zip(files, ("DefenseVAE", "Classifier"), strict=True)
    )
    return Defended(DefenseVAE(vae), reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results of a data set, such as results/digits")
    parser.add_argument("--classifier", default="A")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epsilon", type=float, help="FGSM of this strength, not the bare pattern")
    parser.add_argument(
        "--defenses", nargs="+", default=[VAE], choices=[VAE, RETRAINED, END_TO_END]
    )
    arguments = parser.parse_args()
    run = arguments.folder / "seed0"
    plain = run / "classifiers/plain" / f"{arguments.classifier}.safetensors"
    classifier = load_network(plain, "Classifier")
    split = read_split(arguments.folder / "dataset.h5", "test", arguments.images)
    images, labels = map(torch.from_numpy, split)
    for defense in arguments.defenses:
        model = defended(run, arguments.classifier, defense)
        [clean] = shares(model, images, labels)
        print(f"{defense}, clean images: true class {clean:.3f}")
        for shift in (0, 1, 3):
            attacked = (labels + shift) % 10
            if arguments.epsilon is None:
                given = sign_pattern(classifier, images, attacked)
            else:
                given = fgsm(classifier, images, attacked, epsilon=arguments.epsilon)
            true, of_attacked = shares(model, given, labels, attacked)
            print(
                f"{defense}, label + {shift}: true class {true:.3f}, "
                f"attacked label {of_attacked:.3f}"
            )


def shares(model: nn.Module, images: Tensor, *labels: Tensor) -> list[float]:
    """Of the images (N, C, H, W) that are classified as each of the labels (N,)."""
    classes = predict(model, images, device="cpu").argmax(dim=1)
    return [(classes == wanted).float().mean().item() for wanted in labels]


if __name__ == "__main__":
    main()
