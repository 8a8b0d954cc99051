"""The papers' pages: which tables and figures they show, and what they say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from purification.experiments.ae_gan import inference_rules, rule_table
from purification.experiments.artifacts import File, Recipe, Table, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cowboy import all_scores, detection_runs, mcnemar_table
from purification.experiments.detection import detection_table, detections
from purification.experiments.figures import paper_figure
from purification.experiments.papers import PAPERS, Study
from purification.experiments.tables import cost_measurements, paper_table


@dataclass(frozen=True)
class Page:
    """A paper's page: its tables, the links to its figures as [name, caption, file from the page],
    and the notes. `shown`: all that stands there; `further`: by their forms, the files that its
    further sections are read from."""

    key: str
    tables: list[Table]
    figures: list[list[str]]
    notes: list[str]
    shown: list[File]
    further: dict[str, list[File]]

    @property
    def job(self) -> Recipe:
        """What the script is told; a table is read from its long form."""
        tables = [
            [t.study.printed, t.study.caption, t.cells is not None, t.path] for t in self.tables
        ]
        content = {"tables": tables, "figures": self.figures, "notes": self.notes}
        content["digests"] = [file.digest for file in self.shown]
        further = [file for files in self.further.values() for file in files]
        return told(content, [*(table.long for table in self.tables), *further])

    @property
    def inputs(self) -> dict[str, list[str]]:
        """What it is made from, by name."""
        files = {"tables": [table.long.path for table in self.tables]}
        files["figures"] = [f"results/{link}" for *_, link in self.figures]
        if "run_times" in self.further:
            # It is made of them and of the paper's numbers once more.
            files["paper"] = [f"resources/papers/{self.key}.csv"]
        return files | {form: [file.path for file in own] for form, own in self.further.items()}


def paper_page(catalogue: Catalogue, key: str) -> Page:
    """The page of a paper, one of `PAPERS`, as the config asks for it."""
    paper = PAPERS[key]
    tables = [paper_table(catalogue, study.name) for study in paper.tables]
    shown: list[File] = [*tables, *(paper_figure(catalogue, s.name) for s in paper.figures)]
    further: dict[str, list[File]] = {}
    for study in paper.studies:
        own, read = _section(catalogue, study)
        shown += own
        further |= {study.form: list(read)} if read else {}
    drawn = [*paper.figures, *(s for s in paper.studies if s.form == "cost_accuracy")]
    figures = [[s.printed or "Cost", s.caption, f"{s.place}.png"] for s in drawn]
    datasets = sorted({d for t in tables for d in t.study.settings["datasets"]})
    named = {"datasets": ", ".join(datasets)}
    named |= {"seeds": ", ".join(map(str, catalogue.config["seeds"]))}
    notes = [note.format(**named) for note in paper.known.get("page", ())]
    return Page(key, tables, figures, notes, shown, further)


def _section(catalogue: Catalogue, study: Study) -> tuple[Sequence[File], Sequence[File]]:
    """What a further section shows, and the files that it is read from."""
    match study.form:
        case "search_times" | "run_times":
            table = paper_table(catalogue, study.name)
            return [table], [table.long] if study.form == "search_times" else table.measurements
        case "detection":
            return detections(catalogue), [detection_table(catalogue)]
        case "cost_accuracy":
            return cost_measurements(catalogue), []
        case "inference_rule":
            return inference_rules(catalogue), [rule_table(catalogue)]
        case "mcnemar":
            return [], [mcnemar_table(catalogue)]
        case "score_detection":
            return all_scores(catalogue), [detection_runs(catalogue)]
    return [], []
