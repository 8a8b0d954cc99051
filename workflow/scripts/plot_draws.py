"""Accuracy over the draws of an attack's look."""

from pathlib import Path

import pandas as pd

from purification.evaluation.protocol_points import DRAW_COLUMNS, draw_points
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.modern import accuracy_over_draws
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
points = pd.DataFrame(draw_points(recipe["rows"]), columns=list(DRAW_COLUMNS))
write_numbers(points, Path(output.points))
accuracy_over_draws(points, Path(output.png), Path(output.pdf))
