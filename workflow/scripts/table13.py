"""Defense-GAN's Table 13: seconds of a search, wide, long with all that is known, and readable."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.papers import paper_values
from purification.reporting.timing import long_timings, timing_markdown, wide_timings
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
printed = paper_values("defense_gan", "Table 13", Path(snakemake.input.paper).parent)
long = long_timings(map(Path, snakemake.input.timings), printed)
write_numbers(long, Path(snakemake.output.long), snakemake.params.recipe)
title, notes = "Defense-GAN, Table 13", snakemake.params.recipe["notes"]
text, wide = timing_markdown(long, title=title, notes=notes), Path(snakemake.output.wide)
write_numbers(wide_timings(long), wide)
write_page(snakemake.output.markdown, text, snakemake.params.recipe, wide)
