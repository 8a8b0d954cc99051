"""Each defence against the best of its attackers, image by image."""

from pathlib import Path

import pandas as pd

from purification.evaluation.worst_case import WORST_CASE_COLUMNS, worst_case_rows
from purification.provenance import expect
from purification.reporting.csv_files import write_numbers
from purification.reporting.worst_case import worst_case_page
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
expect(snakemake.params.recipe.sources)
rows = worst_case_rows(snakemake.params.recipe["cells"], snakemake.threads)
write_page(snakemake.output.markdown, worst_case_page(rows), snakemake.params.recipe)
write_numbers(pd.DataFrame(rows, columns=list(WORST_CASE_COLUMNS)), Path(snakemake.output.table))
