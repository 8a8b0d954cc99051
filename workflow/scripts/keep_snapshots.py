"""Snapshots of a training whose network was taken: the training, again."""

import torch

from purification.models.checkpoints import load_network, save_snapshots
from purification.provenance import start_job
from purification.purifiers.fitting import fit_network, warn_of_another
from purification.runtime import start
from purification.storage import read_split

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.input.network
images, labels = map(torch.from_numpy, read_split(snakemake.input.dataset, "train"))
taken = load_network(path, recipe["kind"])
made, _ = fit_network(recipe, images, labels, path=path, device=device, resume={})
warn_of_another(path, taken, made.trained)
save_snapshots(snakemake.output.snapshots, made.snapshots, recipe, tuple(images.shape[1:]))
