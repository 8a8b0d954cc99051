"""Cleaning and scores with a GAN at each snapshot of its training."""

from pathlib import Path

import pandas as pd

from purification.evaluation.training_course import training_course
from purification.provenance import start_job
from purification.reporting.csv_files import write_formatted
from purification.reporting.training_steps import ACCURACY_COLUMNS, SCORE_COLUMNS
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
batch_size = snakemake.config["batch_size"]["purification"]
recipe, output = snakemake.params.recipe, snakemake.output
cleaning, scores = training_course(recipe, snakemake.input, batch_size, device)
write_formatted(pd.DataFrame(scores, columns=SCORE_COLUMNS), Path(output.scores), None, recipe)
cleaned = pd.DataFrame(cleaning, columns=ACCURACY_COLUMNS)
write_formatted(cleaned, Path(output.cleaning), None, recipe)
