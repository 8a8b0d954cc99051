"""The same few images, reconstructed in each setting."""

from pathlib import Path

from purification.evaluation.reconstructions import reconstruction_blocks, side_by_side, stacked
from purification.reporting.reconstructions import reconstruction_grid
from purification.runtime import log_to

log_to(snakemake.log[0])
recipe, output = snakemake.params.recipe, snakemake.output
shown = [reconstruction_blocks(blocks, recipe["images"]) for blocks in recipe["blocks"]]
blocks = side_by_side(stacked(shown), recipe.get("parts", 1))
reconstruction_grid(blocks, Path(output.png), Path(output.pdf))
