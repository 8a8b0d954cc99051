"""The papers' numbers beside ours: every cell, and how many agree."""

from pathlib import Path

from purification.reporting.comparison import cell_table, comparison_page, read_compared_tables
from purification.reporting.tables import write_csv
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
tables = read_compared_tables(snakemake.params.comparison["tables"])
write_csv(cell_table(tables), Path(snakemake.output.cells))
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(comparison_page(tables))
