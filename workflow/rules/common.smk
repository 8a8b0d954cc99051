# What the rules of all stages share: the catalogue of artifacts, and how a rule looks its own up.
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.path_modifier import PathModifier
from snakemake.utils import update_config

from purification import networks
from purification.config_files import typed_values
from purification.experiments import (
    ACCURACY_FORMS,
    GENERATIVE_MODELS,
    MEASURED_FORMS,
    PAPERS,
    PICTURED,
    TIME_FORMS,
    Catalogue,
    ConfigError,
    File,
    Made,
    accuracy_l2,
    all_made,
    cleaned_by_each,
    cost_figure,
    costs_figure,
    detection,
    detection_runs,
    detection_table,
    discriminator_scores,
    draws_figure,
    evaluations_figure,
    examples,
    generator_quality,
    inference_rule,
    layered,
    leaderboard,
    mcnemar_table,
    measurement,
    paper_comparison,
    paper_figure,
    paper_page,
    paper_table,
    pictures_figure,
    purification_costs,
    quality_figure,
    quality_file,
    rows_and_cells,
    rule_table,
    studies_of,
    table4_examples,
    time_table,
    times_at,
    told,
    training_course,
    worst_case,
)
from purification.freshness import Freshness
from purification.plugins import provide_code, provide_files
from purification.runtime import gpus_for_jobs

SCHEMA = Path(HERE, "workflow/schemas/config.schema.yaml")

# Laid over one another here: Snakemake would replace a change of a list (`attacks+`) by that of the next file, and leaves as
# text what --config gives in lists and mappings. What came through a pipe only Snakemake has read.
LAYERS.append(
    ("--config", typed_values(workflow.config_settings.config))
    if GIVEN is None
    else ("the module's config", GIVEN)
)
try:
    if all(layer is not None for _, layer in LAYERS):
        config = layered(LAYERS)
    else:
        update_config(config, LAYERS[-1][1])
    CATALOGUE = Catalogue(config, SCHEMA)
except ConfigError as error:
    raise WorkflowError(str(error))
# Scripts read the config as it was checked.
config.clear()
config.update(CATALOGUE.config)

# The rules say `results/...`, `logs/...` and `resources/papers/...`, as recipes do. Snakemake puts the folder of the config,
# and the place of this repository, before them, as for a module with `replace_prefix`: in inputs that functions return, too.
RESULTS = config["results"] = os.path.normpath(config.get("results", "results"))
if workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError("module with a prefix: say `results: FOLDER` in its config instead")
PLACES = {"results/": f"{RESULTS}/", "resources/papers/": f"{beside('resources/papers')}/"}
PLACES |= {} if RESULTS == "results" else {"logs/": f"{RESULTS}/logs/"}
# Looking up costs 5 % of a large dry run.
if moved := {name: place for name, place in PLACES.items() if place != name}:
    workflow.modifier.path_modifier = PathModifier(moved, None, workflow)


# Networks that were trained once; a relative folder of them is this repository's, as the papers' numbers are.
config.setdefault("networks", str(networks.FOLDER))
if not os.path.isabs(config["networks"]):
    config["networks"] = beside(config["networks"])
config.setdefault("pretrained", True)


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
    trained_for=r"[^/]+",
    defense=r"[^/]+",
    classifier=r"[^/]+",
    attack=r"[^/]+",
    cascade=r"[^/]+",
    generator=r"[^/]+",
    board=r"[^/]+",
    oracle=r"[^/]+",
    substitute=r"[^/]+",
    table="|".join(re.escape(study.name) for study in studies_of(config, *MEASURED_FORMS)),
    timed=r"([^/]+/)?[^/]+",
    split="train|validation|test",


SAID = set()


def say_once(remark):
    """A warning on the terminal."""
    if remark not in SAID:
        SAID.add(remark)
        logger.warning(f"warning: {remark}")


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
        for remark in CATALOGUE.remarks.values():
            say_once(remark)
        for file in made if isinstance(made, list) else [made]:
            if isinstance(file, File):
                FRESHNESS.look_at(file)
    return made


