"""Jobs of the workflow, one after the other in this process: what each job's own Python, and what
Snakemake writes down of it, would cost is more than a tiny job's work.

    python in_one_process.py TOLD MOST WORDS...

in the folder of a copy of the workflow. WORDS are a dry run's. Of its DAG are run, for each kind of
job (`kinds_of`), one job and all that this needs; no kind that needs more than MOST jobs; with 0
every job. Official files of the data sets are made up in `data`. TOLD gets, as JSON, how many jobs
there are, their kinds, those of the jobs that were run, and how many jobs each other kind needs.
"""

import json
import math
import os
import pickle
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# What jobs import, so that a starter has it for all (purification.warm_start).
import purification.attacks
import purification.datasets
import purification.evaluation.adversarial
import purification.evaluation.detection_rows
import purification.evaluation.reconstructions
import purification.experiments.image_counts
import purification.experiments.studies
import purification.reporting.figures
import purification.runtime
import purification.training

Kind = tuple[str, str, str]
ATTACKERS_IMAGES = 3
"""Test images that the black-box attacker keeps: a length, but none of the config."""
DENSE = ("D", "E")
"""Classifiers without convolutions."""


class Built(BaseException):
    """Snakemake has built its DAG, and is to do no more."""


def dag_of(words: Iterable[str]) -> Any:
    """The DAG of a command line of Snakemake."""
    from snakemake import cli
    from snakemake.dag import DAG

    async def stop(dag: Any, *_: Any, **__: Any) -> None:
        raise Built(dag)

    DAG.postprocess = stop
    sys.argv[:] = ["snakemake", *words]
    try:
        cli.main()
    except Built as built:
        return built.args[0]
    raise SystemExit("Snakemake has built no DAG")


def in_order(dag: Any) -> dict[Any, list[Any]]:
    """The jobs with a script, each after those whose files it reads, and which these are."""
    found: dict[Any, list[Any]] = {}

    def visit(job: Any) -> None:
        if job not in found:
            before = sorted(dag.dependencies[job], key=lambda one: str(one.output))
            for one in before:
                visit(one)
            found[job] = before

    for job in sorted(dag.targetjobs, key=lambda one: one.rule.name):
        visit(job)
    return {job: before for job, before in found.items() if job.rule.script}


def kinds_of(job: Any, config: Mapping[str, Any]) -> set[Kind]:
    """What a job is an example of: its rule, a kind of what it is about (the method of an attack or
    a defence, a generator's, an architecture, the form of a table), and the shape of its images.
    Beyond its file one data set is like another of that shape, and to an attack all shapes are the
    same."""
    from purification.experiments.names import base_name
    from purification.experiments.papers import studies_of
    from purification.experiments.references import kind_of, purifier_of

    names, kinds = dict(job.wildcards.items()), set[str]()
    for key in ("defense", "trained_for", "oracle"):
        if names.get(key, "plain") != "plain":
            defense = purifier_of(config, base_name(names[key]))
            kinds.add(config["defenses"][defense]["method"])
    if "generator" in names:
        kinds.add(kind_of(config["generators"][names["generator"]]))
    if names.get("trained_for") == "plain" and "attack" not in names:
        kinds.add(config["classifiers"][names["classifier"]]["architecture"])
    for study in studies_of(config):
        if names.get("table") == study.name or {*study.paths} & {*map(str, job.output)}:
            kinds.add(study.form)
    if job.rule.name == "prepare_dataset":
        kinds.add(names["dataset"])
    images = "x".join(map(str, shape_of(names, config)))
    found = {(job.rule.name, kind, images) for kind in kinds or {""}}
    if (attack := names.get("attack", "none")) != "none":
        found.add((job.rule.name, config["attacks"][base_name(attack)]["method"], ""))
    return found


