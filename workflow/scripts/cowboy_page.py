"""The Cowboy paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.reporting.page import further_section, paper_page, read_page_tables
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
page = snakemake.params.page
tables = read_page_tables(page["tables"], Path(snakemake.output[0]).parent)
further = list(map(further_section, map(Path, snakemake.input.further)))
with atomic(snakemake.output[0]) as temporary:
    text = paper_page("Cowboy, reproduced", page["notes"], tables, page["figures"], further)
    temporary.write_text(text)
