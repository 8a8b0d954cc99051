"""The inference rule on all sets of images, as a table and readable."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.inference_rule import rule_markdown, rule_table
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
table, path = rule_table(map(Path, snakemake.input)), Path(snakemake.output.table)
text = rule_markdown(table, title="AE-GAN+rs, the inference rule")
write_numbers(table, path)
write_page(snakemake.output.markdown, text, snakemake.params.recipe, path)
