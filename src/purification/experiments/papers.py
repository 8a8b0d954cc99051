"""The papers as data: which tables and figures each has, of which form, and what each shows.

A study is a section of the config for which something is measured: a table or figure of a paper, a
comparison across papers, or a table of the user's own (`tables` in the config). Its form decides
which settings it takes (`$defs/forms/<form>` in the schema), how it is made and how it is shown. A
new table of an existing form is one line in resources/papers/<paper>.yaml, its numbers in the CSV
beside it and its section in the config.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from purification import shipped

SWEPT_FORMS = ("over_epsilon", "over_steps", "over_restarts")
"""Tables that are cut from the measurements of the shared `sweep`."""
ATTACKED_FORMS = ("direct", "searches")
"""Tables of attacks on the defences themselves, in each threat model."""
ACCURACY_FORMS = (*ATTACKED_FORMS, "transferred", "unseen", *SWEPT_FORMS)
TIME_FORMS = ("search_times", "run_times")
TABLE_FORMS = (*ACCURACY_FORMS, *TIME_FORMS)
"""All forms of tables, each of them open to a user's own."""
BARE_FORMS = (
    *("accuracy_over_search", "mcnemar", "accuracy_over_evaluations", "accuracy_over_costs"),
)
"""Made of other studies alone: the config has no section of them."""
PICTURE_FORMS = (
    *("reconstructions_over_search", "reconstructions_over_epsilon", "gray_box_pictures"),
    *("black_box_pictures", "samples", "corrupted_pictures", "purified_pictures", "low_scores"),
    "cleaned_pictures",
)
"""Figures of images, which have no points."""
_SHOWN = {
    "detection": "detection by the reconstruction error",
    "inference_rule": "what the inference rule searches, costs and saves",
    "mcnemar": "with and without the discriminator, image by image",
    "score_detection": "detection by the discriminator's score",
    "cost_accuracy": "robust accuracy over generator evaluations",
    "generator_quality": "quality of generators, and accuracies behind their defenses",
    "comparison": "the papers' numbers beside ours",
    "worst_case": "accuracy under the best of several attacks, image by image",
    "accuracy_l2": "accuracy over the l2 norm of attacks without a bound",
    "leaderboard": "accuracy that is left under a cascade of attacks",
    "accuracy_over_evaluations": "accuracy over evaluations, on fresh and on known draws",
    "accuracy_over_costs": "accuracy over the cost of a purification",
    "accuracy_over_draws": "accuracy over the draws of a look (EOT)",
    "cleaned_by_each": "the same attacked images, cleaned by each defense",
    "accuracy_over_time": "how much noise a diffusion purifier adds, on validation images",
}
"""Of forms that are no printed table or figure."""


@dataclass(frozen=True)
class Study:
    """As a paper's YAML has it (resources/papers/README.md), with the key of the `paper`, "" for
    none, and as `settings` what the config asks for (`study_of`)."""

    name: str
    form: str
    caption: str = ""
    quirks: Sequence[str] = ()
    of: Sequence[str] = ()
    at: str = ""
    files: Sequence[str] | None = None
    paper: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def printed(self) -> str:
        """Its name in the paper, such as "Table 4"; of what is in none, ""."""
        number = self._number
        kind = number.rstrip("0123456789")
        numbered = self.paper and kind in ("table", "figure")
        return f"{kind.title()} {number.removeprefix(kind)}" if numbered else ""

    @property
    def _number(self) -> str:
        return self.name.removeprefix(f"{self.paper}_")

    @property
    def title(self) -> str:
        """Such as "Cowboy, Table 1"; of a user's own table its name."""
        return f"{PAPERS[self.paper].title}, {self.printed}" if self.printed else self.name

    @property
    def shown(self) -> str:
        """What it shows; "" for a user's own table."""
        return self.caption or _SHOWN.get(self.form, "")

    @property
    def over_latent(self) -> bool:
        """Whether a defence is named in it with the length of its code."""
        return "over_latent" in self.quirks or self.settings.get("over_latent", False)

    @property
    def place(self) -> str:
        """Where it lies below the results, without suffix: Defense-GAN's tables there, another
        paper's tables and figures in a folder of its own."""
        if self.printed and self.paper != "defense_gan":
            return f"{self.paper}/{self._number}"
        return self.at or (self.name if self.form in TABLE_FORMS else f"figures/{self.name}")

    def place_of_times(self, defense: str) -> str | None:
        """Where the times of a defence lie among others of their form; None: at its name."""
        return None if "bare_times" in self.quirks else f"{self.name}/{defense}"

    @property
    def paths(self) -> list[str]:
        """Those of all its files."""
        ends: Sequence[str] = (
            ("csv", "long.csv", "md") if self.form in TABLE_FORMS else ("png", "pdf", "csv")
        )
        ends = ends[:2] if self.form in PICTURE_FORMS else ends
        return [
            f"results/{self.place}.{end}" for end in (ends if self.files is None else self.files)
        ]


@dataclass(frozen=True)
class Paper:
    """`key`: the name of its files in resources/papers; `known`: the content of its YAML;
    `studies`: in the order of its page."""

    key: str
    known: Mapping[str, Any]
    studies: Sequence[Study]

    @property
    def title(self) -> str:
        """What its defence is called."""
        return str(self.known["title"])

    @property
    def cited(self) -> str:
        """Its authors and year."""
        return str(self.known["cited"])

    @property
    def no_gradient(self) -> str:
        """Why its white box of a search is another attack than ours; "" if it has none."""
        return str(self.known.get("no_gradient", ""))

    @property
    def tables(self) -> list[Study]:
        """Its tables of accuracies."""
        return [study for study in self.studies if study.form in ACCURACY_FORMS]

    @property
    def figures(self) -> list[Study]:
        """Its numbered figures."""
        return [study for study in self.studies if study.printed.startswith("Figure")]


