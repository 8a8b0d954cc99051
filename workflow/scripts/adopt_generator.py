"""A generator that was trained elsewhere, checked and kept as the others are."""

from purification.models.checkpoints import adopted_network, save_network
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import read_split

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.network
images, _ = read_split(snakemake.input.dataset, "validation", first=1)
network = adopted_network(recipe, images.shape[1:])
save_network(path, network, recipe, images.shape[1:])
