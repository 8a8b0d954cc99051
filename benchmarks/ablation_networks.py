"""The networks that purification_ablation.py compares, and the quality of generators as numbers.

    python benchmarks/ablation_networks.py generator FOLDER --dataset results/mnist/dataset.h5
        [--latent 64] [--width 32] [--learning-rate 0.0005] [--every 250] [--iterations 2000]
        [--seed 0] [--precision float32] [--fast-convolutions]
    python benchmarks/ablation_networks.py classifier FILE --dataset ...
        [--architecture A] [--dropout paper] [--epochs 10] [--images N] [--reconstructions FILE]
    python benchmarks/ablation_networks.py reconstructions FILE --dataset ... --generator FILE
        [--images 8000] [--steps 25] [--restarts 4]
    python benchmarks/ablation_networks.py quality FILE.csv --dataset ... --classifier FILE
        --generators FILE ... [--images 5000]

`generator` trains a WGAN-GP and leaves FOLDER/<iteration>.safetensors every so many iterations, and
beside each exponential moving averages of the weights with decay 0.99 and 0.999 (.ema0.99, ...). A
longer training goes on from the last. `classifier` trains on the training images, the first N of
them, or on what `reconstructions` made of these by Defense-GAN's search from starts of the prior.
`quality` is in words in purification/evaluation/generator_quality.py; its row `validation` has real
images in place of generated ones.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor, nn

from purification.evaluation.generator_quality import (
    classifier_features,
    frechet_distance,
    generated_images,
    precision_and_recall,
)
from purification.models.checkpoints import load_network, save_network
from purification.models.classifiers import build_classifier
from purification.models.wgan import Critic, Generator
from purification.purifiers import SearchSettings, draw_starts, latent_search
from purification.randomness import derive_seed, generator, isolated_rng
from purification.storage import read_checkpoint, read_split, write_checkpoint
from purification.training.classifier import train_classifier
from purification.training.wgan_gp import train_wgan_gp

DECAYS = (0.99, 0.999)


class Averages:
    """Exponential moving averages of a generator's weights, one for each decay.

    Hooked to its passes without gradient, of which `train_wgan_gp` makes one an iteration.
    """

    def __init__(self, network: nn.Module, folder: Path) -> None:
        self.paths = {decay: folder / f"average{decay}.safetensors" for decay in DECAYS}
        self.weights = {
            decay: read_checkpoint(path)[0]
            if path.exists()
            else {name: weight.clone() for name, weight in network.state_dict().items()}
            for decay, path in self.paths.items()
        }
        self.network = network
        network.register_forward_pre_hook(self.follow)

    @torch.no_grad()
    def follow(self, *_: object) -> None:
        # What is called may be a view of the network, arranged for training.
        if torch.is_grad_enabled() or not self.network.training:
            return
        for decay, average in self.weights.items():
            for name, weight in self.network.state_dict().items():
                average[name].lerp_(weight, 1 - decay)

    def save(self) -> None:
        for decay, path in self.paths.items():
            write_checkpoint(path, self.weights[decay], {})


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.run(options)


def train_generator(options: argparse.Namespace) -> None:
    images, _ = training_set(options.dataset)
    size = options.latent, options.width
    with isolated_rng(derive_seed(options.seed, "ablation", "weights")):
        network, critic = Generator(*size), Critic(options.width)
    averages = Averages(network, options.output)
    recipe = {"kind": "Generator", "settings": {"latent": size[0], "width": size[1]}}
    training = {
        "learning_rate": options.learning_rate,
        "precision": options.precision,
        "fast_convolutions": options.fast_convolutions,
    }
    for iteration in range(options.every, options.iterations + 1, options.every):
        path = options.output / f"{iteration}.safetensors"
        if path.exists():
            continue
        train_wgan_gp(
            network,
            critic,
            images,
            iterations=iteration,
            batch_size=50,
            critic_steps=5,
            gradient_penalty=10.0,
            betas=(0.5, 0.9),
            seed=derive_seed(options.seed, "ablation", "training"),
            state_path=options.output / "state.safetensors",
            state_every=iteration,
            recipe_digest=f"{recipe} {training} {options.seed}",
            device="cpu",
            **training,
        )
        averages.save()
        averaged = Generator(*size)
        for decay, weights in averages.weights.items():
            averaged.load_state_dict(weights)
            name = f"{iteration}.ema{decay}.safetensors"
            save_network(options.output / name, averaged, recipe, (1, 28, 28))
        save_network(path, network, recipe, (1, 28, 28))  # last: it says that all is there


def make_classifier(options: argparse.Namespace) -> None:
    images, labels = training_set(options.dataset, options.images)
    if options.reconstructions:
        images = read_checkpoint(options.reconstructions)[0]["images"]
        labels = labels[: len(images)]
    name = options.architecture
    with isolated_rng(derive_seed(0, name, "weights")):
        model = build_classifier(name, dropout=options.dropout)
    history = train_classifier(
        model,
        images,
        labels,
        epochs=options.epochs,
        batch_size=50,
        learning_rate=0.001,
        adversarial_epsilon=None,
        seed=derive_seed(0, name, "training"),
        validation=tuple(map(torch.from_numpy, read_split(options.dataset, "validation"))),
        device="cpu",
    )
    print(*history, sep="\n")
    settings = {"architecture": name, "dropout": options.dropout}
    save_network(options.output, model, {"kind": "Classifier", "settings": settings}, (1, 28, 28))


def reconstruct(options: argparse.Namespace) -> None:
    network = load_network(options.generator, "Generator").requires_grad_(False)
    images, _ = training_set(options.dataset, options.images)
    random = generator(0, "benchmark")
    starts = draw_starts(options.restarts, network.latent, random, "prior")
    settings = SearchSettings(options.steps)
    with torch.no_grad():
        found = [latent_search(network, batch, starts, settings) for batch in images.split(250)]
    purified = torch.cat([result.reconstructions for result in found])
    write_checkpoint(options.output, {"images": purified}, {})


def measure_quality(options: argparse.Namespace) -> None:
    classifier = load_network(options.classifier, "Classifier")

    def features(images: Tensor) -> Tensor:
        return classifier_features(classifier, images, device="cpu")

    def spread(split: str) -> Tensor:
        """Not the first ones: MNIST's first 5,000 test images are the easier ones."""
        images = torch.from_numpy(read_split(options.dataset, split)[0])
        return images[:: len(images) // options.images][: options.images]

    real = features(spread("test"))
    with options.output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        header = ["generator", "images", "frechet_distance", "precision", "recall"]
        writer.writerow(header)
        for path in ["validation", *options.generators]:
            if path == "validation":
                images = spread("validation")
            else:
                network = load_network(path, "Generator")
                random = generator(0, "quality")
                codes = torch.randn(len(real), network.latent, generator=random)
                images = generated_images(network, codes, device="cpu")
            others = features(images)
            numbers = frechet_distance(real, others), *precision_and_recall(real, others)
            writer.writerow([path, len(real), *numbers])
            print(path, *numbers, flush=True)


def training_set(dataset: Path, first: int | None = None) -> tuple[Tensor, Tensor]:
    images, labels = read_split(dataset, "train", first=first)
    return torch.from_numpy(images), torch.from_numpy(labels)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: object) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(run=run)
        added.add_argument("output", type=Path)
        added.add_argument("--dataset", type=Path, required=True)
        added.add_argument("--threads", type=int, default=1)
        return added

    wgan = command("generator", train_generator)
    wgan.add_argument("--latent", type=int, default=64)
    wgan.add_argument("--width", type=int, default=32)
    wgan.add_argument("--learning-rate", type=float, default=0.0005)
    wgan.add_argument("--precision", default="float32")
    wgan.add_argument("--fast-convolutions", action="store_true")
    wgan.add_argument("--every", type=int, default=250)
    wgan.add_argument("--iterations", type=int, default=2000)
    wgan.add_argument("--seed", type=int, default=0)
    classifier = command("classifier", make_classifier)
    classifier.add_argument("--architecture", default="A")
    classifier.add_argument("--dropout", default="paper")
    classifier.add_argument("--epochs", type=int, default=10)
    classifier.add_argument("--images", type=int)
    classifier.add_argument("--reconstructions", type=Path)
    reconstructions = command("reconstructions", reconstruct)
    reconstructions.add_argument("--generator", required=True)
    reconstructions.add_argument("--images", type=int, default=8000)
    reconstructions.add_argument("--steps", type=int, default=25)
    reconstructions.add_argument("--restarts", type=int, default=4)
    quality = command("quality", measure_quality)
    quality.add_argument("--classifier", required=True)
    quality.add_argument("--generators", nargs="+", required=True)
    quality.add_argument("--images", type=int, default=5000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
