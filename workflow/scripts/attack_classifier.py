"""Adversarial images against a bare classifier."""

from purification.evaluation.adversarial import attack_split, write_adversarial
from purification.models.checkpoints import load_network
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads)
recipe, path = snakemake.params.recipe, snakemake.output.adversarial
model = load_network(snakemake.input.classifier, "Classifier").to(device)
result, labels = attack_split(
    model, recipe, snakemake.input.dataset, path, snakemake.config["batch_size"]["attack"]
)
write_adversarial(path, result, labels, recipe)
