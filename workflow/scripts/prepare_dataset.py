"""Images and labels of a data set, split, in one HDF5 file."""

from purification.datasets import check_labels, classes_of, load
from purification.runtime import start
from purification.storage import write_dataset

start(snakemake.log[0], snakemake.threads)
recipe = snakemake.params.recipe
settings = recipe["settings"]
splits = load(
    settings["source"],
    data_root=snakemake.config["data_root"],
    validation=settings["validation"],
    test=settings["test"],
    train=settings.get("train"),
    files=settings.get("files"),
)
check_labels(splits, classes_of(settings))
write_dataset(snakemake.output[0], splits, recipe)
