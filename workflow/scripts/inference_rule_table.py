"""The inference rule on all sets of images, as a table and readable."""

from pathlib import Path

from purification.provenance import expect
from purification.reporting.csv_files import write_numbers
from purification.reporting.inference_rule import rule_markdown, rule_table
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
expect(snakemake.params.recipe.sources)
table = rule_table(map(Path, snakemake.input))
write_page(
    snakemake.output.markdown,
    rule_markdown(table, title="AE-GAN+rs, the inference rule"),
    snakemake.params.recipe,
)
write_numbers(table, Path(snakemake.output.table))
