"""The inference rule on all sets of images, as a table and readable."""

from pathlib import Path

from purification.reporting.csv_files import write_numbers
from purification.reporting.inference_rule import rule_markdown, rule_table
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
table = rule_table(map(Path, snakemake.input))
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(rule_markdown(table, title="AE-GAN+rs, the inference rule"))
write_numbers(table, Path(snakemake.output.table))
