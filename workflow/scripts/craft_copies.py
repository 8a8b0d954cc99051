"""The training images attacked through a classifier, once for each strength of an attack."""

from purification.evaluation.copies import craft_copies
from purification.provenance import start_job
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.copies
batch_size = snakemake.config["batch_size"]["attack"]
craft_copies(recipe, snakemake.input, path, batch_size, device)
