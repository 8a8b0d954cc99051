"""How much of Defense-GAN's search its result needs: accuracy over generator evaluations.

    python benchmarks/work.py [--run results/digits/seed0] [--classifiers A C] [--attack fgsm]
        [--encoder NAME | --optimizers] [--training plain] [--images N] [--threads N]
        [--device cpu] [--output work.csv]

Takes the networks and adversarial images of a finished run (`snakemake results/table4.csv`), on
real images of any data set, and purifies them with the full search (L=200, R=10) and with searches
that do less: fewer steps and restarts, pruned restarts (successive halving), images stopped when
converged. All start from the same points. Writes a row for each, and FILE.png: reconstruction error
and accuracy of the retrained classifiers (Defense-GAN-Rec) over generator evaluations an image.

With `--encoder`, on the generator of an AE-GAN instead (`ae_gans/NAME`, trained for AE-GAN+rs's
tables) and before the original classifiers, as AE-GAN+rs is used: searches from random starts
against searches from the encoder's code. The encoder's own pass is in `seconds`, not in
`evaluations`.

With `--optimizers`, gradient descent against L-BFGS (`optimizer: lbfgs`) over steps L, with ten
restarts and with the first of them alone, and L-BFGS with pruned restarts. All L and R of an
optimizer are cells of one sweep, and `seconds` is the whole sweep's in each.

The classifiers are those retrained on reconstructions, or `--training plain`. `difference` is from
the full search, in points of robust accuracy, with half its 95 % interval (paired images);
`clean_difference` the same for clean images.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from purification import randomness
from purification.datasets import Split
from purification.models.ae_gan import draw_prior
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers import SearchSettings, draw_starts, latent_search
from purification.purifiers.descent import SearchResult
from purification.purifiers.latent_search import sweep_search
from purification.storage import read_image_set, read_split

STEPS, RESTARTS = 200, 10  # the paper's
FULL = "full search"
DESCENT_STEPS = (10, 25, 50, 100, STEPS)
LBFGS_STEPS = (5, 8, 10, 12, 16, 20, 24, 32, 39, 50)
MARKERS = {
    FULL: "*",
    "gradient descent, R=10": "o",
    "gradient descent, R=1,": ".",
    "L-BFGS, R=10": "s",
    "L-BFGS, R=1,": "x",
    "L-BFGS, pruned": "^",
    "L=": "o",
    "pruned": "s",
    "stopped": "^",
    "encoder, one pass": "X",
    "encoder, doubling": "D",
    "encoder, step 1,": "v",
    "encoder, step 4,": "<",
    "encoder, step 10,": ">",
}  # by the start of a search's name


def strategies() -> dict[str, tuple[int, SearchSettings]]:
    """By name: the number of restarts and the settings."""
    found = {FULL: (RESTARTS, SearchSettings(STEPS))}
    for steps, momentum, prune in (
        (140, 0.9, ((3, 3), (8, 1))),
        (110, 0.9, ((4, 4), (10, 2), (25, 1))),
        (60, 0.9, ((3, 3), (8, 1))),
        (140, 0.7, ((3, 3), (8, 1))),
        (200, 0.7, ((20, 5), (40, 2), (80, 1))),
    ):
        text = ", ".join(f"{restarts} from {step}" for step, restarts in prune)
        settings = SearchSettings(steps, momentum=momentum, prune=prune)
        found[f"pruned, L={steps}: {text}; momentum {momentum}"] = (RESTARTS, settings)
    prune, stop = ((5, 4), (15, 2), (35, 1)), {"tolerance": 0.02, "patience": 10}
    found["pruned and stopped at 2 % in 10 steps"] = (
        RESTARTS, SearchSettings(STEPS, prune=prune, **stop)
    )  # fmt: skip
    for steps, restarts in ((10, 10), (19, 10), (50, 2), (200, 1)):
        found[f"L={steps}, R={restarts}"] = (restarts, SearchSettings(steps))
    found["stopped at 2 % in 10 steps"] = (RESTARTS, SearchSettings(STEPS, **stop))
    return found


def encoder_strategies() -> dict[str, tuple[int, SearchSettings]]:
    """As `strategies`; 0 restarts: one, from the encoder's code.

    Momentum is 0.7. Step 4 was the best of 0.3, 1, 2, 4 and the published 10 for one random start
    (L=200), and step 1 for the encoder's (L=15 and 200), by the error of 32 attacked MNIST images
    from number 500 on. The doubling is AE-GAN+rs's, from the 0.1 of config/mnist_cpu.yaml.
    """
    found = {FULL: (RESTARTS, SearchSettings(STEPS, 4.0))}
    for steps, restarts in ((15, 10), (50, 1), (50, 4), (50, 10), (200, 1)):
        found[f"L={steps}, R={restarts}"] = (restarts, SearchSettings(steps, 4.0))
    found["encoder, one pass"] = (0, SearchSettings(0))
    for steps in (5, 15, 25):
        settings = SearchSettings(steps, 0.1, momentum=0.0, doubling=5)
        found[f"encoder, doubling, L={steps}"] = (0, settings)
    for size in (1.0, 4.0, 10.0):
        for steps in (5, 15, 50, 200):
            found[f"encoder, step {size:g}, L={steps}"] = (0, SearchSettings(steps, size))
    return found


Search = Callable[[nn.Module, Tensor], dict[str, SearchResult]]
"""(generator, images (M, C, H, W)) -> what each of its searches finds, by name."""


def search_of(name: str, starts: Tensor | nn.Module, settings: SearchSettings) -> Search:
    """One search; `starts` (R, d), or the encoder that makes one of each image."""

    def search(generator: nn.Module, images: Tensor) -> dict[str, SearchResult]:
        own = starts
        if isinstance(starts, nn.Module):
            own = starts.to(images.device).requires_grad_(False)(images)[:, None]
        return {name: latent_search(generator, images, own, settings)}

    return search


def optimizer_searches(starts: Tensor) -> Iterable[Search]:
    """Of `--optimizers`; gradient descent with all steps and restarts is `FULL`."""
    lbfgs = {"momentum": 0.0, "optimizer": "lbfgs"}

    def sweep_of(name: str, steps: tuple[int, ...], settings: SearchSettings) -> Search:
        cells = {
            (length, restarts): f"{name}, R={restarts}, L={length}"
            for restarts in (RESTARTS, 1)
            for length in reversed(steps)
        }
        if settings.optimizer != "lbfgs":
            cells[STEPS, RESTARTS] = FULL

        def search(generator: nn.Module, images: Tensor) -> dict[str, SearchResult]:
            found = sweep_search(generator, images, starts, settings, cells)
            return {name: found[cell] for cell, name in cells.items()}

        return search

    yield sweep_of("gradient descent", DESCENT_STEPS, SearchSettings(0))
    yield sweep_of("L-BFGS", LBFGS_STEPS, SearchSettings(0, **lbfgs))
    for steps, prune in ((20, ((5, 3), (10, 1))), (30, ((5, 3), (10, 1))), (60, ((5, 3), (10, 1)))):
        text = ", ".join(f"{restarts} from {step}" for step, restarts in prune)
        settings = SearchSettings(steps, prune=prune, **lbfgs)
        yield search_of(f"L-BFGS, pruned, L={steps}: {text}", starts, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("results/digits/seed0"))
    parser.add_argument("--classifiers", nargs="+", default=["A", "C"])
    parser.add_argument("--attack", default="fgsm")
    parser.add_argument("--generator", default="wgan_gp")
    parser.add_argument("--encoder", help="name of an AE-GAN, such as ae_gan_r")
    parser.add_argument("--optimizers", action="store_true")
    parser.add_argument("--training", help="of the classifiers: plain or defense_gan")
    parser.add_argument("--images", type=int, help="of each set; all if left out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("work.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.encoder:
        network = load_network(options.run / f"ae_gans/{options.encoder}.safetensors", "AEGAN")
        generator, encoder = network.generator, network.encoder
        draw_codes, chosen = draw_prior, encoder_strategies()
    else:
        path = options.run / f"generators/{options.generator}.safetensors"
        generator, encoder = load_network(path, "Generator"), None
        draw_codes, chosen = draw_starts, strategies()
    drawn = draw_codes(RESTARTS, generator.latent, randomness.generator(0, "benchmark"))
    sets = image_sets(options)
    if options.optimizers:
        searches = optimizer_searches(drawn)
    else:
        searches = [
            search_of(name, drawn[:restarts] if restarts else encoder, settings)
            for name, (restarts, settings) in chosen.items()
        ]
    rows, full = [], None
    for search in searches:
        for name, (row, right) in measure(generator, search, sets, options).items():
            full = right if full is None else full
            rows.append({"search": name, **row, **compared(right, full)})
            print(
                "  ".join(
                    f"{key} {value:.4g}" if isinstance(value, float) else f"{value}"
                    for key, value in rows[-1].items()
                ),
                flush=True,
            )
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, options.output.with_suffix(".png"))


def image_sets(options: argparse.Namespace) -> dict[str, tuple[Split, list[nn.Module]]]:
    """By name: images with labels, and the classifiers that see them purified."""

    def classifier(name: str) -> nn.Module:
        training = options.training or ("plain" if options.encoder else "defense_gan")
        return load_network(
            options.run / f"classifiers/{training}/{name}.safetensors", "Classifier"
        )

    networks = {name: classifier(name) for name in options.classifiers}
    images, labels = read_split(options.run.parent / "dataset.h5", "test", first=options.images)
    sets = {"clean": ((images, labels), list(networks.values()))}
    for name, network in networks.items():
        attacked = read_image_set(options.run / f"adversarial/plain/{name}/{options.attack}.h5")
        first = slice(options.images)
        sets[name] = ((attacked.images[first], attacked.labels[first]), [network])
    return sets


def measure(
    generator: nn.Module,
    search: Search,
    sets: dict[str, tuple[Split, list[nn.Module]]],
    options: argparse.Namespace,
) -> dict[str, tuple[dict[str, float], dict[str, np.ndarray]]]:
    """All sets searched: by the name of each search its figures, and which images are classified
    rightly, set by set."""
    generator = generator.to(options.device).requires_grad_(False)
    found: dict[str, dict[str, list[SearchResult]]] = {}
    seconds = 0.0
    for name, ((images, _), _) in sets.items():
        for batch in torch.from_numpy(images).split(250):
            start = time.perf_counter()
            for searched, result in search(generator, batch.to(options.device)).items():
                parts = found.setdefault(searched, {}).setdefault(name, [])
                parts.append(SearchResult(*(part.cpu() for part in vars(result).values())))
            seconds += time.perf_counter() - start
    return {name: figures(parts, sets, seconds, options) for name, parts in found.items()}


def figures(
    found: dict[str, list[SearchResult]],
    sets: dict[str, tuple[Split, list[nn.Module]]],
    seconds: float,
    options: argparse.Namespace,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Of one search's results, set by set."""
    right = {}
    for name, ((_, labels), classifiers) in sets.items():
        purified = torch.cat([part.reconstructions for part in found[name]])
        predictions = [
            predict(classifier, purified, device=options.device).argmax(dim=1).numpy()
            for classifier in classifiers
        ]
        right[name] = np.concatenate([predicted == labels for predicted in predictions])
    attacked = np.concatenate([rows for name, rows in right.items() if name != "clean"])
    parts = [part for results in found.values() for part in results]
    errors = torch.cat([part.objective for part in parts])
    row = {
        "evaluations": torch.cat([part.evaluations for part in parts]).double().mean().item(),
        "seconds": seconds,
        "reconstruction_error": errors.double().mean().item(),
        "clean_accuracy": float(right["clean"].mean()),
        "robust_accuracy": float(attacked.mean()),
        "images": len(attacked),
    }
    return row, right


