"""The Defense-VAE paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.provenance import name_of, start_job
from purification.reporting.page import paper_page, read_page_tables
from purification.reporting.papers import paper_values
from purification.reporting.run_time import long_run_times, run_time_grids
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
page = snakemake.params.recipe
tables = read_page_tables(page["tables"], Path(name_of(snakemake.output[0])).parent)
printed = paper_values("defense_vae", "Table 4", Path(snakemake.input.paper).parent)
times = long_run_times(map(Path, snakemake.input.timings), printed)
further = [("Table 4: seconds for 1,000 images", run_time_grids(times))]
text = paper_page("Defense-VAE, reproduced", page["notes"], tables, page["figures"], further)
write_page(snakemake.output[0], text, snakemake.params.recipe)
