"""Cleaning and scores with a GAN at each snapshot of its training."""

import pandas as pd

from purification.evaluation.training_course import training_course
from purification.reporting.training_steps import ACCURACY_COLUMNS, SCORE_COLUMNS
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
batch_size = snakemake.config["batch_size"]["purification"]
recipe, output = snakemake.params.recipe, snakemake.output
cleaning, scores = training_course(recipe, snakemake.input, batch_size, device)
with atomic(output.scores) as temporary:
    pd.DataFrame(scores, columns=SCORE_COLUMNS).to_csv(temporary, index=False)
with atomic(output.cleaning) as temporary:
    pd.DataFrame(cleaning, columns=ACCURACY_COLUMNS).to_csv(temporary, index=False)
