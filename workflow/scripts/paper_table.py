"""A table of a paper: wide as in the paper, long with all that is known, and readable."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.papers import TITLES, paper_values
from purification.reporting.tables import long_table, markdown_table, wide_table, write_csv
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
paper, printed = Path(snakemake.input.paper), snakemake.params.printed
searches = snakemake.params.recipe.get("cells")
values = paper_values(paper.stem, printed, paper.parent)
long = long_table(map(Path, snakemake.input.measurements), values, searches)
swept = searches is not None
wide = wide_table(long, swept=swept)
write_csv(long, Path(snakemake.output.long), snakemake.params.recipe)
title, notes = f"{TITLES[paper.stem]}, {printed}", snakemake.params.recipe["notes"]
text = markdown_table(long, wide, title=title, notes=notes, swept=swept)
wide_path = Path(snakemake.output.wide)
write_csv(wide, wide_path)
write_page(snakemake.output.markdown, text, snakemake.params.recipe, wide_path)
