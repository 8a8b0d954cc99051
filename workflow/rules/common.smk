# What the rules of all stages share: the catalogue of artifacts, and how a rule looks its own up.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.path_modifier import PathModifier
from snakemake.utils import update_config

from purification.config_files import typed_values
from purification.experiments import (
    AE_GAN_TABLE_CAPTIONS,
    COWBOY_TABLE_CAPTIONS,
    Catalogue,
    Made,
    all_made,
    ConfigError,
    FIGURES,
    File,
    PAPER_TABLES,
    PICTURED,
    TABLE_CAPTIONS,
    VAE_TABLE_CAPTIONS,
    ae_gan_figure,
    ae_gan_page,
    comparisons,
    cost_figure,
    cowboy_figure,
    cowboy_page,
    defense_gan_page,
    defense_vae_page,
    detection,
    detection_runs,
    detection_table,
    detections,
    discriminator_scores,
    examples,
    generator_quality,
    inference_rule,
    inference_rules,
    measurement,
    paper_comparison,
    worst_case,
    paper_figure,
    paper_table,
    quality_figure,
    quality_file,
    rule_table,
    run_time_table,
    run_times,
    table4_examples,
    table_place,
    timing_table,
    told,
    training_course,
    vae_figure,
)
from purification.freshness import Freshness
from purification.plugins import provide_code, provide_files
from purification.runtime import has_gpu

SCHEMA = Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"

# What --config gave in lists and mappings, which Snakemake leaves as text.
update_config(config, typed_values(workflow.config_settings.config))
try:
    CATALOGUE = Catalogue(config, SCHEMA)
except ConfigError as error:
    raise WorkflowError(str(error))
# Scripts read the config as it was checked.
config.clear()
config.update(CATALOGUE.config)

# The rules say `results/...` and `logs/...`, as recipes do. Where the config names another folder, Snakemake puts that
# in their place, as for a module with `replace_prefix`: in inputs that functions return as well.
RESULTS = config["results"] = os.path.normpath(config.get("results", "results"))
if RESULTS != "results":
    workflow.modifier.path_modifier = PathModifier(
        {"results/": f"{RESULTS}/", "logs/": f"{RESULTS}/logs/"}, None, workflow
    )


def place(path):
    """Where a result of that path lies."""
    return str(workflow.modifier.modify_path(path))


def force(path, reason):
    """Have a file made again, as `--forcerun` does. Says whether it was in time."""
    # The rules are read before there is a DAG.
    if workflow.dag is None:
        return False
    if any(word.startswith("--report") for word in sys.argv):
        raise WorkflowError(
            f"{path} is not what the config asks for: {reason}. Make it before the report, "
            "or give the --configfile that it was made with."
        )
    workflow.dag.forcefiles.add(path)
    return True


def recorded(path):
    """Whether Snakemake's notes have the parameters that a file was made with."""
    return workflow.persistence.params(IOFile(path)) is not None


FRESHNESS = Freshness(force, recorded, logger.warning, place)

# Jobs, which load users' own code by its recipe, find its files by their digests, and take it as it is now.
provide_files(CATALOGUE.files)
provide_code(CATALOGUE.code)


wildcard_constraints:
    dataset=r"[^/]+",
    seed=r"0|[1-9]\d*",
    training=r"[^/]+",
    defense=r"[^/]+",
    classifier=r"[^/]+",
    attack=r"[^/]+",
    generator=r"[^/]+",
    oracle=r"[^/]+",
    substitute=r"[^/]+",
    table=r"(\w+_)?table\d+|sweep|figure8|cost_accuracy|generator_quality",
    split="train|validation|test",


def artifact(method, wildcards, **further):
    """The artifact that a rule's wildcards name, by a method of the catalogue."""
    names = dict(wildcards.items())
    if "seed" in names:
        names["seed"] = int(names["seed"])
    return asked(getattr(CATALOGUE, method), **names, **further)


def asked(make, *names, **named):
    """What `make` makes, or an error without a traceback where the config has no such thing. Files
    of it that lie there and are not what the config asks for are made again."""
    try:
        made = make(*names, **named)
    except ConfigError as error:
        raise WorkflowError(str(error))
    # In a job's own Snakemake it has been decided what is made; and of another config (`recipes_under`)
    # nothing is made.
    if workflow.is_main_process and FRESHNESS:
        for file in made if isinstance(made, list) else [made]:
            if isinstance(file, File):
                FRESHNESS.look_at(file)
    return made


def paths(files):
    """The places of artifacts."""
    return [file.path for file in files]


def inputs(method, **further):
    """An input function: the files that the artifact is made from, by name (use with `unpack`).

    The data set is marked ancient: it holds all splits in one file, so that its time says nothing
    of the split in question. Its recipe does, and stands in `params`.
    """

    return lambda wildcards: with_old_dataset(artifact(method, wildcards, **further))


def with_old_dataset(made):
    """An artifact's inputs, its data set ancient."""
    files = {
        name: ancient(path) if name == "dataset" else path for name, path in made.inputs.items()
    }
    own = own_files(made)
    return {**files, "own_files": own} if own else files


