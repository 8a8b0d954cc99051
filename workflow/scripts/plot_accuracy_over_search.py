"""Accuracy over the steps and over the restarts of the search."""

from pathlib import Path

from purification.reporting.roc import accuracy_lines
from purification.reporting.sweeps import figure3_panels, read_long, write_panels
from purification.runtime import log_to

log_to(snakemake.log[0])
recipe, output = snakemake.params.recipe, snakemake.output
long = read_long(map(Path, snakemake.input), recipe["dataset"])
panels = figure3_panels(long, steps=recipe["steps"], restarts=recipe["restarts"])
write_panels(panels, Path(output.points))
accuracy_lines(panels, Path(output.png), Path(output.pdf))
