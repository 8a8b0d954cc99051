"""One latent search of a set of images, for several L and R at once."""

from purification.evaluation.sweeps import sweep_images
from purification.provenance import start_job
from purification.runtime import start
from purification.storage import write_image_sets

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, path = snakemake.params.recipe, snakemake.output.searched
batch_size = snakemake.config["batch_size"]["purification"]
sets = sweep_images(recipe, snakemake.input, batch_size, device)
write_image_sets(path, sets, recipe, recipe["seed"])
