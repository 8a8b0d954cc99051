"""Quality of generators and the accuracies behind their defences, as a table and readable."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.generator_quality import quality_markdown, quality_table
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
table = quality_table(snakemake.params.recipe)
write_page(snakemake.output.markdown, quality_markdown(table), snakemake.params.recipe)
write_numbers(table, Path(snakemake.output.table), snakemake.params.recipe)
