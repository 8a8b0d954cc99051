"""Each defence against the best of its attackers, image by image."""

from pathlib import Path

import pandas as pd

from purification.evaluation.worst_case import WORST_CASE_COLUMNS, worst_case_rows
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.worst_case import worst_case_page
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, table = snakemake.params.recipe, Path(snakemake.output.table)
rows = worst_case_rows(recipe["cells"], snakemake.threads, recipe.get("radii", ()))
write_numbers(pd.DataFrame(rows, columns=list(WORST_CASE_COLUMNS)), table)
write_page(snakemake.output.markdown, worst_case_page(rows), recipe, table)
