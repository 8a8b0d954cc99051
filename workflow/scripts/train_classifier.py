"""A classifier, trained plainly, on FGSM images too, on PGD images, or on reconstructions."""

import sys

import torch

from purification.datasets import classes_of
from purification.models.checkpoints import classifier_of, save_network
from purification.networks import take
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import open_split, read_image_set, read_split
from purification.text_tables import write_rows
from purification.training.classifier import train_classifier

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
if take(dict.fromkeys(snakemake.output, recipe), snakemake.config):
    sys.exit()
settings, classes = recipe["settings"], classes_of(recipe["dataset"]["settings"])
if recipe["reconstructions"]:
    images = torch.from_numpy(read_image_set(snakemake.input.reconstructions).images)
    labels = torch.from_numpy(open_split(snakemake.input.dataset, "train").labels)
else:
    images, labels = map(torch.from_numpy, read_split(snakemake.input.dataset, "train"))
validation = tuple(map(torch.from_numpy, read_split(snakemake.input.dataset, "validation")))
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    model = classifier_of(recipe, tuple(images.shape[1:]), classes)
history = train_classifier(
    model,
    images,
    labels,
    epochs=settings["epochs"],
    batch_size=settings["batch_size"],
    learning_rate=settings["learning_rate"],
    adversarial_epsilon=recipe["adversarial_epsilon"],
    adversarial_labels=recipe.get("adversarial_labels", "ground_truth"),
    adversarial_pgd=recipe.get("adversarial_pgd"),
    precision=settings.get("precision", "float32"),
    seed=derive_seed(recipe["seed"], name_of(path), "training"),
    validation=validation,
    device=device,
    name=path,
)
save_network(path, model, recipe, tuple(images.shape[1:]), classes=str(classes))
write_rows(snakemake.output.history, history, recipe)
