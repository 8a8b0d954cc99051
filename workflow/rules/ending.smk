# What a run says at its beginning and at its end.
from purification.experiments import paper_name
from purification.reporting.headline import headline
from purification.runtime import grant_gpus
from purification.whole_run import show_whole_run
from snakemake.settings.enums import Quietness

LISTED_RESULTS = 12


def tell_gpus():
    """What `gpu: auto` found. Jobs on this machine do not ask again."""
    if FOUND_GPUS:
        logger.info(FOUND_GPUS)
        grant_gpus(GPUS)


def show_progress():
    """A bar of all jobs and the time left, where a terminal is to show progress."""
    if {Quietness.ALL, Quietness.PROGRESS}.isdisjoint(workflow.output_settings.quiet or ()):
        dag = workflow.dag
        show_whole_run(logger, {dag.jobid(job): job.rule.name for job in dag.needrun_jobs()})


def tell_results():
    """What was made of the files that were asked for, the first number of it, and where all can be seen."""
    wanted = set(map(str, workflow.dag.derived_targetfiles))
    made = [list(map(str, job.output)) for job in workflow.dag.finished_jobs if job.output]
    files = {file for outputs in made if not wanted.isdisjoint(outputs) for file in outputs}
    order = (".html", ".md", ".csv", ".png")
    rank = lambda file: order.index(Path(file).suffix) if Path(file).suffix in order else len(order)
    files = sorted(filter(os.path.exists, files), key=lambda file: (rank(file), file))
    if not files:
        return
    further = len(files) - LISTED_RESULTS
    lines = ["Made:", *files[:LISTED_RESULTS], *([f"and {further} more"] if further > 0 else [])]
    logger.info("\n    ".join(lines))
    # A workflow that has these rules as a module has files of its own.
    if found := headline([file for file in files if file.startswith(f"{RESULTS}/")], paper_name):
        logger.info(found)
    page_file = place("results/index.html")
    see_all = f"All results on one page: snakemake {page_file}"
    logger.info(f"Open in a browser: {page_file}" if page_file in files else see_all)
