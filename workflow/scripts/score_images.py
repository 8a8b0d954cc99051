"""What a GAN's discriminator says of clean and of attacked images."""

import pandas as pd

from purification.evaluation.discriminator import SCORE_COLUMNS, discriminator_scores
from purification.runtime import start
from purification.storage import atomic

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
batch_size = snakemake.config["batch_size"]["purification"]
rows = discriminator_scores(snakemake.params.recipe, snakemake.input, batch_size, device)
with atomic(snakemake.output[0]) as temporary:
    pd.DataFrame(rows, columns=SCORE_COLUMNS).to_csv(temporary, index=False)
