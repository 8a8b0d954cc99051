"""A gray-box adversarial set, purified."""

import torch

from purification.evaluation.adversarial import write_purified
from purification.purifiers.loading import load_purifier, purify_images
from purification.runtime import start
from purification.storage import read_image_set

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe = snakemake.params.recipe
adversarial = read_image_set(snakemake.input.adversarial)
purifier = load_purifier(recipe["purifier"], snakemake.input)
batch_size = snakemake.config["batch_size"]["purification"]
purified = purify_images(
    purifier, torch.from_numpy(adversarial.images), batch_size=batch_size, device=device
)
write_purified(snakemake.output.purified, purified, adversarial.labels, recipe)
