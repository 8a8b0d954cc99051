"""A defence under a cascade of attacks, and what each of its stages cost."""

from purification.evaluation.cascade import COST_COLUMNS, attack_adaptively, finish_cascade
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.attacked
batch_size, state = snakemake.config["batch_size"]["attack"], snakemake.params.state
costs = attack_adaptively(recipe, snakemake.input, path, batch_size, device, state)
write_rows(snakemake.output.costs, costs, recipe, COST_COLUMNS)
finish_cascade(state)
