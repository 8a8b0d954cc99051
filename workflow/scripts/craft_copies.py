"""The training images attacked through a classifier, once for each strength of an attack."""

from purification.evaluation.copies import craft_copies
from purification.provenance import expect
from purification.runtime import start
from purification.storage import write_image_sets

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
expect(snakemake.params.recipe.sources)
recipe, path = snakemake.params.recipe, snakemake.output.copies
batch_size = snakemake.config["batch_size"]["attack"]
copies = craft_copies(recipe, snakemake.input, path, batch_size, device)
write_image_sets(path, copies, recipe, recipe["seed"])
