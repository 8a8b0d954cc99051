"""A paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.provenance import name_of, start_job
from purification.reporting.page import further_section, paper_page, read_page_tables
from purification.reporting.papers import TITLES
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
page, path = snakemake.params.recipe, Path(snakemake.output[0])
tables = read_page_tables(page["tables"], Path(name_of(path)).parent)
further = list(map(further_section, map(Path, snakemake.input.further)))
title = f"{TITLES[path.stem]}, reproduced"
text = paper_page(title, page["notes"], tables, page["figures"], further)
write_page(path, text, snakemake.params.recipe)
