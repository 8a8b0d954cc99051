"""Later purifiers beside the papers': the figures around the leaderboard `modern`, and the study of
how much noise a diffusion purifier adds."""

from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.artifacts import (
    AttackedAdaptively,
    CleanedByEach,
    Made,
    files_in,
    told,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import picture_title, shown_name
from purification.experiments.config import ConfigError
from purification.experiments.leaderboard import row_labels, rows_and_cells
from purification.experiments.names import PLAIN

BOARD = "modern"
_WHOLE = ("white_box", "white_box_bpda")


def evaluations_figure(catalogue: Catalogue) -> Made:
    """Accuracy over evaluations. Its job is told of each randomised defence of the leaderboard
    `modern` its set on `fresh` draws and that on a draw which the attacker `known`."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in _rows_of_first_seed(catalogue):
        labels, attacked = row["labels"], row["attacked"]
        if "protocol" in labels:
            name = (labels["dataset"], labels["classifier"], attacked.defense)
            own = found.setdefault(name, {"labels": _without_protocol(labels)})
            own["known" if attacked.known_draw else "fresh"] = attacked
    if not found:
        raise ConfigError(f"{BOARD}.defenses: none of them is randomised: there are no evaluations")
    _check_every_image(found.values())
    return _figure("modern_evaluations", {"rows": list(found.values())})


def costs_figure(catalogue: Catalogue) -> Made:
    """Accuracy over the cost of a purification: its job is told the rows of the leaderboard."""
    return _figure("modern_costs", {"rows": _rows_of_first_seed(catalogue)})


def draws_figure(catalogue: Catalogue) -> Made:
    """Accuracy over the draws of a look. Its job is told of each defence its set under the cascade,
    and of which stage there each `expectation` is."""
    settings = catalogue.study("modern_draws").settings
    rows = []
    for dataset, seed in _runs(catalogue, "modern_draws"):
        for classifier in settings["classifiers"]:
            for defense in settings["defenses"]:
                run = (dataset, seed, settings["cascade"], defense, classifier)
                attacked = catalogue.cascade(*run)
                labels = row_labels(catalogue, dataset, seed, classifier, defense)
                numbers = _expectations(attacked)
                rows.append({"labels": labels, "attacked": attacked, "expectations": numbers})
    _check_every_image(rows)
    return _figure("modern_draws", {"rows": rows})


def _expectations(attacked: AttackedAdaptively) -> dict[str, int]:
    """The numbers of a cascade's stages in the white box by the draws of their looks. One that goes
    on is none of them: what it made is not its own."""
    found: dict[str, int] = {}
    for number, stage in enumerate(attacked.stages):
        if stage.threat_model == _WHOLE[0] and stage.begin is None:
            draws = str(stage.attack.settings.get("expectation", 1))
            if draws in found:
                raise ConfigError(
                    f"cascades.{attacked.cascade}: two stages of `randomised` in the white box "
                    f"have the same expectation, {draws}, and the figure has one point for each"
                )
            found[draws] = number
    if len(found) < 2:
        raise ConfigError(
            f"cascades.{attacked.cascade}: expected at least two stages of `randomised` in the "
            f"white box, with another expectation each; got {len(found)}"
        )
    return found


def _check_every_image(rows: Any) -> None:
    sets = [row[key] for row in rows for key in ("fresh", "known", "attacked") if key in row]
    for attacked in sets:
        if not attacked.every_image:
            raise ConfigError(
                f"cascades.{attacked.cascade}: the figure shows what each attack leaves by itself: "
                "it needs `every_image: true`"
            )


def pictures_figure(catalogue: Catalogue) -> Made:
    """The same attacked images, cleaned by each defence: a part for each data set and
    classifier."""
    settings = catalogue.study("modern_pictures").settings
    parts = []
    for dataset, seed in _runs(catalogue, "modern_pictures"):
        for classifier in settings["classifiers"]:
            made = cleaned_by_each(catalogue, dataset, seed, classifier)
            title = f"{dataset}, classifier {classifier}: {picture_title([made.attacked])}"
            named = {name: shown_name(catalogue, name) for name in settings["defenses"]}
            parts.append({"title": title, "cleaned": made, "defenses": named})
    return _figure("modern_pictures", {"parts": parts})


def cleaned_by_each(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str
) -> CleanedByEach:
    """What each defence of the figure `modern_pictures` makes of the same attacked images."""
    settings = catalogue.study("modern_pictures").settings
    purifiers, classifiers = {}, {}
    for defense in settings["defenses"]:
        name = catalogue.for_classifier(defense, classifier)
        purifiers[defense] = catalogue.purifier(dataset, seed, name)
        classifiers[defense] = catalogue.deployed(dataset, seed, defense, classifier)
    attack = settings["attack"]
    bare = catalogue.attacked_classifier(dataset, seed, PLAIN, classifier, attack)
    data = catalogue.dataset(dataset)
    return CleanedByEach(data, seed, bare, settings["images"], purifiers, classifiers)


def time_table(catalogue: Catalogue) -> Made:
    """The study of t*. Its job is told of each t* the set under the cascade, and which is that of
    the config."""
    settings, rows = catalogue.study("modern_time").settings, list[dict[str, Any]]()
    split = catalogue.cascade_settings(settings["cascade"]).get("split", "test")
    if split != "validation":
        raise ConfigError(
            f"modern_time.cascade: cascades.{settings['cascade']}.split is {split}: a setting is "
            "chosen on validation images"
        )
    for dataset, seed in _runs(catalogue, "modern_time"):
        for classifier in settings["classifiers"]:
            for defense in settings["defenses"]:
                rows += _over_time(catalogue, dataset, seed, classifier, defense)
    content = {"rows": rows, "digests": [file.digest for file in files_in(rows)]}
    return Made("results/modern_time.md", told(content))


def _over_time(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, defense: str
) -> Iterator[dict[str, Any]]:
    settings = catalogue.study("modern_time").settings
    own = catalogue.defense_settings(defense)["time"]
    for time in settings["times"]:
        name = catalogue.defense_at_time(defense, time)
        attacked = catalogue.cascade(dataset, seed, settings["cascade"], name, classifier)
        labels = row_labels(catalogue, dataset, seed, classifier, defense)
        network = attacked.purifier and attacked.purifier.networks["generator"]
        yield {
            "labels": labels,
            "time": time,
            "is_default": time == own,
            "attacked": attacked,
            "network": network,
        }


def _runs(catalogue: Catalogue, study: str) -> list[tuple[str, int]]:
    """Those of the first seed."""
    first = catalogue.config["seeds"][0]
    return [run for run in catalogue.runs(study) if run[1] == first]


def _rows_of_first_seed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The rows of the leaderboard `modern` that figures show."""
    first = catalogue.config["seeds"][0]
    rows, _ = rows_and_cells(catalogue, BOARD)
    return [row for row in rows if row["labels"]["seed"] == first]


def _without_protocol(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in labels.items() if k not in ("protocol", "evaluations", "draws")}


def _figure(name: str, content: Mapping[str, Any]) -> Made:
    digests = [file.digest for file in files_in(content)]
    return Made(f"results/figures/{name}.png", told({"name": name, **content, "digests": digests}))
