"""Defense-GAN's Table 4: wide as in the paper, long with all that is known, and readable."""

from pathlib import Path

from purification.reporting.papers import paper_values
from purification.reporting.tables import long_table, table4_markdown, table4_wide, write_csv
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
papers = Path(snakemake.input.paper).parent
values = paper_values("defense_gan", "Table 4", papers)
long = long_table(map(Path, snakemake.input.measurements), values)
wide = table4_wide(long)
write_csv(long, Path(snakemake.output.long))
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(
        table4_markdown(long, wide, title="Defense-GAN, Table 4", notes=snakemake.params.notes)
    )
write_csv(wide, Path(snakemake.output.wide))
