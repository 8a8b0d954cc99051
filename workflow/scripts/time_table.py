"""A table of times: wide as in the paper, long with all that is known, and readable."""

from pathlib import Path

from purification.experiments import study_of
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.papers import values_of
from purification.reporting.run_time import long_run_times, run_time_markdown, wide_run_times
from purification.reporting.timing import long_timings, timing_markdown, wide_timings
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
study = study_of(snakemake.config, recipe["name"])
long_form, wide_form, markdown = {
    "search_times": (long_timings, wide_timings, timing_markdown),
    "run_times": (long_run_times, wide_run_times, run_time_markdown),
}[study.form]
printed = values_of(snakemake.input.paper, study.printed)
long = long_form(map(Path, snakemake.input.timings), printed)
write_numbers(long, Path(snakemake.output.long), recipe)
text, wide = markdown(long, title=study.title, notes=recipe["notes"]), Path(snakemake.output.wide)
write_numbers(wide_form(long), wide)
write_page(snakemake.output.markdown, text, recipe, wide)
