"""The papers' numbers beside ours: every cell, and how many agree."""

from pathlib import Path

from purification.experiments import PAPERS
from purification.provenance import start_job
from purification.reporting.comparison import cell_table, comparison_page, read_compared_tables
from purification.reporting.long_tables import write_csv
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, cells = snakemake.params.recipe, Path(snakemake.output.cells)
tables = read_compared_tables(recipe["tables"], PAPERS)
write_csv(cell_table(tables), cells)
write_page(snakemake.output.markdown, comparison_page(tables), recipe, cells)
