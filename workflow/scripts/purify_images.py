"""Clean images of a split, purified."""

import torch

from purification.evaluation.adversarial import purified_set
from purification.purifiers.loading import load_purifier, purify_images
from purification.runtime import start
from purification.storage import read_split, write_image_set

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe = snakemake.params.recipe
images, labels = read_split(snakemake.input.dataset, recipe["split"], first=recipe["images"])
purifier = load_purifier(recipe["purifier"], snakemake.input)
batch_size = snakemake.config["batch_size"]["purification"]
purified = purify_images(purifier, torch.from_numpy(images), batch_size=batch_size, device=device)
write_image_set(snakemake.output.purified, purified_set(purified, labels), recipe, recipe["seed"])
