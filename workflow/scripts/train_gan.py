"""Cowboy's GAN on the training images, with what it was after fewer iterations."""

import torch

from purification.models.checkpoints import network_of, save_network, save_snapshots
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows
from purification.training.gan import train_gan

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
images = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(images.shape[1:])
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    network = network_of(recipe, shape)
settings = {k: v for k, v in recipe["settings"].items() if k not in ("latent", "width")}
settings["saturating"] = settings.pop("adversarial") == "minimax"
seed = derive_seed(recipe["seed"], name_of(path), "training")
history, snapshots = train_gan(network, images, **settings, seed=seed, device=device, name=path)
save_network(path, network, recipe, shape)
save_snapshots(snakemake.output.snapshots, snapshots, recipe, shape)
write_rows(snakemake.output.history, history, recipe)
