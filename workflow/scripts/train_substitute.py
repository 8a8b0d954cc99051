"""A black-box attacker's substitute, trained on the labels of an oracle."""

import sys

import torch

from purification.datasets import attacker_images, classes_of
from purification.evaluation.oracle import load_oracle
from purification.models.checkpoints import classifier_of, save_network
from purification.networks import take
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows
from purification.training.substitute import train_substitute

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
if take(dict.fromkeys(snakemake.output, recipe), snakemake.config):
    sys.exit()
settings = {k: v for k, v in recipe["training"].items() if k != "initial_labels"}
test = map(attacker_images, read_split(snakemake.input.dataset, "test"))
images, labels = map(torch.from_numpy, test)
shape, classes = tuple(images.shape[1:]), classes_of(recipe["dataset"]["settings"])
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    network = classifier_of(recipe, shape, classes)
batch_size = snakemake.config["batch_size"]["purification"]
result = train_substitute(
    network,
    load_oracle(recipe, snakemake.input, batch_size, device),
    images,
    **settings,
    initial_labels=labels if recipe["training"]["initial_labels"] == "ground_truth" else None,
    seed=derive_seed(recipe["seed"], name_of(path), "training"),
    device=device,
    name=path,
)
facts = {"queries": str(result.queries), "classes": str(classes)}
save_network(path, network, recipe, shape, **facts)
write_rows(snakemake.output.history, result.history, recipe)
