"""How well the purifiers' scores detect each attack of a run."""

import csv

from purification.evaluation.detection_rows import columns_of, detection_rows
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
recipe = snakemake.params.recipe
rows = detection_rows(recipe["jobs"], seed=recipe["seed"], repeats=recipe["repeats"])
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
