"""The same few images, reconstructed in each setting."""

from pathlib import Path

from purification.evaluation.reconstructions import picture_blocks
from purification.provenance import start_job
from purification.reporting.reconstructions import reconstruction_grid
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
blocks = picture_blocks(snakemake.params.recipe)
title = snakemake.params.recipe["title"]
reconstruction_grid(blocks, Path(snakemake.output.png), Path(snakemake.output.pdf), title)
