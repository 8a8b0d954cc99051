"""A VAE and the classifier behind it, trained together on attacked training images."""

import sys

import torch

from purification.datasets import classes_of
from purification.evaluation.copies import read_copies
from purification.models.checkpoints import classifier_of, load_network, network_of, save_network
from purification.networks import take
from purification.provenance import name_of, start_job
from purification.randomness import derive_seed, isolated_rng
from purification.runtime import start
from purification.storage import read_image_set, read_split
from purification.text_tables import write_rows
from purification.training.defense_vae import train_end_to_end

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
params, given, output = snakemake.params, snakemake.input, snakemake.output
recipe, pair = params.recipe, {output.vae: params.vae, output.classifier: params.classifier}
if take(pair | {output.history: recipe}, snakemake.config):
    sys.exit()
clean, labels = map(torch.from_numpy, read_split(given.dataset, "train"))
shape, classes = tuple(clean.shape[1:]), classes_of(recipe["dataset"]["settings"])
copies = read_copies(recipe["vae"]["copies"], given)
copies += [clean] if recipe["vae"]["settings"]["clean_pairs"] else []
if recipe["from_scratch"]:
    with isolated_rng(derive_seed(recipe["seed"], name_of(output.vae), "weights")):
        vae = network_of(recipe["vae"], shape)
        classifier = classifier_of(recipe["classifier"], shape, classes)
else:
    vae = load_network(given.vae, "DefenseVAE")
    classifier = load_network(given.classifier, "Classifier")
curve = read_image_set(given.curve)
test = read_split(given.dataset, "test", first=len(curve.images))
evaluated = {
    "attacked": (torch.from_numpy(curve.images), torch.from_numpy(curve.labels)),
    "clean": tuple(map(torch.from_numpy, test)),
}
history = train_end_to_end(
    vae,
    classifier,
    copies,
    clean,
    labels,
    **recipe["settings"],
    evaluated=evaluated,
    precision=recipe["classifier"]["settings"].get("precision", "float32"),
    seed=derive_seed(recipe["seed"], name_of(output.vae), "training"),
    device=device,
    name=f"{output.vae} and {output.classifier}",
)
save_network(output.vae, vae, params.vae, shape)
save_network(output.classifier, classifier, params.classifier, shape, classes=str(classes))
write_rows(output.history, history, recipe)
