"""Mean scores of real and of attacked images over the GAN's training."""

from pathlib import Path

import pandas as pd

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.training_steps import mean_score_curves, read_mean_scores
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = snakemake.output
rows = pd.concat([read_mean_scores(Path(path)) for path in snakemake.input])
write_numbers(rows, Path(output.points))
mean_score_curves(rows, Path(output.png), Path(output.pdf))
