"""Images of a clean split or of a black-box set, purified."""

from purification.evaluation.adversarial import purify_set
from purification.provenance import start_job
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.purified
batch_size = snakemake.config["batch_size"]["purification"]
purify_set(recipe, snakemake.input, path, batch_size, device)
