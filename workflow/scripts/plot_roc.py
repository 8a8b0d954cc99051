"""ROC curves of detection by reconstruction error."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.detection import roc_figure
from purification.reporting.papers import paper_values
from purification.reporting.roc import roc_panels
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = snakemake.output
papers = paper_values("defense_gan", "Figure 5", Path(snakemake.input.paper).parent)
panels, points = roc_figure(snakemake.params.recipe["panels"], papers)
write_numbers(points, Path(output.points))
roc_panels(panels, Path(output.png), Path(output.pdf))
