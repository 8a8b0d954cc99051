"""What is left of each defence under attack, beside what its paper claims."""

from pathlib import Path

import pandas as pd

from purification.evaluation.leaderboard import TIME_COLUMNS
from purification.experiments import PAPERS, paper_name
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.leaderboard import (
    COLUMNS,
    called,
    leaderboard_html,
    leaderboard_page,
    leaderboard_tables,
)
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, table = snakemake.params.recipe, Path(snakemake.output.table)
papers = Path(snakemake.input.papers[0]).parent
rows, times = leaderboard_tables(recipe["rows"], PAPERS, papers, snakemake.threads)
write_numbers(pd.DataFrame(rows, columns=list(COLUMNS)), table)
write_numbers(pd.DataFrame(times, columns=list(TIME_COLUMNS)), Path(snakemake.output.times))
shown = called(rows, paper_name)
write_page(snakemake.output.page, leaderboard_html(shown, times), recipe, table)
# A page with times is another one in each run.
page = leaderboard_page(shown, times if snakemake.wildcards.board == "modern" else None, table.stem)
write_page(snakemake.output.markdown, page, recipe, table)