def read_papers(folder: Path) -> dict[str, Paper]:
    """The papers of a folder by their keys."""
    papers = {}
    # Defense-GAN first, whose tables the others' are like.
    for file in sorted(folder.glob("*.yaml"), key=lambda f: (f.stem != "defense_gan", f.stem)):
        # libyaml's loader, where it is: every job reads them.
        known = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        studies = [Study(**study, paper=file.stem) for study in known["studies"]]
        papers[file.stem] = Paper(file.stem, known, studies)
    return papers


PAPERS: Mapping[str, Paper] = read_papers(shipped.PAPERS)
# Of config/modern.yaml, whose defences are in none of the four papers.
_LATER = {
    **{"jpeg": "JPEG", "bit_depth": "bit depth", "median": "median filter"},
    **{"gaussian_blur": "Gaussian blur", "total_variation": "total variation"},
    **{"resize_and_pad": "resizing and padding", "gaussian_noise": "Gaussian noise"},
    **{"gaussian_noise rec": "Gaussian noise, trained on it", "diffpure": "DiffPure"},
    **{"diffpure_flow": "DiffPure, probability flow", "one_step": "one-step denoising"},
    **{"one_step_mean": "one-step denoising, mean", "guided_diffpure": "guided DiffPure"},
    **{"likelihood_maximisation": "likelihood maximisation"},
}
_NAMES: Mapping[str, str] = _LATER | {
    key: name for paper in PAPERS.values() for key, name in paper.known.get("names", {}).items()
}
_LEADERBOARD = ("csv", "md", "html", "times.csv")
_MODERN = ("modern",)
STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        *(study for paper in PAPERS.values() for study in paper.studies),
        Study("generator_quality", "generator_quality"),
        Study("comparison", "comparison", at="comparison", files=("csv", "md")),
        Study("worst_case", "worst_case", at="worst_case", files=("csv", "md")),
        Study("accuracy_l2", "accuracy_l2"),
        Study("leaderboard", "leaderboard", at="leaderboard", files=_LEADERBOARD),
        Study("modern", "leaderboard", at="modern", files=_LEADERBOARD),
        Study("modern_evaluations", "accuracy_over_evaluations", of=_MODERN),
        Study("modern_costs", "accuracy_over_costs", of=_MODERN),
        Study("modern_draws", "accuracy_over_draws"),
        Study("modern_pictures", "cleaned_by_each", files=("png", "pdf", "csv")),
        Study("modern_time", "accuracy_over_time", at="modern_time", files=("csv", "md")),
    )
}
"""All of them by their sections of the config, a paper's in its own order."""


def paper_name(defense: str, variant: str = "") -> str:
    """What papers call a defence, by the columns that name it in a table: "AE-GAN+rs", or "MagNet,
    latent 20". One of the user's own keeps its name."""
    if (whole := f"{defense} {variant}".strip()) in _NAMES:
        return _NAMES[whole]
    # The first part of a variant may have a name, such as rs of rs;latent=20.
    first, *rest = variant.split(";")
    if (start := f"{defense} {first}") not in _NAMES:
        start, rest = defense, [first, *rest]
    # Adversarial training at the strength of the table's own attacks.
    parts = [part.replace("=", " ").replace("eps ", "ε = ") for part in rest if part]
    return ", ".join([_NAMES.get(start, start), *parts])


def named(*forms: str) -> tuple[str, ...]:
    """The names of the papers' studies of these forms."""
    return tuple(name for name, study in STUDIES.items() if study.form in forms)


def study_of(config: Mapping[str, Any], name: str) -> Study | None:
    """A study, or a user's own table, with its settings in the config; None if there is none."""
    own = config.get("tables", {}).get(name)
    if own is not None:
        settings = {key: value for key, value in own.items() if key != "form"}
        return Study(name, own["form"], settings=settings)
    study = STUDIES.get(name)
    if study is None or (name not in config and study.form not in BARE_FORMS):
        return None
    return replace(study, settings=config.get(name, {}))


def studies_of(config: Mapping[str, Any], *forms: str) -> Iterator[Study]:
    """All studies of these forms (none given: of any) that the config has, the papers' first."""
    own = {name: table for name, table in config.get("tables", {}).items() if table is not None}
    for name in dict.fromkeys((*STUDIES, *own)):
        form = own[name]["form"] if name in own else STUDIES[name].form
        study = study_of(config, name) if form in forms or not forms else None
        if study is not None and all(other in config for other in study.of):
            yield study


def place_of(study: Study) -> str:
    """Where a study's settings stand in the config."""
    return study.name if study.name in STUDIES else f"tables.{study.name}"


def wrong_tables(config: Mapping[str, Any]) -> Iterator[str]:
    """Tables of the user's own whose files would be others', a line each."""
    taken = {name.casefold() for name in (*STUDIES, *PAPERS)}
    for name in config.get("tables", {}):
        if name.casefold() in taken:
            yield (
                f"tables: the name {name!r} is taken, by a section or a result of the papers: give "
                "your table another"
            )
