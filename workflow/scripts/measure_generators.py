"""Quality of a run's generators."""

import csv

from purification.evaluation.quality_rows import QUALITY_COLUMNS, quality_rows
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads)
rows = quality_rows(snakemake.params.recipe, snakemake.input, device)
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, QUALITY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
