"""Accuracy behind defences over the quality of their generators."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.generator_quality import (
    accuracy_over_quality,
    drawn_points,
    read_quality_table,
)
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = snakemake.output
table = read_quality_table(Path(snakemake.input[0]))
write_numbers(drawn_points(table), Path(output.points))
accuracy_over_quality(table, Path(output.png), Path(output.pdf))
