"""White-box accuracy over the steps of the search."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.long_tables import long_table
from purification.reporting.papers import paper_values
from purification.reporting.roc import accuracy_lines
from purification.reporting.sweeps import figure8_panels, write_panels
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
values = paper_values("defense_gan", "Figure 8", Path(snakemake.input.paper).parent)
long = long_table(map(Path, snakemake.input.measurements), values, recipe["cells"])
panels = figure8_panels(long, restarts=recipe["restarts"])
write_panels(panels, Path(output.points))
accuracy_lines(panels, Path(output.png), Path(output.pdf))
