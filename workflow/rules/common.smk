# What the rules of all stages share: the catalogue of artifacts, and how a rule looks its own up.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from purification.experiments import (
    Catalogue,
    ConfigError,
    examples,
    table4,
    table4_examples,
    table4_measurement,
    table4_notes,
)

SCHEMA = Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"

try:
    CATALOGUE = Catalogue(config, SCHEMA)
except ConfigError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    dataset=r"[^/]+",
    seed=r"\d+",
    training=r"[^/]+",
    owner=r"[^/]+",
    defense=r"[^/]+",
    classifier=r"[^/]+",
    attack=r"[^/]+",
    generator=r"[^/]+",
    split="train|validation|test",
    threat_model="white_box|white_box_bpda",


def artifact(kind, wildcards, **fixed):
    """The artifact that a rule's wildcards name; `kind` is a method of the catalogue."""
    names = {**dict(wildcards.items()), **fixed}
    if "seed" in names:
        names["seed"] = int(names["seed"])
    return getattr(CATALOGUE, kind)(**names)


def inputs(kind, **fixed):
    """An input function: the files that the artifact is made from, by name (use with `unpack`)."""
    return lambda wildcards: artifact(kind, wildcards, **fixed).inputs


def recipe(kind, **fixed):
    """A params function: everything that decides the artifact's content, upstream included."""
    return lambda wildcards: artifact(kind, wildcards, **fixed).recipe


def gpus():
    """GPUs that a GPU rule asks for: as the config says, or 1 where this machine has any."""
    if config["gpu"] != "auto":
        return config["gpu"]
    devices = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    return int(bool(devices))


def growing(amount):
    """A resource that grows by itself with each attempt, for jobs that died for want of it."""
    return lambda wildcards, attempt: amount * attempt


GPUS = gpus()
