"""The page of a run, `results/index.html`: which results a config knows, and what the page shows.

It is made from the results that lie there, and asks for none: what is current is shown, what was
made with other settings is named and not shown. Which are which the workflow finds out
(`purification.freshness`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from purification.experiments.accuracy_l2 import accuracy_l2
from purification.experiments.ae_gan import rule_table
from purification.experiments.artifacts import PICTURED, File, Made, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.comparison import paper_comparison
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import detection_runs, mcnemar_table
from purification.experiments.detection import detection_table
from purification.experiments.direct import examples
from purification.experiments.figures import paper_figure
from purification.experiments.generator_quality import quality_figure, quality_file
from purification.experiments.leaderboard import leaderboard
from purification.experiments.page import paper_page
from purification.experiments.papers import (
    ACCURACY_FORMS,
    PAPERS,
    STUDIES,
    TIME_FORMS,
    studies_of,
)
from purification.experiments.tables import cost_figure, paper_table
from purification.experiments.worst_case import worst_case

PAGE = "results/index.html"
SECTIONS = ("Leaderboard", "Tables", "Figures", "Pictures")
"""Of the page, in their order."""
_MADE: Mapping[str, Callable[[Catalogue], File]] = {
    "detection": detection_table,
    "inference_rule": rule_table,
    "mcnemar": mcnemar_table,
    "score_detection": detection_runs,
    "comparison": paper_comparison,
    "worst_case": worst_case,
    "leaderboard": leaderboard,
    "cost_accuracy": cost_figure,
    "accuracy_l2": accuracy_l2,
}
"""What makes the result of a form, where that is neither a table of accuracies nor a figure."""
_TABLES = ("detection", "inference_rule", "mcnemar", "score_detection", "comparison", "worst_case")


@dataclass(frozen=True)
class Result:
    """A result that a config knows.

    Args:
        section: one of `SECTIONS`.
        kind: how it is shown: `accuracies`, `numbers` (any other CSV), `leaderboard`, `picture`.
        group: whose it is, such as a paper's title.
        title: of its part of the page.
        paths: all its files, those that are shown first.
        make: finds what is to be made, and raises ConfigError where the config is wrong about it.
    """

    section: str
    kind: str
    group: str
    title: str
    paths: tuple[str, ...]
    make: Callable[[], File]

    @property
    def target(self) -> str:
        """The file to ask Snakemake for."""
        return self.paths[0]


def known_results(catalogue: Catalogue) -> list[Result]:
    """All results of a config, in the order of the page."""
    found = [*_studies(catalogue), *_examples(catalogue), *_generators(catalogue)]
    return sorted(found, key=lambda result: SECTIONS.index(result.section))


def _studies(catalogue: Catalogue) -> Iterator[Result]:
    for study in studies_of(catalogue.config):
        group = PAPERS[study.paper].title if study.paper else "All papers"
        title = ": ".join(filter(None, [study.printed, study.shown])) or study.name
        paths = tuple(study.paths)
        if study.form in (*ACCURACY_FORMS, *TIME_FORMS):
            own = study.name not in STUDIES
            kind = "accuracies" if study.form in ACCURACY_FORMS else "numbers"
            make = _bound(paper_table, catalogue, study.name)
            yield Result("Tables", kind, "Own tables" if own else group, title, paths, make)
        elif study.form == "leaderboard":
            make = _bound(leaderboard, catalogue)
            yield Result("Leaderboard", "leaderboard", group, title, paths, make)
        elif study.form in _TABLES:
            make = _bound(_MADE[study.form], catalogue)
            yield Result("Tables", "numbers", group, title, paths, make)
        elif study.form == "generator_quality":
            yield from _quality(catalogue, group, title)
        elif any(path.endswith(".png") for path in paths):
            # Both toy figures are drawn by the job of the first.
            toy = (other.name for other in studies_of(catalogue.config, "toy"))
            name = next(toy) if study.form == "toy" else study.name
            named = (catalogue,) if study.form in _MADE else (catalogue, name)
            make = _bound(_MADE.get(study.form, paper_figure), *named)
            yield Result("Figures", "picture", group, title, paths, make)


def _quality(catalogue: Catalogue, group: str, title: str) -> Iterator[Result]:
    table, figure = "results/generator_quality", "results/figures/generator_quality"
    paths = (f"{table}.csv", f"{table}.md")
    make = _bound(quality_file, catalogue)
    yield Result("Tables", "numbers", group, title, paths, make)
    paths = (f"{figure}.png", f"{figure}.pdf")
    make = _bound(quality_figure, catalogue)
    yield Result("Figures", "picture", group, title, paths, make)


def _examples(catalogue: Catalogue) -> Iterator[Result]:
    """Table 4's images, clean, attacked and purified, of any classifier and attack there."""
    table4 = next((s for s in studies_of(catalogue.config) if s.name == "table4"), None)
    if table4 is None:
        return
    wanted = table4.settings
    for run in ((d, seed) for d in wanted["datasets"] for seed in catalogue.config["seeds"]):
        for classifier in wanted["classifiers"]:
            for attack in wanted["attacks"]:
                path = _example_path(*run, classifier, attack)
                title = f"{_run(*run)}: {attack} on {classifier}, clean, attacked and purified"
                make = _bound(examples, catalogue, *run, classifier, attack)
                yield Result("Pictures", "picture", "Examples", title, (path,), make)


