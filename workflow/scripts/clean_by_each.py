"""The same attacked images, cleaned by each of several defences."""

from purification.evaluation.cleaned import clean_by_each
from purification.provenance import start_job
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
clean_by_each(snakemake.params.recipe, snakemake.input, snakemake.output[0], device)
