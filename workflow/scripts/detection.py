"""Detection by the purifiers' scores, all runs in one table."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.detection import detection_table, write_detection
from purification.reporting.papers import paper_values
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
papers = paper_values("defense_gan", "Figure 5", Path(snakemake.input.paper).parent)
table = detection_table(map(Path, snakemake.input.measurements), papers)
write_detection(table, Path(snakemake.output[0]), snakemake.params.recipe)
