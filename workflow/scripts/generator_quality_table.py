"""Quality of generators and the accuracies behind their defences, as a table and readable."""

from pathlib import Path

from purification.reporting.csv_files import write_numbers
from purification.reporting.generator_quality import quality_markdown, quality_table
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
table = quality_table(snakemake.params.recipe)
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(quality_markdown(table))
write_numbers(table, Path(snakemake.output.table))
