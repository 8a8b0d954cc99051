"""A table of Defense-GAN: wide as in the paper, long with all that is known, and readable."""

from pathlib import Path

from purification.reporting.papers import paper_values
from purification.reporting.tables import long_table, markdown_table, wide_table, write_csv
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
papers = Path(snakemake.input.paper).parent
printed = snakemake.params.recipe["name"].replace("table", "Table ")
long = long_table(
    map(Path, snakemake.input.measurements), paper_values("defense_gan", printed, papers)
)
wide = wide_table(long)
write_csv(long, Path(snakemake.output.long))
title, notes = f"Defense-GAN, {printed}", snakemake.params.notes
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(markdown_table(long, wide, title=title, notes=notes))
write_csv(wide, Path(snakemake.output.wide))
