"""How long a defence's latent search takes, alone on the machine."""

import csv

from purification.evaluation.timing import timing_rows
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
rows = timing_rows(snakemake.params.recipe, snakemake.input, device)
with atomic(snakemake.output[0]) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
