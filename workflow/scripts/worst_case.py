"""Each defence against the best of its attackers, image by image."""

from pathlib import Path

import pandas as pd

from purification.evaluation.worst_case import WORST_CASE_COLUMNS, worst_case_rows
from purification.reporting.csv_files import write_numbers
from purification.reporting.worst_case import worst_case_page
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
rows = worst_case_rows(snakemake.params.recipe, snakemake.threads)
with atomic(snakemake.output.markdown) as temporary:
    temporary.write_text(worst_case_page(rows))
write_numbers(pd.DataFrame(rows, columns=list(WORST_CASE_COLUMNS)), Path(snakemake.output.table))
