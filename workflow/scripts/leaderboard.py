"""What is left of each defence under a cascade of attacks."""

from pathlib import Path

import pandas as pd

from purification.evaluation.leaderboard import LEADERBOARD_COLUMNS, leaderboard_rows
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.leaderboard import leaderboard_page
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, table = snakemake.params.recipe, Path(snakemake.output.table)
rows = leaderboard_rows(recipe["rows"])
write_numbers(pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS)), table)
write_page(snakemake.output.markdown, leaderboard_page(rows), recipe, table)
