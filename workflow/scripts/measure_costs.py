"""What the purification of an image costs each of several purifiers, in turns."""

from purification.evaluation.costs import COST_COLUMNS, cost_rows
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
rows = cost_rows(recipe, snakemake.input, device)
write_rows(snakemake.output[0], rows, recipe, COST_COLUMNS)
