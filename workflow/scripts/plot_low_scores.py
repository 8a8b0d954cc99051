"""The validation images to which the discriminator gives the lowest and the highest scores."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.cowboy import score_extremes
from purification.reporting.figures import labelled_images
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
rows = score_extremes(recipe["scores"], recipe["datasets"], recipe["images"])
labelled_images(rows, Path(output.png), Path(output.pdf))
