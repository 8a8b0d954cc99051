"""The same images clean, attacked and purified, with what the classifier takes them for."""

from pathlib import Path

from purification.evaluation.examples import example_rows
from purification.provenance import start_job
from purification.reporting.figures import purification_examples
from purification.runtime import start

start(snakemake.log[0], snakemake.threads)
start_job(snakemake.params.recipe, snakemake.config["results"])
rows = example_rows(snakemake.params.recipe["rows"], snakemake.params.recipe["columns"])
purification_examples(
    [(row.label, row.images) for row in rows],
    Path(snakemake.output[0]),
    predictions=[row.predictions for row in rows],
    truth=rows[0].truth,
    title=snakemake.params.recipe["title"],
)
