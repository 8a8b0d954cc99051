"""Quality of a run's generators."""

from purification.evaluation.quality_rows import QUALITY_COLUMNS, quality_rows
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
rows = quality_rows(snakemake.params.recipe, snakemake.input, device)
write_rows(snakemake.output[0], rows, snakemake.params.recipe, QUALITY_COLUMNS)
