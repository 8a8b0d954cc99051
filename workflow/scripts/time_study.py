"""Accuracy over the noise that a diffusion purifier adds, on validation images."""

from pathlib import Path

import pandas as pd

from purification.evaluation.protocol_points import TIME_COLUMNS, time_rows
from purification.experiments import paper_name
from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.modern import time_page
from purification.runtime import start
from purification.text_tables import write_page

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, table = snakemake.params.recipe, Path(snakemake.output.table)
rows = time_rows(recipe["rows"])
write_numbers(pd.DataFrame(rows, columns=list(TIME_COLUMNS)), table)
write_page(snakemake.output.markdown, time_page(rows, paper_name), recipe, table)
