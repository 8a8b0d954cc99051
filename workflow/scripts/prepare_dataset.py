"""Images and labels of a data set, split, in one HDF5 file."""

from purification.datasets import load
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
)
write_dataset(snakemake.output[0], splits, recipe)
