"""What the inference rule searches, costs and saves, timed in turns and alone on the machine."""

import csv

from purification.evaluation.inference_rule import rule_rows
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe = snakemake.params.recipe
rows = rule_rows(recipe, device, recipe["batch"])
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
