"""A generator that was trained elsewhere, checked and kept as the others are."""

import torch

from purification.models.checkpoints import save_network
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import read_split
from purification.training.adoption import adopt_generator

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe)
recipe, path = snakemake.params.recipe, snakemake.output.network
images = torch.from_numpy(read_split(snakemake.input.dataset, "validation")[0])
network = adopt_generator(recipe, images, name=path)
save_network(path, network, recipe, tuple(images.shape[1:]))
