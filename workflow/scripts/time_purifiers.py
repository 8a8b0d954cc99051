"""How long purifiers take for 1,000 images, in turns and alone on the machine."""

from purification.evaluation.run_time import run_time_rows
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
measured = {
    "dataset": recipe["dataset"],
    "seed": recipe["seed"],
    "repeats": recipe["settings"]["repeats"],
    "reference": recipe["defense"],
    "jobs": snakemake.params.jobs["jobs"],
}
rows = run_time_rows(measured, snakemake.input.dataset, device)
write_rows(snakemake.output[0], rows, snakemake.params.recipe)