# Studies and cascades that the command line names are looked at here: an error in the functions of a rule is told with their trace.
if workflow.is_main_process:
    for study in studies_of(CATALOGUE.config):
        files = [*study.paths, f"results/{study.paper}.md"]
        if {study.paper, *map(place, files)} & set(sys.argv[1:]):
            asked(CATALOGUE.study, study.name)
    for cascade in CATALOGUE.config.get("cascades", ()):
        if any(
            re.search(f"/adaptive(_fixed)?/{re.escape(cascade)}/", word) for word in sys.argv[1:]
        ):
            asked(CATALOGUE.cascade_settings, cascade)


def paths(files):
    """The places of artifacts."""
    return [file.path for file in files]


def inputs(method, **further):
    """An input function: the files that the artifact is made from, by name (use with `unpack`).

    The data set is marked ancient: it holds all splits in one file, so that its time says nothing
    of the split in question. Its recipe does, and stands in `params`.
    """

    return lambda wildcards: with_old_dataset(artifact(method, wildcards, **further))


# Paths of networks whose jobs take them.
TAKEN = set()


def with_old_dataset(made):
    """An artifact's inputs, its data set ancient; none of a network that is taken and not trained."""
    if is_taken(made):
        TAKEN.add(made.path)
        return {}
    files = {
        name: ancient(path) if name == "dataset" else path for name, path in made.inputs.items()
    }
    own = own_files(made)
    return {**files, "own_files": own} if own else files


def is_taken(made):
    """Whether all files of a training were made before by the same recipe (`purification.networks`), so
    that its job takes them. What they were made from is then not made."""
    if not networks.kind_of(made.path):
        return False
    if not config["pretrained"]:
        return was_taken(made)
    try:
        return all(is_listed(file) for file in (made, *made.parts))
    except ValueError as error:
        raise WorkflowError(str(error))


def was_taken(made):
    """Whether a finished network was taken, and is not to be trained now. It is older than networks
    that were taken after it, so that Snakemake, told what it would be trained on, would do that."""
    chosen = workflow.dag_settings
    if chosen.forceall or chosen.forcetargets or chosen.forcerun:
        return False
    # The VAE tells of what it was trained with, for which the history stands.
    joint = networks.kind_of(made.path) == networks.HISTORY
    stem = place(made.path).removesuffix(networks.HISTORY if joint else networks.NETWORK)
    further = [f"{stem}{networks.HISTORY}", *(place(part.path) for part in made.parts)]
    network = f"{stem}.vae{networks.NETWORK}" if joint else f"{stem}{networks.NETWORK}"
    return all(map(os.path.exists, further)) and networks.is_a_copy(network, made.digest)


def is_listed(file):
    """Whether that file was made before."""
    dataset = getattr(getattr(file, "whole", file), "dataset", None)
    if dataset is None:
        return False
    kind = networks.kind_of(file.path)
    return networks.listed(dataset.name, file.digest, kind, config["networks"]) is not None


def places_of_taken_gans():
    """Of Cowboy's GANs that were made before without the snapshots of their trainings, each place from
    the data set on."""
    for dataset in config["datasets"] if config["pretrained"] else ():
        for kept in networks.places(dataset, config["networks"]):
            found = re.fullmatch(r"seed(\d+)/gans/(.+)\.safetensors", kept.file)
            try:
                gan = found and CATALOGUE.generator(dataset, int(found[1]), found[2], "gan")
            except ConfigError:
                continue  # the folder has another config's
            if gan and is_listed(gan) and is_listed(gan.history):
                if not is_listed(gan.snapshots_file):
                    yield f"{dataset}/{kept.file.removesuffix(networks.NETWORK)}"


def own_files(made):
    """The files that users' own code reads on the way to an artifact. Ancient: their digests stand in
    the recipes, and say what another time of change does not."""
    return [ancient(path) for path in CATALOGUE.own_files(made)]


