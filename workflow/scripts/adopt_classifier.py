"""A classifier that was trained elsewhere, checked and kept as the others are."""

import torch

from purification.datasets import classes_of
from purification.models.checkpoints import adopted_network, save_network
from purification.models.prediction import predict
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import read_split
from purification.training.finite import warn_at_chance

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
classes = classes_of(recipe["dataset"]["settings"])
images, labels = map(torch.from_numpy, read_split(snakemake.input.dataset, "validation"))
network = adopted_network(recipe, tuple(images.shape[1:]), classes=classes)
right = predict(network, images, device=device).argmax(dim=1) == labels
accuracy = right.double().mean().item()
print(f"accuracy on {len(labels)} validation images: {accuracy:.4f}")
warn_at_chance(path, accuracy, labels, "validation images")
save_network(path, network, recipe, tuple(images.shape[1:]), classes=str(classes))
