"""Cowboy's toy of two Gaussians: what a classifier and what a discriminator say off the data."""

from pathlib import Path

import pandas as pd

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.toy import classifier_surface, discriminator_surface
from purification.runtime import log_to
from purification.training.toy import distance_rows, train_toy

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
output = {name: Path(path) for name, path in snakemake.output.items()}
recipe = snakemake.params.recipe
toy = train_toy(**{name: recipe[name] for name in ("seed", "gan_steps") if name in recipe})
write_numbers(pd.DataFrame(distance_rows(toy)), output["points"])
classifier_surface(
    *(toy.axis, toy.probability, toy.points, toy.labels),
    *(output["classifier_png"], output["classifier_pdf"]),
)
discriminator_surface(
    *(toy.axis, toy.score, toy.points, toy.samples),
    *(output["discriminator_png"], output["discriminator_pdf"]),
)