def row(wildcards):
    """The measurement that a rule's wildcards name."""
    w = wildcards
    return asked(measurement, CATALOGUE, w.table, w.dataset, int(w.seed), w.classifier, w.attack)


# The names of the tables and figures by their places below the results, without suffix: defense_vae/table1.
STUDY_AT = {study.place: study.name for study in studies_of(config)}


def places(*forms):
    """A wildcard's constraint: the places of the studies of these forms."""
    return "|".join(re.escape(study.place) for study in studies_of(config, *forms))


def detectors(wildcards):
    """The detectors of the run that a rule's wildcards name."""
    return asked(detection, CATALOGUE, wildcards.dataset, int(wildcards.seed))


def of_run(find, wildcards):
    """What `find` makes of the run that a rule's wildcards name, if it has their file's name."""
    made = asked(find, CATALOGUE, wildcards.dataset, int(wildcards.seed))
    if not Path(made.path).name.startswith(f"{wildcards.defense}."):
        raise WorkflowError(f"the config asks for {made.path}, not for {wildcards.defense}'s")
    return made


def timed(form, wildcards):
    """The times of that form that a rule's wildcards name."""
    w = wildcards
    return asked(times_at, CATALOGUE, form, w.dataset, int(w.seed), w.timed)


def judged(wildcards):
    """The generators whose quality is measured in the run that a rule's wildcards name."""
    return asked(generator_quality, CATALOGUE, wildcards.dataset, int(wildcards.seed))


def generator_pictures(find):
    """An input function: samples and loss curve of each generator that the files which `find` finds
    are made with."""

    def drawn(catalogue):
        networks = all_made(find(catalogue))
        return [picture for network in networks for picture in getattr(network, "pictures", ())]

    return lambda wildcards: paths(asked(drawn, CATALOGUE))


def of_paper(key):
    """An input function: every table and figure of a paper, and its page."""
    files = [path for study in PAPERS[key].studies for path in study.paths]
    return lambda wildcards: [*files, f"results/{key}.md"]


# Folders of the generative models, and their kinds.
FOLDERS = {network.FOLDER: kind for kind, network in GENERATIVE_MODELS.items()}


def generator(wildcards):
    """The generative model that a rule's wildcards name by its folder."""
    w = wildcards
    return asked(CATALOGUE.generator, w.dataset, int(w.seed), w.generator, FOLDERS[w.folder])


def learned(wildcards):
    """What the defence that a rule's wildcards name has learned."""
    w = wildcards
    classifier = w.get("classifier", "")
    made = asked(CATALOGUE.trained, w.dataset, int(w.seed), w.defense, classifier)
    if made.FOLDER != w.folder:
        raise WorkflowError(f"defenses.{w.defense} is kept in {made.FOLDER}, not in {w.folder}")
    return made


def adopted_names(section):
    """What a wildcard may be: the names of a section's networks that were trained elsewhere."""
    names = [name for name, entry in config[section].items() if "checkpoint" in entry]
    return "|".join(map(re.escape, names)) or "(?!)"


def picture_job(wildcards):
    """What a picture's job is told: the network's recipe, by which its files were made."""
    network = generator(wildcards)
    return told(network.recipe, [network, network.history])


def again(network):
    """What a job is told that trains a network again, with the one that is there beside it."""
    return told(network.recipe, [network.dataset, network])


def end_to_end_networks(wildcards):
    """The VAE and the classifier that a joint training makes."""
    w = wildcards
    run = (w.dataset, int(w.seed), w.defense)
    trained = CATALOGUE.end_to_end_vae(*run, w.classifier)
    return trained, CATALOGUE.classifier(*run, w.classifier)


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


# GPUs that GPU rules ask for, and a line on what was found by itself.
GPUS, FOUND_GPUS = (config["gpu"], "") if config["gpu"] != "auto" else gpus_for_jobs()

# All cores of this run, for a job beside which nothing else may run. A cluster's runs have no such number.
ALL_CORES = workflow.resource_settings.cores or config["threads"]
