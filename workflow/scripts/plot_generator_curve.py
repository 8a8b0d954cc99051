"""The losses of a generator's training."""

import io
from pathlib import Path

import pandas as pd

from purification.provenance import start_job
from purification.reporting.figures import TRAINING_PANELS, loss_curve
from purification.runtime import log_to
from purification.text_tables import read_text_table

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe = snakemake.params.recipe
title = f"{recipe['name']} on {recipe['dataset']['name']}, seed {recipe['seed']}"
history = pd.read_csv(io.StringIO(read_text_table(snakemake.input.history)))
panels = TRAINING_PANELS[recipe["kind"]]
loss_curve(history, Path(snakemake.output[0]), title, x="iteration", panels=panels)
