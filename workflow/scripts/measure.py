"""Accuracies of one row of a table."""

import csv

from purification.evaluation.measure import columns_of, measure
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
rows = measure(snakemake.params.recipe["cells"], snakemake.threads)
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
