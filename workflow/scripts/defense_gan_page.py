"""The Defense-GAN paper on one page: its tables and figures, our numbers beside the printed."""

from pathlib import Path

from purification.provenance import name_of, start_job
from purification.reporting.detection import read_detection
from purification.reporting.page import detection_summary, paper_page, read_page_tables
from purification.reporting.timing import read_timings, timing_grids
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
page = snakemake.params.recipe
tables = read_page_tables(page["tables"], Path(name_of(snakemake.output[0])).parent)
further = [
    ("Table 13: time of a reconstruction", timing_grids(read_timings(snakemake.input.timing))),
    ("Detection", detection_summary(read_detection(snakemake.input.detection))),
]
text = paper_page("Defense-GAN, reproduced", page["notes"], tables, page["figures"], further)
write_page(snakemake.output[0], text, snakemake.params.recipe)
