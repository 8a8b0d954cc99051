"""Run times of Defense-VAE and Defense-GAN, wide, long with all that is known, and readable."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.papers import paper_values
from purification.reporting.run_time import long_run_times, run_time_markdown, wide_run_times
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
printed = paper_values("defense_vae", "Table 4", Path(snakemake.input.paper).parent)
long = long_run_times(map(Path, snakemake.input.timings), printed)
write_numbers(long, Path(snakemake.output.long), snakemake.params.recipe)
text, wide = run_time_markdown(long, title="Defense-VAE, Table 4"), Path(snakemake.output.wide)
write_numbers(wide_run_times(long), wide)
write_page(snakemake.output.markdown, text, snakemake.params.recipe, wide)
