"""What a GAN's discriminator says of clean and of attacked images."""

from pathlib import Path

import pandas as pd

from purification.evaluation.discriminator import SCORE_COLUMNS, discriminator_scores
from purification.provenance import start_job
from purification.reporting.csv_files import write_formatted
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
batch_size = snakemake.config["batch_size"]["purification"]
rows = discriminator_scores(snakemake.params.recipe, snakemake.input, batch_size, device)
table = pd.DataFrame(rows, columns=SCORE_COLUMNS)
write_formatted(table, Path(snakemake.output[0]), None, snakemake.params.recipe)
