"""Tables of wall times: of the latent search over L and R (Defense-GAN's Table 13), and of a
one-pass purifier beside a search (Defense-VAE's Table 4). Of the first seed: times differ by no
seed."""

from purification.experiments.artifacts import File, RunTimes, Table, Timing
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.config_form import listed
from purification.experiments.papers import studies_of


def time_table(catalogue: Catalogue, name: str) -> Table:
    """A table of times, as the config asks for it."""
    study, seed = catalogue.study(name), catalogue.config["seeds"][0]
    searched = study.form == "search_times"
    find = search_times if searched else run_times
    timed = tuple(find(catalogue, name, dataset, seed) for dataset in study.settings["datasets"])
    notes = tuple(timing_notes(catalogue, name)) if searched else ()
    return Table(study, timed, notes=notes, papers=catalogue.printed_numbers(study.paper))


def search_times(catalogue: Catalogue, name: str, dataset: str, seed: int) -> Timing:
    """The times of one data set's search at each L and R."""
    return catalogue.timing(dataset, seed, catalogue.study(name).settings["defense"], name)


def run_times(catalogue: Catalogue, name: str, dataset: str, seed: int) -> RunTimes:
    """Those of one data set's one-pass purifier and of the search at each L and R, in turns."""
    study = catalogue.study(name)
    wanted = study.settings
    once = catalogue.for_classifier(wanted["defense"], wanted["classifier"])
    purifiers = {key: catalogue.purifier(dataset, seed, key) for key in (once, wanted["search"])}
    searches = {
        f"L{steps}_R{restarts}": {"steps": steps, "restarts": restarts}
        for steps in wanted["steps"]
        for restarts in wanted["restarts"]
    }
    return RunTimes(
        catalogue.dataset(dataset),
        seed,
        wanted["defense"],
        purifiers[once],
        purifiers[wanted["search"]],
        searches,
        {key: wanted[key] for key in ("images", "batch", "search_images", "repeats")},
        study.place_of_times(wanted["defense"]),
    )


def times_at(catalogue: Catalogue, form: str, dataset: str, seed: int, place: str) -> File:
    """The times of a form, `search_times` or `run_times`, by their place among those."""
    find = search_times if form == "search_times" else run_times
    known = []
    for study in studies_of(catalogue.config, form):
        defense = study.settings.get("defense", "")
        known.append(study.place_of_times(defense) or defense)
        if known[-1] == place:
            return find(catalogue, study.name, dataset, seed)
    raise ConfigError(f"no table of times asks for {place!r}; {listed(known)}")


def timing_notes(catalogue: Catalogue, table: str) -> list[str]:
    """What a reader of a table of search times must know of its settings, a paragraph each."""
    name = catalogue.study(table).settings["defense"]
    defense = catalogue.config["defenses"][name]
    network = catalogue.config["generators"][defense["generator"]]
    width = network.get("width", "its own")
    other = f", optimizer {defense['optimizer']}" if "optimizer" in defense else ""
    return [
        f"Search of `{name}`: step_size {defense['step_size']}, momentum {defense['momentum']}"
        f"{other}. "
        f"Generator `{defense['generator']}`: latent {network['latent']}, width {width}."
    ]
