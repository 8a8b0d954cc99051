"""Two defences on the same images: McNemar's test for each attack."""

from pathlib import Path

from purification.evaluation.mcnemar import comparison_rows
from purification.provenance import start_job
from purification.reporting.cowboy import write_comparison
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
rows = comparison_rows(recipe["rows"])
write_comparison(rows, Path(output.table), Path(output.markdown), recipe)