def _example_path(dataset: str, seed: int, classifier: str, attack: str) -> str:
    return f"results/{dataset}/seed{seed}/figures/examples/{classifier}/{attack}.png"


def _generators(catalogue: Catalogue) -> Iterator[Result]:
    """Samples and loss curve of each generator that is trained here."""
    folders = {kind: folder for folder, kind in PICTURED.items()}
    config = catalogue.config
    for name, network in config.get("generators", {}).items():
        folder = folders.get(network.get("kind", "wgan_gp"))
        if folder is None:
            continue
        for dataset in config["datasets"]:
            for seed in config["seeds"]:
                place = f"results/{dataset}/seed{seed}/{folder}/{name}"
                for end, what in (("samples", "samples"), ("curve", "loss")):
                    title = f"{_run(dataset, seed)}: {name}, {what}"
                    path = f"{place}.{end}.png"
                    make = _bound(_picture_of, catalogue, dataset, seed, name, path)
                    yield Result("Pictures", "picture", "Generators", title, (path,), make)


def _picture_of(catalogue: Catalogue, dataset: str, seed: int, generator: str, path: str) -> File:
    network = catalogue.generator(dataset, seed, generator)
    for picture in network.pictures:
        if picture.path == path:
            return picture
    raise ConfigError(f"{path}: generators.{generator} was trained elsewhere")


def _run(dataset: str, seed: int) -> str:
    return f"{dataset}, seed {seed}" if seed else dataset


def _bound(make: Callable[..., File], *arguments: Any) -> Callable[[], File]:
    return lambda: make(*arguments)


@dataclass(frozen=True)
class Shown:
    """A result on the page, with what it is made by."""

    result: Result
    file: File

    @property
    def job(self) -> dict[str, Any]:
        """What the page's job is told of it."""
        result = self.result
        told_of = {name: getattr(result, name) for name in ("section", "kind", "group", "title")}
        # Whether each L and R is a row.
        swept = getattr(self.file, "cells", None) is not None
        notes = list(getattr(self.file, "notes", ()))
        return {
            **told_of,
            "paths": list(result.paths),
            "digest": self.file.digest,
            "swept": swept,
            "notes": notes,
        }

    @property
    def sources(self) -> list[File]:
        """The files that are read, or whose digest is."""
        parts = {part.path: part for part in self.file.parts}
        return [
            parts.get(path) or Made(path, self.file.job)
            for path in self.result.paths
            if not path.endswith(".pdf")
        ]


def results_page(
    shown: Sequence[Shown],
    left_out: Sequence[tuple[str, str]],
    edits: Mapping[str, tuple[Any, Any]],
    logs: Sequence[str],
    pages: Iterable[str] = (),
) -> Made:
    """The page of a run.

    Args:
        shown: in their order.
        left_out: targets that lie there and are not what the config asks for, each with why.
        edits: keys of the config that differ from the default one, with the value there and here.
        logs: of the jobs that make what is shown and all that it is made from, below their folder.
        pages: the papers' own pages that lie there and are current.
    """
    content = {
        "shown": [one.job for one in shown],
        "left_out": [list(pair) for pair in left_out],
        "edits": {key: list(values) for key, values in edits.items()},
        "logs": list(logs),
        "pages": list(pages),
    }
    return Made(PAGE, told(content, [file for one in shown for file in one.sources]))


@cache
def paper_pages(catalogue: Catalogue) -> dict[str, Callable[[], File]]:
    """The papers' pages by their places."""

    def made(key: str) -> File:
        return Made(f"results/{key}.md", paper_page(catalogue, key).job)

    return {f"results/{key}.md": _bound(made, key) for key in PAPERS}
