"""Adversarial images against a bare classifier."""

from purification.evaluation.adversarial import adversarial_set, attack_split
from purification.models.checkpoints import load_network
from purification.runtime import start
from purification.storage import write_image_set

device = start(snakemake.log[0], snakemake.threads)
recipe, path = snakemake.params.recipe, snakemake.output.adversarial
model = load_network(snakemake.input.classifier, "Classifier").to(device)
batch_size = snakemake.config["batch_size"]["attack"]
result, labels = attack_split(
    model,
    recipe["attack"],
    snakemake.input.dataset,
    recipe["images"],
    recipe["seed"],
    path,
    batch_size,
)
write_image_set(path, adversarial_set(result, labels), recipe, recipe["seed"])
