"""Adversarial images against a classifier behind a purifier, and the purifier's output on them."""

from purification.evaluation.adversarial import attack_split, write_adversarial, write_purified
from purification.evaluation.threat_models import attacked_model
from purification.models.checkpoints import load_network
from purification.purifiers.loading import load_purifier, purify_images
from purification.runtime import start

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
recipe, path = snakemake.params.recipe, snakemake.output.adversarial
batch_size = snakemake.config["batch_size"]
classifier = load_network(snakemake.input.classifier, "Classifier")
purifier = load_purifier(recipe["purifier"], snakemake.input)
model = attacked_model(recipe["threat_model"], purifier, classifier).to(device)
result, labels = attack_split(model, recipe, snakemake.input.dataset, path, batch_size["attack"])
purified = purify_images(
    purifier, result.images, batch_size=batch_size["purification"], device=device
)
write_purified(snakemake.output.purified, purified, labels, recipe)
write_adversarial(path, result, labels, recipe)
