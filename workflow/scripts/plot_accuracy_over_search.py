"""Accuracy over the steps and over the restarts of the search."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.roc import accuracy_lines
from purification.reporting.sweeps import figure3_panels, read_long, write_panels
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
over_steps = read_long(snakemake.input[0], recipe["dataset"])
over_restarts = read_long(snakemake.input[1], recipe["dataset"])
numbers = {"steps": recipe["steps"], "restarts": recipe["restarts"]}
panels = figure3_panels(over_steps, over_restarts, **numbers)
write_panels(panels, Path(output.points))
accuracy_lines(panels, Path(output.png), Path(output.pdf))
