"""What bfloat16 saves in a classifier's training, and what it does to an attack through the search.

    python benchmarks/mixed_precision.py results/mnist [--images 5000] [--attacked 100]

Prints (1) seconds of an epoch of 50,000 images, plain and adversarial, in both precisions, their
ratio and the accuracy on validation images after one epoch of `--images`; (2) accuracy under
white-box FGSM through Defense-GAN in both precisions of its search, by the gradient (a) of the
float32 search, (b) of the library for a bfloat16 search, (c) of autograd through the bfloat16 steps
themselves. Needs `dataset.h5` and, for (2), the first seed's plain classifier A and `wgan_gp`.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from purification import randomness
from purification.attacks.gradient import input_gradient
from purification.models.checkpoints import load_network
from purification.models.classifiers import build_classifier
from purification.models.prediction import predict
from purification.purifiers.defense_gan import DefenseGAN, draw_starts
from purification.purifiers.descent import SearchSettings
from purification.purifiers.search_network import search_network
from purification.storage import read_split
from purification.training.classifier import train_classifier

EPSILON = 0.3
PRECISIONS = ("float32", "bfloat16")


class Unrolled(nn.Module):
    """One restart's search in bfloat16 that autograd differentiates step by step."""

    def __init__(self, generator: nn.Module, start: Tensor, settings: SearchSettings) -> None:
        super().__init__()
        self.generator = search_network(generator)
        self.network = search_network(generator, "bfloat16")
        self.start, self.settings = start, settings

    def forward(self, images: Tensor) -> Tensor:
        latents = self.start.expand(len(images), -1).clone().requires_grad_()
        velocity = torch.zeros_like(latents)
        for _ in range(self.settings.steps):
            objective = self.settings.objective(self.network(latents), images).sum()
            (gradient,) = torch.autograd.grad(objective, latents, create_graph=True)
            velocity = self.settings.momentum * velocity + gradient
            latents = latents - self.settings.step_size * velocity
        return self.generator(latents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results of a data set, such as results/mnist")
    parser.add_argument("--architectures", nargs="*", default=["A", "B", "C"])
    parser.add_argument("--images", type=int, default=5000, help="to train on")
    parser.add_argument("--attacked", type=int, default=100)
    parser.add_argument("--steps", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # for the process's own time, which other work does not lengthen
    data = arguments.folder / "dataset.h5"
    for architecture in arguments.architectures:
        for epsilon in (None, EPSILON):
            print(training(data, architecture, epsilon, arguments.images), flush=True)
    run = arguments.folder / "seed0"
    white_box(data, run, arguments.attacked, arguments.steps)


def training(data: Path, architecture: str, epsilon: float | None, count: int) -> str:
    images, labels = map(torch.from_numpy, read_split(data, "train", first=count))
    validation = tuple(map(torch.from_numpy, read_split(data, "validation", first=2000)))
    seconds, accuracy = [], []
    for precision in PRECISIONS:
        with randomness.isolated_rng(0):
            model = build_classifier(architecture, input_shape=tuple(images.shape[1:]))
        began = time.process_time()
        train_classifier(
            model,
            images,
            labels,
            epochs=1,
            batch_size=50,
            learning_rate=1e-3,
            adversarial_epsilon=epsilon,
            precision=precision,
            seed=0,
            validation=None,
            device="cpu",
        )
        seconds.append((time.process_time() - began) * 50_000 / count)
        named = predict(model, validation[0], device="cpu").argmax(dim=1)
        accuracy.append((named == validation[1]).double().mean().item())
    return (
        f"{architecture}, {'FGSM' if epsilon else 'plain'}: {seconds[0]:.0f} s and "
        f"{seconds[1]:.0f} s, {seconds[0] / seconds[1]:.2f}x; accuracy {accuracy[0]:.4f} and "
        f"{accuracy[1]:.4f}"
    )


def white_box(data: Path, run: Path, count: int, steps: int) -> None:
    images, labels = map(torch.from_numpy, read_split(data, "test", first=count))
    classifier = load_network(run / "classifiers/plain/A.safetensors", "Classifier")
    generator = load_network(run / "generators/wgan_gp.safetensors", "Generator")
    random = randomness.generator(0, "benchmark")
    starts = draw_starts(1, generator.latent, random, "prior")
    purifiers: dict[str, nn.Module] = {
        precision: DefenseGAN(generator, starts, SearchSettings(steps, precision=precision))
        for precision in PRECISIONS
    }
    models = {name: nn.Sequential(purifier, classifier) for name, purifier in purifiers.items()}
    unrolled = Unrolled(generator, starts, SearchSettings(steps, precision="bfloat16"))
    attackers = {**models, "bfloat16, unrolled": nn.Sequential(unrolled, classifier)}
    gradients = {name: input_gradient(m, images, labels) for name, m in attackers.items()}
    exact = gradients["float32"].sign()
    for name, gradient in gradients.items():
        attacked = (images + EPSILON * gradient.sign()).clamp(0, 1)
        with torch.no_grad():
            found = {p: (m(attacked).argmax(1) == labels).float() for p, m in models.items()}
        accuracies = ", ".join(f"{p} search {hits.mean():.3f}" for p, hits in found.items())
        agree = (gradient.sign() == exact).float().mean()
        print(f"gradient through {name}: {accuracies}; {agree:.0%} of its signs are float32's")


if __name__ == "__main__":
    main()
