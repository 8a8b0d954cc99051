"""A paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.experiments import PAPERS
from purification.provenance import name_of, start_job
from purification.reporting.page import further_sections, paper_page, read_page_tables
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
page, path = snakemake.params.recipe, Path(snakemake.output[0])
paper = PAPERS[path.stem]
tables = read_page_tables(page["tables"], Path(name_of(path)).parent)
further = further_sections(paper.studies, dict(snakemake.input.items()))
title = f"{paper.title}, reproduced"
text = paper_page(title, page["notes"], tables, page["figures"], further)
write_page(path, text, snakemake.params.recipe)
