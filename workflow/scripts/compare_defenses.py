"""Two defences on the same images: McNemar's test for each attack."""

from pathlib import Path

from purification.evaluation.mcnemar import comparison_rows
from purification.reporting.cowboy import write_comparison
from purification.runtime import log_to

log_to(snakemake.log[0])
rows = comparison_rows(snakemake.params.recipe)
write_comparison(rows, Path(snakemake.output.table), Path(snakemake.output.markdown))
