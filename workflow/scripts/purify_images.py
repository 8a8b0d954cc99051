"""Images of a clean split or of a black-box set, purified."""

from purification.evaluation.adversarial import purify_set
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import write_image_set

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.purified
batch_size = snakemake.config["batch_size"]["purification"]
purified = purify_set(recipe, snakemake.input, batch_size, device)
write_image_set(path, purified, recipe, recipe["seed"])
