"""Accuracy after cleaning over the GAN's training."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.roc import accuracy_lines
from purification.reporting.sweeps import write_panels
from purification.reporting.training_steps import cleaning_panels
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = snakemake.output
panels = [panel for path in snakemake.input for panel in cleaning_panels(Path(path))]
write_panels(panels, Path(output.points))
accuracy_lines(panels, Path(output.png), Path(output.pdf))
