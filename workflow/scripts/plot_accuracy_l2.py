"""Accuracy over the l2 norm of attacks that nothing bounds."""

from pathlib import Path

import pandas as pd

from purification.evaluation.accuracy_l2 import ACCURACY_L2_COLUMNS, accuracy_l2_rows
from purification.provenance import start_job
from purification.reporting.accuracy_l2 import accuracy_l2
from purification.reporting.csv_files import write_numbers
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
rows = accuracy_l2_rows(recipe["cells"], recipe["largest_radius"], snakemake.threads)
points = pd.DataFrame(rows, columns=list(ACCURACY_L2_COLUMNS))
write_numbers(points, Path(output.points))
accuracy_l2(points, Path(output.png), Path(output.pdf))
