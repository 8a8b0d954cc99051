"""Accuracy over the epochs of end-to-end training."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.finetuning import finetuning_curves, finetuning_panels
from purification.reporting.sweeps import write_panels
from purification.runtime import log_to
from purification.storage import read_field

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output, lines = snakemake.output, snakemake.params.recipe["lines"]
counted = [line | {"images": len(read_field(line["curve"], "labels"))} for line in lines]
panels = finetuning_panels(counted, "attacked")
write_panels(panels, Path(output.points))
finetuning_curves(panels, Path(output.png), Path(output.pdf))
