# Which edits of the config make jobs stale, and how many networks are taken: said once it is known which jobs there are.
import logging

from snakemake.logging import LogEvent, get_event

from purification.edits import explained_edits, remember


class Explanation(logging.Handler):
    """Tells both below Snakemake's table of jobs, of which a dry run shows a second at its end."""

    tables = 0

    def emit(self, record):
        if get_event(record) != LogEvent.RUN_INFO or workflow.dag is None:
            return
        self.tables += 1
        if self.tables == (2 if workflow.dryrun and not workflow.output_settings.quiet else 1):
            if count := len(taken_networks()):
                logger.info(f"Trained before, taken and not trained: networks of {count} jobs.\n")
            if lines := edits_of_the_config():
                lines.insert(0, "Edited in the config since the files were made:")
                logger.info("\n    ".join(lines) + "\n")


if workflow.is_main_process:
    logger.addHandler(Explanation())


def edits_of_the_config():
    """A line for each edited setting that makes jobs of the DAG stale."""
    jobs = [
        job
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        # Another workflow's rules may have a parameter of that name.
        if getattr(job.rule.params.get("recipe"), "__globals__", None) is globals()
    ]
    outputs = [list(map(str, job.output)) for job in jobs]
    today = [job.params.recipe for job in jobs]
    told = lambda config: recipes_under(config, jobs)
    return explained_edits(CATALOGUE.config, outputs, today, told, place)


def taken_networks():
    """The jobs of the DAG that take a network: they are told less than they would be trained on."""
    jobs = workflow.dag.needrun_jobs(exclude_finished=False)
    taken = set(map(place, TAKEN)) | {
        place(f"results/{gan}{networks.NETWORK}") for gan in places_of_taken_gans()
    }
    return [job for job in jobs if not taken.isdisjoint(map(str, job.output))]


def recipes_under(config, jobs):
    """What each job is told under another config; nothing where that has no such job."""
    global CATALOGUE, FRESHNESS
    own = CATALOGUE, FRESHNESS
    CATALOGUE, FRESHNESS = Catalogue(config, SCHEMA), None
    try:
        return [recipe_of(job) for job in jobs]
    finally:
        CATALOGUE, FRESHNESS = own


def recipe_of(job):
    """What a job is told; nothing if the config has no such job."""
    try:
        return job.rule.params.recipe(job.wildcards)
    except (ConfigError, WorkflowError, LookupError):
        return told({})
