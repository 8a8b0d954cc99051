"""A VAE that turns attacked training images into the clean ones."""

import torch

from purification.evaluation.copies import read_copies
from purification.models.checkpoints import network_of, save_network
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows
from purification.training.defense_vae import train_defense_vae

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
clean = torch.from_numpy(read_split(snakemake.input.dataset, "train")[0])
shape = tuple(clean.shape[1:])
copies = read_copies(recipe["copies"], snakemake.input)
copies += [clean] if recipe["settings"]["clean_pairs"] else []
with isolated_rng(derive_seed(recipe["seed"], name_of(path), "weights")):
    network = network_of(recipe, shape)
named = ("latent", "width", "clean_pairs")
settings = {key: value for key, value in recipe["settings"].items() if key not in named}
seed = derive_seed(recipe["seed"], name_of(path), "training")
history = train_defense_vae(network, copies, clean, **settings, seed=seed, device=device, name=path)
save_network(path, network, recipe, shape)
write_rows(snakemake.output.history, history, recipe)
