"""A table of accuracies: wide as in the paper, long with all that is known, and readable."""

from pathlib import Path

from purification.evaluation.paired import cells_of, paired_rows
from purification.experiments import paper_name, study_of
from purification.provenance import start_job
from purification.reporting.long_tables import long_table, write_csv
from purification.reporting.markdown_tables import markdown_table
from purification.reporting.paired import has_randomised, paired_section
from purification.reporting.papers import values_of
from purification.reporting.wide_tables import wide_table
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
study, searches = study_of(snakemake.config, recipe["name"]), recipe.get("cells")
values = values_of(snakemake.input.paper, study.printed)
long = long_table(map(Path, snakemake.input.measurements), values, searches)
swept = searches is not None
wide = wide_table(long, swept=swept)
write_csv(long, Path(snakemake.output.long), recipe)
compared, gone = ([], 0) if swept else cells_of(recipe.sources)
pairs = paired_rows(compared, snakemake.threads)
text = markdown_table(
    long,
    wide,
    title=study.title,
    notes=recipe["notes"],
    swept=swept,
    paired=paired_section(pairs, paper_name, has_randomised(long), gone),
)
wide_path = Path(snakemake.output.wide)
write_csv(wide, wide_path)
write_page(snakemake.output.markdown, text, recipe, wide_path)
