"""The papers as data: which tables and figures each has, of which form, and what each shows.

A study is a section of the config for which something is measured: a table or figure of a paper, a
comparison across papers, or a table of the user's own (`tables` in the config). Its form decides
which settings it takes (`$defs/forms/<form>` in the schema), how it is made and how it is shown. A
new table of an existing form is one line here, its numbers in resources/papers and its section in
the config.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SWEPT_FORMS = ("over_epsilon", "over_steps", "over_restarts")
"""Tables that are cut from the measurements of the shared `sweep`."""
ATTACKED_FORMS = ("direct", "searches")
"""Tables of attacks on the defences themselves, in each threat model."""
ACCURACY_FORMS = (*ATTACKED_FORMS, "transferred", "unseen", *SWEPT_FORMS)
TIME_FORMS = ("search_times", "run_times")
TABLE_FORMS = (*ACCURACY_FORMS, *TIME_FORMS)
"""All forms of tables, each of them open to a user's own."""
PICTURE_FORMS = (
    *("reconstructions_over_search", "reconstructions_over_epsilon", "gray_box_pictures"),
    *("black_box_pictures", "samples", "corrupted_pictures", "purified_pictures", "low_scores"),
    "cleaned_pictures",
)
"""Figures of images, which have no points."""
_PLACES = {
    "detection": "detection",
    "inference_rule": "ae_gan/rule",
    "mcnemar": "cowboy/mcnemar",
    "score_detection": "cowboy/detection",
    "comparison": "comparison",
    "worst_case": "worst_case",
}
"""Further tables of a form of their own, where they lie."""


@dataclass(frozen=True)
class Study:
    """`name`: its section of the config. `paper`: the key of the paper whose it is, "" for none.

    `quirks`: in what it differs from others of its form: `over_latent`, a table whose defences
    differ in the length of the code; `accuracy`, a figure that shows accuracies as well; `printed`,
    one of which the paper prints numbers; `no_points`, one that has no CSV; `bare_times`, a table
    whose times lie under its defence's name alone. `of`: the studies that it is made of; without a
    section, of them alone. `settings`: what the config asks for (`study_of`).
    """

    name: str
    form: str
    caption: str = ""
    quirks: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    paper: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def number(self) -> str:
        """Such as `table4`; of a user's own its whole name."""
        return self.name.removeprefix(f"{self.paper}_") if self.paper else self.name

    @property
    def printed(self) -> str:
        """Its name in the paper, such as "Table 4"; of what is in none, ""."""
        kind = self.number.rstrip("0123456789")
        if not self.paper or kind not in ("table", "figure"):
            return ""
        return f"{kind.title()} {self.number.removeprefix(kind)}"

    @property
    def title(self) -> str:
        """Such as "Cowboy, Table 1"; of a user's own table its name."""
        return f"{PAPERS[self.paper].title}, {self.printed}" if self.printed else self.name

    @property
    def over_latent(self) -> bool:
        """Whether a defence is named in it with the length of its code."""
        return "over_latent" in self.quirks or self.settings.get("over_latent", False)

    @property
    def place(self) -> str:
        """Where it lies below the results, without suffix: Defense-GAN's tables there, another
        paper's tables and figures in a folder of its own."""
        if self.printed and self.paper != "defense_gan":
            return f"{self.paper}/{self.number}"
        if self.form in _PLACES:
            return _PLACES[self.form]
        return self.name if self.form in TABLE_FORMS else f"figures/{self.name}"

    def place_of_times(self, defense: str) -> str | None:
        """Where the times of a defence lie among others of their form; None: at its name."""
        return None if "bare_times" in self.quirks else f"{self.name}/{defense}"

    @property
    def files(self) -> list[str]:
        """All files of it below the results."""
        if self.form == "sweep":
            return []
        if self.form in TABLE_FORMS:
            suffixes: tuple[str, ...] = ("csv", "long.csv", "md")
        elif self.form in _PLACES:
            suffixes = ("csv",) if self.form == "detection" else ("csv", "md")
        else:
            bare = self.form in PICTURE_FORMS or "no_points" in self.quirks
            suffixes = ("png", "pdf") if bare else ("png", "pdf", "csv")
        return [f"{self.place}.{suffix}" for suffix in suffixes]


