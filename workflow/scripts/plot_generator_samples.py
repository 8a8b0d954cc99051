"""A grid of a generator's samples."""

from pathlib import Path

from purification.evaluation.samples import first_samples
from purification.provenance import start_job
from purification.reporting.figures import sample_grid
from purification.runtime import start

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
samples = first_samples(snakemake.input.network, recipe["kind"], 64, recipe["seed"])
sample_grid(samples, Path(snakemake.output[0]), columns=8)
