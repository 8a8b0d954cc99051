"""Mean scores of real and of attacked images over the GAN's training."""

from pathlib import Path

import pandas as pd

from purification.reporting.training_steps import mean_score_curves, read_mean_scores
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
output = snakemake.output
rows = pd.concat([read_mean_scores(Path(path)) for path in snakemake.input])
with atomic(output.points) as temporary:
    rows.to_csv(temporary, index=False, float_format="%.6g")
mean_score_curves(rows, Path(output.png), Path(output.pdf))
