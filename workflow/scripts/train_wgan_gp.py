"""A WGAN-GP on the training images."""

import torch

from purification.models.checkpoints import network_of, save_network
from purification.models.wgan import Critic
from purification.provenance import name_of, place_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows
from purification.training.wgan_gp import train_wgan_gp

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
settings = recipe["settings"]
images = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(images.shape[1:])
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    network, critic = network_of(recipe, shape), Critic(settings["width"], shape)
training = {key: value for key, value in settings.items() if key not in ("latent", "width")}
history = train_wgan_gp(
    network,
    critic,
    images,
    **training,
    seed=derive_seed(recipe["seed"], name_of(path), "training"),
    state_path=place_of(snakemake.params.state),
    state_every=snakemake.config["checkpoint_every"],
    recipe_digest=snakemake.params.resume_digest,
    device=device,
    name=path,
)
save_network(path, network, recipe, shape)
write_rows(snakemake.output.history, history, recipe)
