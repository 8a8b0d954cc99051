"""All results that lie there, on one page."""

from pathlib import Path

from purification.experiments import paper_name
from purification.provenance import start_job
from purification.reporting.results_page import run_page
from purification.runtime import log_to
from purification.text_tables import write_page

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, source = snakemake.params.recipe, Path(snakemake.scriptdir)
text = run_page(recipe, snakemake.config["results"], paper_name, source)
write_page(snakemake.output[0], text, recipe)
