"""A WGAN-GP on the training images, with a grid of its samples and its loss curve."""

from pathlib import Path

import pandas as pd
import torch

from purification.models.checkpoints import network_of, save_network
from purification.models.wgan import Critic
from purification.randomness import derive_seed, generator, isolated_rng
from purification.reporting.figures import loss_curve, sample_grid
from purification.runtime import start
from purification.storage import atomic, read_split
from purification.training.wgan_gp import train_wgan_gp

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe, path = snakemake.params.recipe, snakemake.output.network
settings = recipe["settings"]
images = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(images.shape[1:])
with isolated_rng(derive_seed(recipe["seed"], path, "weights")):
    network, critic = network_of(recipe, shape), Critic(settings["width"], shape)
training = {key: value for key, value in settings.items() if key not in ("latent", "width")}
history = train_wgan_gp(
    network,
    critic,
    images,
    **training,
    seed=derive_seed(recipe["seed"], path, "training"),
    state_path=Path(snakemake.params.state),
    state_every=snakemake.config["checkpoint_every"],
    recipe_digest=snakemake.params.resume_digest,
    device=device,
    name=path,
)
history = pd.DataFrame(history)
with atomic(snakemake.output.history) as temporary:
    history.to_csv(temporary, index=False)
panels = {"Wasserstein estimate": ["wasserstein"], "Gradient penalty": ["penalty"]}
title = f"{recipe['name']} on {recipe['dataset']['name']}, seed {recipe['seed']}"
loss_curve(history, Path(snakemake.output.curve), title, x="iteration", panels=panels)
latents = torch.randn(64, settings["latent"], generator=generator(recipe["seed"], path, "samples"))
with torch.no_grad():
    samples = network.eval()(latents.to(device)).cpu()
sample_grid(samples, Path(snakemake.output.samples), columns=8)
save_network(path, network, recipe, shape)
