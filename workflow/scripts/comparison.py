"""The papers' numbers beside ours: every cell, and how many agree."""

from pathlib import Path

from purification.provenance import expect
from purification.reporting.comparison import cell_table, comparison_page, read_compared_tables
from purification.reporting.tables import write_csv
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
expect(snakemake.params.recipe.sources)
tables = read_compared_tables(snakemake.params.recipe["tables"])
write_csv(cell_table(tables), Path(snakemake.output.cells))
write_page(snakemake.output.markdown, comparison_page(tables), snakemake.params.recipe)
