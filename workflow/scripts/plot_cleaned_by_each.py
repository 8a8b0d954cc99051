"""The same attacked images, cleaned by each defence."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.modern import cleaned_pictures
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
shown = cleaned_pictures(recipe["parts"], [Path(output.png), Path(output.pdf)])
write_numbers(shown, Path(output.points))
