"""A BiGAN on the training images."""

import torch

from purification.models.bigan import JointDiscriminator
from purification.models.checkpoints import network_of, save_network
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows
from purification.training.bigan import train_bigan

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
images = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(images.shape[1:])
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    network = network_of(recipe, shape)
    discriminator = JointDiscriminator(
        recipe["settings"]["latent"], recipe["settings"]["width"], shape
    )
settings = {k: v for k, v in recipe["settings"].items() if k not in ("latent", "width")}
seed = derive_seed(recipe["seed"], name_of(path), "training")
history = train_bigan(
    network, discriminator, images, **settings, seed=seed, device=device, name=path
)
save_network(path, network, recipe, shape)
write_rows(snakemake.output.history, history, recipe)
