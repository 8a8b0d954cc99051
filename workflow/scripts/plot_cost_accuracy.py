"""Robust accuracy over generator evaluations per image, and the paper's claim of their ratio."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.cost_accuracy import (
    cost_accuracy,
    cost_points,
    read_measurements,
)
from purification.reporting.csv_files import write_numbers
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
content, output = snakemake.params.recipe, snakemake.output
long = read_measurements(map(Path, snakemake.input), content["dataset"])
points = cost_points(long, content)
write_numbers(points, Path(output.points))
cost_accuracy(points, content, Path(output.png), Path(output.pdf))