def compared(right: dict[str, np.ndarray], full: dict[str, np.ndarray]) -> dict[str, float]:
    """Points of robust accuracy above the full search, with the interval of paired images."""
    change = np.concatenate(
        [right[name].astype(float) - full[name] for name in right if name != "clean"]
    )
    clean = right["clean"].astype(float) - full["clean"]
    return {
        "difference": 100 * change.mean(),
        "interval": 196 * change.std() / math.sqrt(len(change)),
        "clean_difference": 100 * clean.mean(),
    }


def draw(rows: list[dict[str, float | str]], path: Path) -> None:
    from purification.reporting.plotting import Figure, FigureCanvasAgg, only_style

    with only_style({}):
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 3)
        draw_on(axes, rows)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        figure.savefig(path, dpi=130)


def draw_on(axes: np.ndarray, rows: list[dict[str, float | str]]) -> None:
    columns = ("reconstruction_error", "clean_accuracy", "robust_accuracy")
    for axis, column in zip(axes, columns, strict=True):
        for kind, marker in MARKERS.items():
            chosen = [row for row in rows if str(row["search"]).startswith(kind)]
            if not chosen:
                continue
            label = "fewer steps or restarts" if kind == "L=" else kind.rstrip(",")
            axis.scatter(
                [row["evaluations"] for row in chosen],
                [row[column] for row in chosen],
                marker=marker,
                label=label,
            )
        axis.axhline(rows[0][column], color="0.7", linewidth=1, zorder=0)
        axis.set(xscale="log", xlabel="generator evaluations an image")
        axis.set_ylabel(column.replace("_", " "))


if __name__ == "__main__":
    main()
