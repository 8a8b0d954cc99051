"""A figure of accuracies around the leaderboard of later purifiers."""

from pathlib import Path

from purification.experiments import paper_name
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.modern import DRAWN, figure_points
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
points = figure_points(recipe["name"], recipe["rows"], snakemake.threads)
write_numbers(points, Path(output.points))
DRAWN[recipe["name"]](points, paper_name, Path(output.png), Path(output.pdf))
