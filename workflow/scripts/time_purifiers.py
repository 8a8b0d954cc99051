"""How long purifiers take for 1,000 images, in turns and alone on the machine."""

import csv

from purification.evaluation.timing import run_time_rows
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe = snakemake.params.recipe
measured = {
    "dataset": recipe["dataset"],
    "seed": recipe["seed"],
    "repeats": recipe["settings"]["repeats"],
    "reference": recipe["defense"],
    "jobs": snakemake.params.jobs,
}
rows = run_time_rows(measured, snakemake.input.dataset, device)
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