def own_files(made):
    """The files that users' own code reads on the way to an artifact. Ancient: their digests stand in
    the recipes, and say what another time of change does not."""
    return [ancient(path) for path in CATALOGUE.own_files(made)]


def row(wildcards):
    """The measurement that a rule's wildcards name."""
    w = wildcards
    return asked(measurement, CATALOGUE, w.table, w.dataset, int(w.seed), w.classifier, w.attack)


# The tables' paths below results, without suffix: table4, defense_vae/table1.
TABLE_PATHS = {table_place(name): name for name in PAPER_TABLES}
AE_GAN_TABLE_PATHS = [table_place(name) for name in AE_GAN_TABLE_CAPTIONS]
COWBOY_TABLE_PATHS = [table_place(name) for name in COWBOY_TABLE_CAPTIONS]
VAE_TABLE_PATHS = [table_place(name) for name in VAE_TABLE_CAPTIONS]


def table(wildcards):
    """The table that a rule's wildcards name by its path."""
    return asked(paper_table, CATALOGUE, TABLE_PATHS[wildcards.table])


def picture(wildcards):
    """The picture that a rule's wildcards name."""
    w = wildcards
    return asked(examples, CATALOGUE, w.dataset, int(w.seed), w.classifier, w.attack)


def detectors(wildcards):
    """The detectors of the run that a rule's wildcards name."""
    return asked(detection, CATALOGUE, wildcards.dataset, int(wildcards.seed))


def of_run(find, wildcards):
    """What `find` makes of the run that a rule's wildcards name, if it has their file's name."""
    made = asked(find, CATALOGUE, wildcards.dataset, int(wildcards.seed))
    if not Path(made.path).name.startswith(f"{wildcards.defense}."):
        raise WorkflowError(f"the config asks for {made.path}, not for {wildcards.defense}'s")
    return made


def timed(wildcards):
    """The run times that a rule's wildcards name."""
    return of_run(run_times, wildcards)


def judged(wildcards):
    """The generators whose quality is measured in the run that a rule's wildcards name."""
    return asked(generator_quality, CATALOGUE, wildcards.dataset, int(wildcards.seed))


def scored(wildcards):
    """The discriminator's scores of the run that a rule's wildcards name."""
    return of_run(discriminator_scores, wildcards)


def course(wildcards):
    """The course of a GAN's training in the run that a rule's wildcards name."""
    return of_run(training_course, wildcards)


def generator_pictures(find):
    """An input function: samples and loss curve of each generator that the files which `find` finds
    are made with."""

    def drawn(catalogue):
        networks = all_made(find(catalogue))
        return [picture for network in networks for picture in getattr(network, "pictures", ())]

    return lambda wildcards: paths(asked(drawn, CATALOGUE))


def of_page(find, name, tables):
    """An input function: the long tables that a paper's page shows."""

    def shown(wildcards):
        asked(lambda catalogue: Made(f"results/{name}.md", find(catalogue).job), CATALOGUE)
        return expand("results/{table}.long.csv", table=tables)

    return shown


def pictured(wildcards):
    """The network that a picture's wildcards name."""
    w = wildcards
    kind = PICTURED[w.folder]
    return asked(CATALOGUE.generator, w.dataset, int(w.seed), w.generator, kind)


def picture_job(wildcards):
    """What a picture's job is told: the network's recipe, by which its files were made."""
    network = pictured(wildcards)
    return told(network.recipe, [network, network.history])


def rule_of(wildcards):
    """The inference rule in the run that a rule's wildcards name."""
    return of_run(inference_rule, wildcards)


def end_to_end_networks(wildcards):
    """The VAE and the classifier that a joint training makes."""
    w = wildcards
    run = (w.dataset, int(w.seed), w.defense)
    trained = CATALOGUE.end_to_end_vae(*run, w.classifier)
    return trained, CATALOGUE.classifier(*run, w.classifier)


def figure(name):
    """A figure of the paper, by its name or by a rule's wildcard."""
    name = name if isinstance(name, str) else name.figure
    finders = {"defense_vae": vae_figure, "cowboy": cowboy_figure, "ae_gan": ae_gan_figure}
    return asked(finders.get(name.rpartition("_")[0], paper_figure), CATALOGUE, name)


def recipe(method, **further):
    """A params function: everything that decides the artifact's content, upstream included, and
    the recipes of the files that it is made from."""
    return lambda wildcards: artifact(method, wildcards, **further).job


def growing(amount):
    """A resource that grows by itself with each attempt, for jobs that died for want of it."""
    return lambda wildcards, attempt: amount * attempt


def memory(amount, copies):
    """MB of a job that holds its data set's images so many times, beside `amount` for all else. Grows
    by itself with each attempt."""

    return (
        lambda wildcards, attempt: (
            amount + copies * CATALOGUE.dataset(wildcards.dataset).megabytes
        )
        * attempt
    )


# GPUs that a GPU rule asks for.
GPUS = int(has_gpu()) if config["gpu"] == "auto" else config["gpu"]

# All cores of this run, for a job beside which nothing else may run. A cluster's runs have no such number.
ALL_CORES = workflow.resource_settings.cores or config["threads"]
