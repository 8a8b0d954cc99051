"""What the inference rule searches, costs and saves, timed in turns and alone on the machine."""

from purification.evaluation.inference_rule import rule_rows
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
measured = snakemake.params.measured
rows = rule_rows(measured, device, measured["batch"])
write_rows(snakemake.output[0], rows, snakemake.params.recipe)
