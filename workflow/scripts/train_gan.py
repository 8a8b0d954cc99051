"""Cowboy's GAN on the training images, with what it was after fewer iterations and its samples."""

from pathlib import Path

import pandas as pd
import torch

from purification.models.checkpoints import network_of, save_network, save_snapshots
from purification.randomness import derive_seed, generator, isolated_rng
from purification.reporting.figures import loss_curve, sample_grid
from purification.runtime import start
from purification.storage import atomic, read_split
from purification.training.gan import train_gan

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe, path = snakemake.params.recipe, snakemake.output.network
images = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(images.shape[1:])
with isolated_rng(derive_seed(recipe["seed"], path, "weights")):
    network = network_of(recipe, shape)
settings = {k: v for k, v in recipe["settings"].items() if k not in ("latent", "width")}
settings["saturating"] = settings.pop("adversarial") == "minimax"
seed = derive_seed(recipe["seed"], path, "training")
history, snapshots = train_gan(network, images, **settings, seed=seed, device=device, name=path)
history = pd.DataFrame(history)
with atomic(snakemake.output.history) as temporary:
    history.to_csv(temporary, index=False)
title = f"{recipe['name']} on {recipe['dataset']['name']}, seed {recipe['seed']}"
panels = {"Loss": ["discriminator", "generator"]}
loss_curve(history, Path(snakemake.output.curve), title, x="iteration", panels=panels)
codes = torch.randn(64, network.latent, generator=generator(recipe["seed"], path, "samples"))
with torch.no_grad():
    samples = network.generator(codes.to(device)).cpu()
sample_grid(samples, Path(snakemake.output.samples), columns=8)
save_snapshots(snakemake.output.snapshots, snapshots, recipe, shape)
save_network(path, network, recipe, shape)
