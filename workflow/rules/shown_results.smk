# What the page of a run shows: what lies there and is current, and what the same command makes.
from functools import cache

from purification.experiments import DEFAULT_FILES, Shown, known_results, paper_pages, results_page
from purification.provenance import ABSENT, differing


def on_the_page():
    """The page, and the files that it waits for: those that the same command makes. It asks for no result. What lies
    there and is what the config asks for is shown, too, and is no input: by its time stamp, which a copy changes,
    Snakemake would make it again, and would delete it first. What lies there and is not is named, with why.
    """
    # An edit is explained under another config.
    return page_of_run(CATALOGUE)


@cache
def page_of_run(catalogue):
    being_made, shown, left_out = files_being_made(catalogue), [], []
    for result in known_results(catalogue):
        there = [path for path in result.paths if os.path.exists(place(path))]
        if not there and being_made.isdisjoint(result.paths):
            continue
        try:
            file = result.make()
        except ConfigError as error:
            left_out.append((result.target, str(error)))
            continue
        if being_made.isdisjoint(result.paths) and (why := why_not(result, file, there)):
            left_out.append((result.target, why))
        else:
            shown.append(Shown(result, file))
    files = all_made(one.file for one in shown)
    made = results_page(
        shown, left_out, edited(catalogue), logs_of(files), current_pages(catalogue)
    )
    return made, [path for one in shown for path in one.result.paths if path in being_made]


def why_not(result, file, there):
    """Why a result that lies there is not shown; "" if it is."""
    if missing := [path for path in result.paths if path not in there]:
        return f"{place(missing[0])} is missing"
    return "; ".join(FRESHNESS.objections(file)) if FRESHNESS else ""


def current_pages(catalogue):
    """The papers' own pages that lie there and are what the config asks for."""
    found = []
    for path, make in paper_pages(catalogue).items():
        if os.path.exists(place(path)):
            try:
                found += [path] if FRESHNESS and not FRESHNESS.objections(make()) else []
            except ConfigError:
                pass
    return found


def files_being_made(catalogue):
    """All files that the targets of this command are, or are made from."""
    if workflow.dag is None:
        return set()
    named, asked_for = {one.name for one in workflow.dag.targetrules or ()}, set()
    files = {name_of_place(str(path)) for path in workflow.dag.targetfiles or ()}
    for key in PAPERS:
        # A workflow that has these rules as a module puts something in front of their names.
        if f"results/{key}.md" in files or any(n == key or n.endswith(f"_{key}") for n in named):
            files |= {path for study in PAPERS[key].studies for path in study.paths}
    if any(name == "all" or name.endswith("_all") for name in named):
        shown = table4_examples(catalogue)
        files |= {"results/table4.csv", *paths(shown)}
        pictures = [
            picture for made in all_made(shown) for picture in getattr(made, "pictures", ())
        ]
        files |= {*paths(pictures)}
    for result in known_results(catalogue):
        if not files.isdisjoint(result.paths):
            asked_for.update(result.paths)
            try:
                for made in all_made([result.make()]):
                    further = made.content.sources if isinstance(made, Made) else ()
                    asked_for.update([made.path, *made.inputs.values(), *further])
            except ConfigError:
                pass
    return asked_for


def name_of_place(path):
    """The name of a result that lies at a place: the inverse of `place`."""
    inside = path.startswith(f"{RESULTS}/")
    return f"results/{path.removeprefix(RESULTS + '/')}" if inside else path


@cache
def edited(catalogue):
    """The keys of the config that differ from the default one: its value there, and here."""
    default = layered(LAYERS[: len(DEFAULT_FILES)])
    return {
        ".".join(map(str, key)): (None if was is ABSENT else was, None if now is ABSENT else now)
        for key, was, now in differing(default, catalogue.config)
        if key != ("results",)
    }


def logs_of(files):
    """The logs of the jobs that make these files, below their folder."""
    logs, root = {}, "logs/" if RESULTS == "results" else f"{RESULTS}/logs/"
    makers = [one for one in workflow.rules if one.log and one.output]
    for file in files:
        path = place(file.path)
        for maker in makers:
            if maker.is_producer(path):
                wildcards = maker.get_wildcards(path)
                logs.update(
                    (str(log).removeprefix(root), None) for log in maker.expand_log(wildcards)
                )
    return list(logs)
