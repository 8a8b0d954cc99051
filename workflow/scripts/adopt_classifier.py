"""A classifier that was trained elsewhere, checked and kept as the others are."""

import torch

from purification.datasets import classes_of
from purification.models.checkpoints import save_network
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import read_split
from purification.training.adoption import adopt_classifier

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe)
recipe, path = snakemake.params.recipe, snakemake.output.network
classes = classes_of(recipe["dataset"]["settings"])
images, labels = map(torch.from_numpy, read_split(snakemake.input.dataset, "validation"))
network = adopt_classifier(recipe, images, labels, classes=classes, device=device, name=path)
save_network(path, network, recipe, tuple(images.shape[1:]), classes=str(classes))
