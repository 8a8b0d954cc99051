# Adversarial purification with generative models: what is made, and in which order.
# Rules stand by stage under workflow/rules; what they make is defined in src/purification/experiments.
import os
import sys
from copy import deepcopy

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from purification.config_files import ConfigFileError, read_files
from purification.experiments import DEFAULT_FILES
from purification.memory import explain_killed
from purification.runs import begin
from purification.warm_start import open_starter

min_version("9.27")

HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)


# A file or folder of this repository, from the working directory, of which all other paths are.
beside = lambda path: os.path.relpath(os.path.join(HERE, path))


DEFAULTS = [beside(file) for file in DEFAULT_FILES]
# Another workflow has these rules as a module, and gives their config: laid over the defaults, as a --configfile is.
GIVEN = deepcopy(config) if workflow.modifier.skip_configfile else None

# Before Snakemake reads the defaults: it would take the last of two equal keys, and not say which file is broken.
try:
    LAYERS = read_files(
        [*DEFAULTS, *(filter(os.path.exists, workflow.configfiles) if GIVEN is None else ())]
    )
except ConfigFileError as error:
    raise WorkflowError(str(error))

for file in DEFAULTS:

    configfile: file


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/lookups.smk"
include: "workflow/rules/shown_results.smk"
include: "workflow/rules/ending.smk"
include: "workflow/rules/edits.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/slurm.smk"
include: "workflow/rules/staleness.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/classifiers.smk"
include: "workflow/rules/generators.smk"
include: "workflow/rules/adversarial.smk"
include: "workflow/rules/purification.smk"
include: "workflow/rules/substitutes.smk"
include: "workflow/rules/measurements.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/ae_gan.smk"
include: "workflow/rules/cowboy.smk"
include: "workflow/rules/generator_quality.smk"
include: "workflow/rules/modern.smk"
include: "workflow/rules/results_page.smk"


# A workflow with these rules as a module calls these handlers in its own. Jobs are told whose they are: see purification.runs.
# The default limit of 100 jobs a second costs more than it saves: each finished job leaves a timer that goes through all
# jobs every second from then on (snakemake #3744, #3804; 9.27.1), after 155 jobs 40 % of a core, after thousands no
# thread can be started any more. Another limit than the default was asked for, and stays.
onstart:
    if workflow.is_main_process:
        begin(RESULTS)
        tell_gpus()
        remember(CATALOGUE.config)
        if workflow.local_exec:
            open_starter()
    limiter = workflow.scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    count_every_end(
        workflow.executor_settings, sys.modules.get("snakemake_executor_plugin_slurm")
    )
    if workflow.is_main_process:
        show_progress()


# What was made, and where to look.
onsuccess:
    if workflow.is_main_process:
        tell_results()


# A job that the kernel kills for want of memory leaves no message.
onerror:
    sys.stderr.writelines(f"{line}\n" for line in explain_killed(log))


rule all:
    """Defense-GAN's Table 4 with its examples: the default target"""
    input:
        expand(rules.paper_table.output, table="table4"),
        lambda wildcards: paths(asked(table4_examples, CATALOGUE)),
        generator_pictures(
            lambda catalogue: [paper_table(catalogue, "table4"), *table4_examples(catalogue)]
        ),


rule defense_gan:
    """Every table and figure of Defense-GAN, and its page"""
    input:
        of_paper("defense_gan"),
        generator_pictures(lambda catalogue: paper_page(catalogue, "defense_gan").shown),


rule defense_vae:
    """Every table and figure of Defense-VAE, and its page"""
    input:
        of_paper("defense_vae"),
        generator_pictures(lambda catalogue: paper_page(catalogue, "defense_vae").shown),


rule ae_gan:
    """Every table and figure of AE-GAN+rs, and its page"""
    input:
        of_paper("ae_gan"),
        generator_pictures(lambda catalogue: paper_page(catalogue, "ae_gan").shown),


rule cowboy:
    """Every table and figure of Cowboy, and its page"""
    input:
        of_paper("cowboy"),
        generator_pictures(lambda catalogue: paper_page(catalogue, "cowboy").shown),


rule modern:
    """Later purifiers beside the papers', under one adaptive attack: the page and its figures"""
    input:
        "results/modern.md",
        [
            f"results/figures/{name}.{end}"
            for name in MODERN_FIGURES
            for end in ("png", "pdf", "csv")
        ],
        generator_pictures(
            lambda catalogue: [row["attacked"] for row in rows_and_cells(catalogue, "modern")[0]]
        ),