def shape_of(names: Mapping[str, str], config: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of the images of a job's data set; () of a job on none, or on several."""
    from purification.experiments.methods import stated

    if "dataset" not in names:
        return ()
    source = config["datasets"][names["dataset"]]["source"]
    return tuple(stated("datasets", source)["shape"])


def weight_of(job: Any, config: Mapping[str, Any]) -> int:
    """What a job costs, roughly: the pixels of its data set's images, times what the convolutions
    of its classifier and the steps of its search make of them."""
    from purification.experiments.names import base_name
    from purification.experiments.references import purifier_of

    names = dict(job.wildcards.items())
    if not (shape := shape_of(names, config)):
        return 1
    weight = math.prod(shape) // 700 + 2
    if names.get("classifier", "D") not in DENSE:
        weight *= 2
    if (defense := names.get("defense", names.get("trained_for", "plain"))) != "plain":
        purifier = config["defenses"][purifier_of(config, base_name(defense))]
        weight *= 1 + purifier.get("steps", 0) // 3
    return weight


def cover(
    jobs: Mapping[Any, Sequence[Any]],
    kinds: Mapping[Any, set[Kind]],
    weights: Mapping[Any, int],
    most: int,
) -> tuple[set[Any], dict[Kind, int]]:
    """Jobs, with all that they need, among which there is one of each kind; and how many jobs each
    kind needs of which the least is more than `most`, and which is left out. The dearest kinds are
    looked at first, and of each the job that adds least."""
    place = {job: 1 << number for number, job in enumerate(jobs)}
    needs: dict[Any, int] = {}
    for job, before in jobs.items():
        needs[job] = place[job]
        for one in before:
            needs[job] |= needs[one]
    having, weighing = defaultdict(list), defaultdict[int, int](int)
    for job in jobs:
        weighing[weights[job]] |= place[job]
        for kind in kinds[job]:
            having[kind].append(job)

    def weight(which: int) -> int:
        return sum(one * (which & held).bit_count() for one, held in weighing.items())

    def price(job: Any) -> float:
        return weight(needs[job] & ~chosen) / len(kinds[job] - covered)

    chosen, covered, left_out = 0, set[Kind](), dict[Kind, int]()
    dearest = {kind: min(weight(needs[job]) for job in own) for kind, own in having.items()}
    for kind in sorted(having, key=lambda kind: (-dearest[kind], kind)):
        if (count := min(needs[job].bit_count() for job in having[kind])) > most:
            left_out[kind] = count
        elif kind not in covered:
            chosen |= needs[min(having[kind], key=price)]
            covered |= set().union(*(kinds[job] for job in jobs if chosen & place[job]))
    return {job for job in jobs if chosen & place[job]}, left_out


def run(job: Any, config: Mapping[str, Any]) -> None:
    """A job's script, with what it would be told in a process of its own."""
    from snakemake.iocontainers import Snakemake

    for output in map(Path, job.output):
        output.parent.mkdir(parents=True, exist_ok=True)
    told = (job.input, job.output, job.params, job.wildcards, job.threads, job.resources, job.log)
    given = pickle.loads(pickle.dumps(Snakemake(*told, config, job.rule.name, None, "")))
    script = Path("workflow/scripts", Path(job.rule.script).name)
    code = compile(script.read_text(), str(script), "exec")
    streams = [os.dup(number) for number in (1, 2)]
    before = sys.stdout, sys.stderr, sys.excepthook
    try:
        exec(code, {"snakemake": given, "__name__": "__main__", "__file__": str(script)})
    except SystemExit as end:  # of one that took a network
        if end.code:
            raise
    finally:
        # A script sends all that is printed to its log.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout, sys.stderr, sys.excepthook = before
    missing = [output for output in map(str, job.output) if not Path(output).exists()]
    assert not missing, f"not made: {missing}"


def make_up_data(root: Path) -> None:
    """Files of all data sets in their official forms, which pass for the official ones here."""
    import made_up_cifar10
    import made_up_mnist
    import made_up_svhn
    import pytest
    from made_up_celeba import write_celeba

    patch = pytest.MonkeyPatch()
    files = made_up_mnist.made_up(train=30)
    for source in made_up_mnist.SOURCES.values():
        made_up_mnist.accept(patch, source, files)
        made_up_mnist.write_mnist(root, source, files=files)
    made_up_cifar10.accept(patch, made_up_cifar10.FILES, made_up_cifar10.PACKED)
    made_up_cifar10.write_cifar10(root)
    made_up_svhn.accept(patch)
    made_up_svhn.write_svhn(root)
    write_celeba(root)
    evaluation, experiments = purification.evaluation, purification.experiments
    for module in (purification.datasets, evaluation.adversarial, evaluation.reconstructions):
        patch.setattr(module, "BLACK_BOX_HOLD_OUT", ATTACKERS_IMAGES)
    for module in (experiments.image_counts, experiments.studies):
        patch.setattr(module, "ATTACKERS_IMAGES", ATTACKERS_IMAGES)


def main(told: str, most: str, *words: str) -> None:
    """The command line."""
    make_up_data(Path("data"))
    dag = dag_of(words)
    config = dag.workflow.globals["config"]
    jobs = in_order(dag)
    kinds = {job: kinds_of(job, config) for job in jobs}
    chosen, left_out = {*jobs}, {}
    if int(most):
        weights = {job: weight_of(job, config) for job in jobs}
        chosen, left_out = cover(jobs, kinds, weights, int(most))
    # Snakemake looks at what lies there for these: before there is anything.
    for job in chosen:
        assert job.params
    for job in filter(chosen.__contains__, jobs):
        try:
            run(job, config)
        except BaseException as error:
            error.add_note(f"in the rule {job.rule.name}, for {', '.join(map(str, job.output))}")
            raise
    found = {
        "jobs": len(jobs),
        "kinds": sorted(set().union(*kinds.values())),
        "run": len(chosen),
        "kinds_run": sorted(set().union(*(kinds[job] for job in chosen))),
        "left_out": [[*kind, count] for kind, count in sorted(left_out.items())],
    }
    Path(told).write_text(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main(*sys.argv[1:])
