# Recipes in `params` say exactly what is stale, whichever profile a run has. Library code that changes what a file contains
# raises the VERSION of its kind in src/purification/experiments.
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase
from snakemake.settings.types import RerunTrigger


def pass_over_code(rules):
    """Has no file of these rules remade because its script, or its rule, was touched. That
    would repeat days of work for a comment. Other rules of a workflow that has these as a
    module keep the trigger, and so do these where --rerun-triggers names `code`."""
    scripts_newer = Job.outputs_older_than_script_or_notebook
    rule_changed = PersistenceBase.code_changed

    def passed_over(job):
        chosen = job.rule.workflow.rerun_triggers
        return job.rule in rules and chosen == RerunTrigger.all()  # the default

    async def outputs_older(job):
        if not passed_over(job):
            async for file in scripts_newer(job):
                yield file

    def code_changed(persistence, job, file=None):
        return () if passed_over(job) else rule_changed(persistence, job, file)

    Job.outputs_older_than_script_or_notebook = outputs_older
    PersistenceBase.code_changed = code_changed


def pass_over_inputs(rules):
    """Has no network of these rules remade because its job would be given other files. Its recipe
    names all that it is made from, and says it of a network that was taken too (`is_taken`), whose
    job is given none of that. So `pretrained` may change when networks are there. Nor is a table
    whose columns were compared on sets of images that are gone (`compared`): they decide nothing
    else of it."""
    inputs_changed = PersistenceBase.input_changed

    def input_changed(persistence, job, file=None):
        by_default = job.rule.workflow.rerun_triggers == RerunTrigger.all()
        network = any(str(path).endswith(".safetensors") for path in job.output)
        own = by_default and job.rule in rules
        if own and (network or ("compared" in job.input.keys() and only_fewer(persistence, job))):
            return ()
        return inputs_changed(persistence, job, file)

    def only_fewer(persistence, job):
        given = {*persistence._input(job)}
        return all(given <= {*(persistence.input(path) or ())} for path in job.output)

    PersistenceBase.input_changed = input_changed


pass_over_code(workflow.modifier.rules)
pass_over_inputs(workflow.modifier.rules)
