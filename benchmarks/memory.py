"""Peak memory of the jobs that purify and attack whole sets, by the number of images.

    python benchmarks/memory.py [--images 4000] [--shape 3 64 64] [--folder NEW] [--kinds ...]

Prints the largest resident memory of a process that has done one job, for n images and
for 4 n; what it has after its imports alone; the difference of the two in copies of the 3 n images
between them, which is 0 where memory does not grow with the images; and what follows for the
162,770 training images of CelebA (64x64x3), in proportion to the size of an image. `in memory` is
the baseline: the same images purified as Python users do it who have room for all, read by
`read_image_set`, given to `purify_images` as one tensor and written by `write_image_set`. Networks
are small and untrained: what they compute decides nothing here. Images lie in HDF5 files of the
layout of the workflow's, which are made in --folder, by default a temporary one, and removed.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from purification.evaluation.adversarial import attack_defense, attack_network, purify_set
from purification.evaluation.copies import craft_copies
from purification.evaluation.measure import measure
from purification.evaluation.purifiers import fitted_purifier
from purification.models.autoencoder import MagNetAutoencoder
from purification.models.checkpoints import save_network
from purification.models.classifiers import build_classifier
from purification.purifiers.batches import purify_images
from purification.runtime import peak_memory
from purification.storage import ImageSet, new_image_file, read_image_set, write_image_set

KINDS = ("start", "purify", "attack", "white box", "gray box", "copies", "measure", "in memory")
CELEBA, CELEBA_BYTES = 162_770, 64 * 64 * 3 * 4
BATCH = 250
SIZE = {"latent": 8, "width": 2}
CLASSIFIER = {"kind": "Classifier", "settings": {"architecture": "D", "dropout": "paper"}}
AUTOENCODER = {"kind": "Autoencoder", "settings": SIZE}
PURIFIER = {
    **{"name": "magnet", "seed": 0, "method": "magnet", "settings": SIZE},
    "networks": {"autoencoder": AUTOENCODER},
}
FGSM = {"name": "fgsm", "method": "fgsm", "settings": {"epsilon": 0.1}}
ITERATED = {
    "name": "bim",
    "method": "bim",
    "settings": {"epsilon": 0.1, "step_size": 0.1, "iterations": 2},
}

RUN = {"dataset": {"name": "made_up"}, "seed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4000, help="n; 4 n are the others")
    parser.add_argument("--shape", type=int, nargs=3, default=[3, 64, 64], metavar=("C", "H", "W"))
    parser.add_argument("--folder", type=Path, help="keep the files in this new folder")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--work", nargs="+", metavar=("KIND", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, *counts = options.work
        print(json.dumps([peak_after(kind, options.folder, int(count)) for count in counts]))
        return
    if options.folder:
        options.folder.mkdir(parents=True)
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as name:
        report(Path(name), options.images, tuple(options.shape), options.kinds)


def report(folder: Path, images: int, shape: tuple[int, ...], kinds: list[str]) -> None:
    """Make the files, and print a line for each kind of job."""
    make_files(folder, (images, 4 * images), shape)
    size = math.prod(shape) * 4
    print(f"{images} and {4 * images} images {shape}: {images * size / 1e6:.0f} MB a copy of n")
    print(f"{'':10} {'peak n':>9} {'peak 4n':>9} {'copies':>7} {'162,770 of CelebA':>18}")
    for kind in kinds:
        few, many = (worker(folder, kind, count)[0] for count in (images, 4 * images))
        copies = (many - few) * 1e6 / (3 * images * size)
        whole = many + max(0.0, copies) * (CELEBA * CELEBA_BYTES - 4 * images * size) / 1e6
        print(f"{kind:10} {few:6.0f} MB {many:6.0f} MB {copies:7.3f} {whole / 1e3:15.2f} GB")


def worker(folder: Path, kind: str, *counts: int) -> list[float]:
    """The peak of one process, in MB, after a job on each of these numbers of images in turn."""
    arguments = ["--folder", str(folder), "--work", kind, *map(str, counts)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def make_files(folder: Path, counts: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Networks; and for each number of images a data set of two splits, and images attacked of
    old."""
    save_network(folder / "autoencoder", MagNetAutoencoder(8, 2, shape), AUTOENCODER, shape)
    network = build_classifier("D", input_shape=shape)
    save_network(folder / "classifier", network, CLASSIFIER, shape, classes="10")
    random = np.random.default_rng(0)
    for count in counts:
        labels = random.integers(0, 10, count)
        says = {"success": labels > 3, "zero_gradient": labels > 9, "clean_predictions": labels}
        says |= {norm: random.random(count, np.float32) for norm in ("l2", "linf")}
        for name, groups in (("dataset", ("train", "test")), ("attacked", ("",))):
            with new_image_file(folder / f"{name}{count}", {}) as file:
                for group in groups:
                    made = file.new_set(count, group)
                    for start in range(0, count, BATCH):
                        made.append("images", blocks(random, min(BATCH, count - start), shape))
                    made.finish(labels, {} if group else says, {})


def blocks(random: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Images of 16 grey levels in squares of 4x4 pixels, which are packed quickly."""
    channels, height, width = shape
    levels = random.integers(0, 16, (count, channels, height // 4, width // 4))
    return (levels / 15).astype(np.float32).repeat(4, 2).repeat(4, 3)


def peak_after(kind: str, folder: Path, count: int) -> float:
    """Do a job, and say the peak of this process up to now in MB."""
    torch.set_num_threads(1)
    files = {name: str(folder / name) for name in ("autoencoder", "classifier")}
    files |= {
        "dataset": str(folder / f"dataset{count}"),
        "gray_box": str(folder / f"attacked{count}"),
    }
    path, device = str(folder / f"made {kind} {count}.h5"), torch.device("cpu")
    attacked = RUN | {"kind": "AdversarialSet", "classifier": CLASSIFIER, "attack": FGSM}
    defended = RUN | {"purifier": PURIFIER, "attack": ITERATED}
    purified = RUN | {"kind": "PurifiedImages", "split": "train", "purifier": PURIFIER}
    match kind:
        case "purify":
            purify_set(purified | {"images": None}, files, path, BATCH, device)
        case "attack":
            attack_network(attacked | {"images": None}, files, path, BATCH, device)
        case "white box" | "gray box":
            defended |= {"threat_models": {kind.replace(" ", "_"): None}}
            attack_defense(defended, files, path, BATCH, device)
        case "copies":
            craft_copies(RUN | {"attacks": [["a", FGSM], ["b", FGSM]]}, files, path, BATCH, device)
        case "measure":
            cell = {"images": files["gray_box"], "group": None, "labels": {}}
            measure([cell | {"classifier": files["classifier"]}])
        case "in memory":
            given = read_image_set(files["gray_box"])
            images, purifier = torch.from_numpy(given.images), fitted_purifier(PURIFIER, files)
            made = purify_images(purifier, images, batch_size=BATCH, device=device)
            write_image_set(path, ImageSet(made.images.numpy(), given.labels), {})
    Path(path).unlink(missing_ok=True)
    return peak_memory()


if __name__ == "__main__":
    main()
