# What a run says at its beginning and at its end.
from purification.experiments import paper_name
from purification.reporting.headline import headline

LISTED_RESULTS = 12


def tell_gpus():
    """What `gpu: auto` found; jobs on this machine do not ask again."""
    if config["gpu"] == "auto":
        if ASKED_DRIVER:
            logger.info(told_gpus(*FOUND_GPUS))
        os.environ["PURIFICATION_GPUS"] = str(GPUS)


def tell_results():
    """The files that were asked for, what the first of them says, and where all can be seen."""
    made = [str(file) for file in workflow.dag.derived_targetfiles]
    jobs = [job for job in workflow.dag.jobs if not {*made}.isdisjoint(map(str, job.output))]
    files = dict.fromkeys(file for job in jobs for file in map(str, job.output))
    order = (".md", ".html", ".csv", ".png")
    rank = lambda file: order.index(Path(file).suffix) if Path(file).suffix in order else len(order)
    files = sorted(filter(os.path.exists, files), key=lambda file: (rank(file), file))
    if not files:
        return
    lines = ["Made:", *(f"    {file}" for file in files[:LISTED_RESULTS])]
    if len(files) > LISTED_RESULTS:
        lines.append(f"    and {len(files) - LISTED_RESULTS} more")
    found = headline(files, paper_name)
    page_file = place("results/index.html")
    seen = f"All results on one page: snakemake {page_file}"
    lines += [found] if found else []
    lines.append(f"Open in a browser: {page_file}" if page_file in files else seen)
    logger.info("\n".join(lines))
