"""Accuracy over the cost of a purification."""

from pathlib import Path

import pandas as pd

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.leaderboard import rows_and_times
from purification.reporting.modern import COST_COLUMNS, accuracy_over_costs, cost_points
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
rows, times = rows_and_times(recipe["rows"], snakemake.threads)
points = pd.DataFrame(cost_points(rows, times), columns=list(COST_COLUMNS))
write_numbers(points, Path(output.points))
accuracy_over_costs(points, Path(output.png), Path(output.pdf))
