"""How well the discriminator's score detects each attack."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.cowboy import detection_of, write_discriminator_detection
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
table = detection_of(recipe["runs"], recipe["settings"])
write_discriminator_detection(table, Path(output.table), Path(output.markdown), recipe)
