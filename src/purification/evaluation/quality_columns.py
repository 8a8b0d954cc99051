"""What the rows of `quality_rows` hold, for those who read them without torch."""

REAL = "real"
"""Kind of the row of validation images; its generator is none, an empty cell."""
MEASURES = ("frechet_distance", "precision", "recall")
QUALITY_COLUMNS = (
    *("dataset", "seed", "features", "generator", "kind", "width", "latent"),
    *("iterations", "epochs", "snapshot", "n"),
    *(f"{name}{end}" for name in MEASURES for end in ("", "_sd")),
)
"""`features`: the classifier; `snapshot`: whether the network is one from within the training,
whose length `iterations` then is; `n`: images of each of the two sets; of each measure the mean
over draws of codes and their standard deviation, which says nothing of other real images or
trainings."""