@dataclass(frozen=True)
class Paper:
    """`key`: its file in resources/papers; `title`: what its defence is called; `no_gradient`: why
    its white box of a search is another attack than ours; `studies`: in the order of its page."""

    key: str
    title: str
    no_gradient: str
    studies: tuple[Study, ...]

    @property
    def tables(self) -> list[Study]:
        """Its tables of accuracies."""
        return [study for study in self.studies if study.form in ACCURACY_FORMS]

    @property
    def times(self) -> list[Study]:
        """Its tables of times."""
        return [study for study in self.studies if study.form in TIME_FORMS]

    @property
    def figures(self) -> list[Study]:
        """Its numbered figures."""
        return [study for study in self.studies if study.printed.startswith("Figure")]


def _paper(key: str, title: str, no_gradient: str, *studies: Study) -> Paper:
    return Paper(key, title, no_gradient, tuple(replace(study, paper=key) for study in studies))


# A line a study, if it fits.
# fmt: off
_PAPERS = (
    _paper("defense_gan", "Defense-GAN",
        "in its published code no gradient passes the search",
        Study("table1", "transferred", "black-box attacks (the paper: MNIST)"),
        Study("table2", "transferred", "black-box attacks (the paper: Fashion-MNIST)"),
        Study("table3", "over_epsilon", "black-box FGSM of several strengths"),
        Study("table4", "direct", "white-box attacks, with the gray box and BPDA beside them"),
        Study("table8", "over_steps", "accuracy over the steps L (MNIST)"),
        Study("table9", "over_steps", "accuracy over the steps L (Fashion-MNIST)"),
        Study("table10", "over_restarts", "accuracy over the restarts R (MNIST)"),
        Study("table11", "over_restarts", "accuracy over the restarts R (Fashion-MNIST)"),
        Study("table12", "direct", "white-box attacks (the paper: CelebA)"),
        Study("table13", "search_times", "time of a reconstruction", quirks=("bare_times",)),
        Study("figure3", "accuracy_over_search", "accuracy over L and over R",
              of=("table8", "table10")),
        Study("figure4", "roc", "ROC of detection over L, R and epsilon (MNIST)",
              of=("table8", "table10")),
        Study("figure5", "roc", "ROC of detection over L, R and epsilon (Fashion-MNIST)",
              of=("table9", "table11")),
        Study("figure6", "reconstructions_over_search", "reconstructions over L and over R"),
        Study("figure7", "reconstructions_over_epsilon", "reconstructions over epsilon"),
        Study("figure8", "white_box_over_steps", "white-box accuracy over L"),
        Study("sweep", "sweep"),
        Study("detection", "detection"),
    ),
    _paper("defense_vae", "Defense-VAE",
        "copied from Defense-GAN, in whose published code no gradient passes the search",
        Study("defense_vae_table1", "direct",
              "attacks on the bare classifier, and on VAE and classifier"),
        Study("defense_vae_table2", "unseen", "attacks that the VAE has not seen"),
        Study("defense_vae_table3", "transferred", "black-box attacks"),
        Study("defense_vae_table4", "run_times", "seconds for 1,000 images",
              quirks=("bare_times",)),
        Study("defense_vae_table7", "direct", "as Table 1 (the paper: CIFAR-10 and CelebA)"),
        Study("defense_vae_table8", "transferred", "as Table 3 (the paper: CIFAR-10)"),
        Study("defense_vae_figure1", "gray_box_pictures",
              "originals, attacked, and purified by Defense-GAN and Defense-VAE"),
        Study("defense_vae_figure4", "finetuning",
              "accuracy under attack over the epochs of end-to-end training"),
        Study("defense_vae_figure5", "black_box_pictures", "the same under black-box attack"),
    ),
    _paper("ae_gan", "AE-GAN+rs",
        "its white box lies above its gray box, which a working gradient does not allow",
        Study("ae_gan_table1", "direct", "attacks in each threat model"),
        Study("ae_gan_table2", "searches", "searches with few steps, beside Defense-GAN's"),
        Study("ae_gan_table3", "direct",
              "the family: with and without discriminator, noise (r) and search (s)"),
        Study("ae_gan_table8", "direct", "lengths of the code", quirks=("over_latent",)),
        Study("ae_gan_table9", "direct", "as Table 1 (the paper: CelebA)"),
        Study("ae_gan_figure3", "one_pass_detection",
              "detection by the mean square error of one pass (MNIST)", quirks=("accuracy",)),
        Study("ae_gan_figure4", "samples", "samples of the BiGAN"),
        Study("ae_gan_figure5", "corrupted_pictures", "corrupted images, purified"),
        Study("ae_gan_figure6", "one_pass_detection",
              "detection by the mean absolute error (MNIST)", quirks=("printed",)),
        Study("ae_gan_figure7", "one_pass_detection",
              "detection by the mean absolute error (Fashion-MNIST)"),
        Study("ae_gan_figure8", "one_pass_detection",
              "detection by the mean square error (Fashion-MNIST)"),
        Study("ae_gan_figure9", "purified_pictures", "attacked and purified (MNIST)"),
        Study("ae_gan_figure10", "purified_pictures", "attacked and purified (Fashion-MNIST)"),
        Study("cost_accuracy", "cost_accuracy", "robust accuracy over generator evaluations"),
        Study("inference_rule", "inference_rule"),
    ),
    _paper("cowboy", "Cowboy", "",
        Study("cowboy_table1", "direct", "attacked and cleaned"),
        Study("cowboy_table2", "direct", "Cowboy beside the same search without the discriminator"),
        Study("cowboy_figure1", "toy", "a classifier's probability, two Gaussians",
              quirks=("no_points",)),
        Study("cowboy_figure2", "toy", "a discriminator's score, two Gaussians"),
        Study("cowboy_figure3", "scores",
              "the discriminator's scores of real and of attacked images"),
        Study("cowboy_figure4", "low_scores",
              "validation images of the lowest and of the highest score", of=("cowboy_figure3",)),
        Study("cowboy_figure5", "cleaned_pictures", "originals, attacked, and cleaned"),
        Study("cowboy_figure6", "cleaning_over_training",
              "accuracy after cleaning over the GAN's training"),
        Study("cowboy_figure7", "scores_over_training", "scores over the GAN's training",
              of=("cowboy_figure6",)),
        Study("cowboy_mcnemar", "mcnemar", of=("cowboy_table2",)),
        Study("cowboy_detection", "score_detection", of=("cowboy_figure3",)),
    ),
)
# fmt: on
PAPERS: Mapping[str, Paper] = {paper.key: paper for paper in _PAPERS}
STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        *(study for paper in _PAPERS for study in paper.studies),
        Study("generator_quality", "generator_quality"),
        Study("comparison", "comparison"),
        Study("worst_case", "worst_case"),
    )
}
"""All of them by their sections of the config, a paper's in its own order."""


