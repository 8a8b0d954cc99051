"""Accuracies of one row of a table."""

from purification.evaluation.measure import columns_of, measure
from purification.provenance import start_job
from purification.runtime import log_to
from purification.text_tables import write_rows

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
rows = measure(snakemake.params.recipe["cells"], snakemake.threads)
write_rows(snakemake.output[0], rows, snakemake.params.recipe, columns_of(rows))
