"""Distributions of the discriminator's scores, of clean images and under each attack."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.cowboy import test_and_real_scores
from purification.reporting.csv_files import write_numbers
from purification.reporting.violins import score_summary, score_violins
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = snakemake.output
scores = test_and_real_scores(map(Path, snakemake.input))
write_numbers(score_summary(scores), Path(output.points))
score_violins(scores, Path(output.png), Path(output.pdf))