def named(*forms: str) -> tuple[str, ...]:
    """The names of the papers' studies of these forms."""
    return tuple(name for name, study in STUDIES.items() if study.form in forms)


def study_of(config: Mapping[str, Any], name: str) -> Study | None:
    """A study of the papers, or a table of the user's own, with its settings in the config; None if
    there is none of that name."""
    own = config.get("tables", {}).get(name)
    if own is not None:
        settings = {key: value for key, value in own.items() if key != "form"}
        return Study(name, own["form"], settings=settings)
    study = STUDIES.get(name)
    if study is None or (name not in config and not study.of):
        return None
    return replace(study, settings=config.get(name, {}))


def studies_of(config: Mapping[str, Any], *forms: str) -> Iterator[Study]:
    """All studies of these forms (none given: of any) that the config has, the papers' first."""
    for name in dict.fromkeys((*STUDIES, *config.get("tables", ()))):
        study = study_of(config, name)
        if study is not None and (study.form in forms or not forms):
            yield study


def wrong_tables(config: Mapping[str, Any]) -> Iterator[str]:
    """Tables of the user's own whose files would be others', a line each."""
    taken = {name.casefold() for name in (*STUDIES, *PAPERS)}
    for name in config.get("tables", {}):
        if name.casefold() in taken:
            yield (
                f"tables: the name {name!r} is taken, by a section or a result of the papers: give "
                "your table another"
            )
