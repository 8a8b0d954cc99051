"""Adversarial images against a bare classifier, or against a black-box attacker's substitute."""

from purification.evaluation.adversarial import attack_network
from purification.provenance import start_job
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.adversarial
batch_size = snakemake.config["batch_size"]["attack"]
attack_network(recipe, snakemake.input, path, batch_size, device)
