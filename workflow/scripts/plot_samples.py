"""Samples of trained generators, a panel each."""

from pathlib import Path

from purification.evaluation.samples import sample_blocks
from purification.provenance import start_job
from purification.reporting.reconstructions import reconstruction_grid
from purification.runtime import start

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
blocks = sample_blocks(recipe["panels"], recipe["rows"], recipe["columns"])
reconstruction_grid(blocks, Path(output.png), Path(output.pdf))
