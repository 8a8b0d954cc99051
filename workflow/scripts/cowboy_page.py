"""The Cowboy paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.reporting.page import paper_page, read_page_tables
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
page = snakemake.params.page
tables = read_page_tables(page["tables"], Path(snakemake.output[0]).parent)
headings = ["Does the discriminator's term help?", "Detection by the discriminator's score"]
texts = [Path(path).read_text().split("\n", 2)[2] for path in snakemake.input.further]
further = list(zip(headings, texts, strict=True))
with atomic(snakemake.output[0]) as temporary:
    text = paper_page("Cowboy, reproduced", page["notes"], tables, page["figures"], further)
    temporary.write_text(text)
