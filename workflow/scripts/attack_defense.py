"""A purifier and the classifier behind it, attacked in each threat model."""

from purification.evaluation.adversarial import attack_defense
from purification.provenance import start_job
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.attacked
batch_size = snakemake.config["batch_size"]["attack"]
attack_defense(recipe, snakemake.input, path, batch_size, device)
