"""How well the purifiers' scores detect each attack of a run."""

from purification.evaluation.detection_rows import columns_of, detection_rows
from purification.provenance import start_job
from purification.runtime import log_to
from purification.text_tables import write_rows

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
rows = detection_rows(recipe["jobs"], seed=recipe["seed"], repeats=recipe["repeats"])
write_rows(snakemake.output[0], rows, recipe, columns_of(rows))
