"""Which gradient attacks an L-BFGS search (`optimizer: lbfgs`) best.

    python benchmarks/lbfgs_gradient.py [--run results/digits/seed0] [--images 100] [--epsilon 0.1]
        [--threads 1]

Takes the generator and the retrained classifier A of a finished run (`snakemake
results/table4.csv`) and attacks Defense-GAN-Rec with one restart by PGD (40 steps of a tenth of
epsilon) on the first test images. Three gradients of each L-BFGS search: that of the minimum by the
implicit function theorem, which is the library's; that of all iterations unrolled, by autograd; and
BPDA. Below them gradient descent's exact gradient and BPDA. A line for each says what accuracy the
attack leaves; the clean accuracy; and the CPU seconds of the process.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from purification import randomness
from purification.attacks import run_attack
from purification.evaluation.threat_models import attacked_model
from purification.models.checkpoints import load_network
from purification.purifiers import DefenseGAN, SearchSettings, draw_starts
from purification.purifiers import lbfgs as searches
from purification.storage import read_split

LBFGS_STEPS, DESCENT_STEPS = (10, 20, 40), (25, 200)


class Unrolled(nn.Module):
    """L-BFGS from one start (1, d), differentiable through its iterations."""

    def __init__(self, generator: nn.Module, start: Tensor, settings: SearchSettings) -> None:
        super().__init__()
        self.generator, self.start, self.settings = generator, start, settings

    def forward(self, images: Tensor) -> Tensor:
        first = self.start.expand(len(images), -1).clone().requires_grad_()
        path = searches.Path.start(first, self.settings.step_size)
        differentiated = torch.is_grad_enabled()
        for _ in range(self.settings.steps):
            with torch.enable_grad():
                value = self.settings.objective(self.generator(path.trial), images)
                (gradient,) = torch.autograd.grad(
                    value.sum(), path.trial, create_graph=differentiated
                )
            path = path.after(value, gradient)
            if not differentiated:
                tensors = (tensor.detach() for tensor in path)
                path = searches.Path(*tensors)
                path = path._replace(trial=path.trial.requires_grad_())
        return self.generator(path.best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("results/digits/seed0"))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = (
        torch.from_numpy(part)
        for part in read_split(options.run.parent / "dataset.h5", "test", first=options.images)
    )
    generator = load_network(options.run / "generators/wgan_gp.safetensors", "Generator")
    generator.requires_grad_(False)
    classifier = load_network(options.run / "classifiers/defense_gan/A.safetensors", "Classifier")
    start = draw_starts(1, generator.latent, randomness.generator(0, "benchmark"))
    print(f"{'search':<24} {'gradient':<10} {'left':>6} {'clean':>6} {'seconds':>8}")
    for optimizer, lengths in (("lbfgs", LBFGS_STEPS), ("gradient_descent", DESCENT_STEPS)):
        own = {"optimizer": optimizer, "momentum": 0.0} if optimizer == "lbfgs" else {}
        for steps in lengths:
            settings = SearchSettings(steps, **own)
            defense = DefenseGAN(generator, start, settings)
            models = {"unrolled": Unrolled(generator, start, settings)} if own else {}
            models = {
                name: nn.Sequential(purifier, classifier) for name, purifier in models.items()
            }
            models["implicit" if own else "exact"] = attacked_model(
                "white_box", defense, classifier
            )
            models["BPDA"] = attacked_model("white_box_bpda", defense, classifier)
            for gradient, model in models.items():
                row = attacked(model, images, labels, options.epsilon)
                print(f"{f'{optimizer}, L={steps}':<24} {gradient:<10} {row}", flush=True)


def attacked(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> str:
    began = time.process_time()
    settings = {"epsilon": epsilon, "step_size": epsilon / 10, "iterations": 40}
    indices = range(len(images))
    result = run_attack(
        *("pgd", model, images, labels),
        **{"indices": indices, "seed": 0, "batch_size": 50, "settings": settings},
    )
    left = 1 - result.success.double().mean().item()
    clean = (result.clean_predictions == labels).double().mean().item()
    return f"{left:>6.3f} {clean:>6.3f} {time.process_time() - began:>8.1f}"


if __name__ == "__main__":
    main()
