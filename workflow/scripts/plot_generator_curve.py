"""The losses of a generator's training."""

from pathlib import Path

import pandas as pd

from purification.reporting.figures import TRAINING_PANELS, loss_curve
from purification.runtime import log_to

log_to(snakemake.log[0])
recipe = snakemake.params.recipe
title = f"{recipe['name']} on {recipe['dataset']['name']}, seed {recipe['seed']}"
history, panels = pd.read_csv(snakemake.input.history), TRAINING_PANELS[recipe["kind"]]
loss_curve(history, Path(snakemake.output[0]), title, x="iteration", panels=panels)
