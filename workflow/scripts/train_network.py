"""A generative model, or what a defence learns, trained as its recipe says."""

import sys

import torch

from purification.evaluation.copies import read_lessons
from purification.models.checkpoints import save_network, save_snapshots
from purification.networks import take
from purification.provenance import place_of, start_job
from purification.purifiers.fitting import fit_network
from purification.runtime import start
from purification.storage import read_split
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, given, output = snakemake.params.recipe, snakemake.input, snakemake.output
if take(dict.fromkeys(output, recipe), snakemake.config):
    sys.exit()
images, labels = map(torch.from_numpy, read_split(given.dataset, "train"))
shape = tuple(images.shape[1:])
resume = {
    "state_path": place_of(snakemake.params.get("state", "")),
    "state_every": snakemake.config["checkpoint_every"],
    "recipe_digest": snakemake.params.get("resume_digest", ""),
}
further = {**read_lessons(recipe, given), "resume": resume}
made, history = fit_network(recipe, images, labels, path=output.network, device=device, **further)
save_network(output.network, made.trained, recipe, shape)
if made.snapshots:
    save_snapshots(output.snapshots, made.snapshots, recipe, shape)
write_rows(output.history, history, recipe)
