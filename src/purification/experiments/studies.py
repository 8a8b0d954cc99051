"""Rules of tables and figures that take more than one key: `rules` of their forms in the schema.

All that a study names is there; these say whether it goes together.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from purification.experiments.image_counts import (
    ATTACKERS_IMAGES,
    available,
    beyond,
    named,
    too_many_images,
    too_many_validation_images,
)
from purification.experiments.methods import least_epsilon, stated
from purification.experiments.papers import Study, studies_of
from purification.experiments.quirks import CONCERNED, KEY
from purification.experiments.references import (
    Takes,
    Wrong,
    kind_of,
    purifier_of,
    randomised,
    unknown,
)
from purification.facts import holds_for

Settings = Mapping[str, Any]


def encoder_column(config: Settings, defense: Settings) -> tuple[str, str]:
    """Name and variant of a defence with an encoder, as AE-GAN+rs's tables print them: `ae_gan`,
    `rs`. With the inference rule the variant says so."""
    generator = config["generators"][defense["generator"]]
    family = "ae" if generator.get("adversarial") == "none" else kind_of(generator)
    variant = ("r" if generator.get("noise_bound") else "") + ("s" if "steps" in defense else "")
    rule = ";rule" if "rule" in defense else ""
    return defense.get("column", family), (variant or "base") + rule


def columns(config: Settings, table: Study) -> Wrong:
    """Two defences that would fill one column of a table, which would be refused at its end."""
    taken: dict[tuple[Any, ...], str] = {}
    named: dict[tuple[Any, ...], list[str]] = {}
    column: tuple[Any, ...]
    for name in table.settings["defenses"]:
        defense = config["defenses"][name]
        if defense["method"] == "adversarial_training":
            strength = "pgd" if defense.get("attack") == "pgd" else defense["epsilon"]
            column, own, what = ("trained", strength), name, "are the same adversarial training"
        elif defense["method"] == "defense_vae_e2e":
            column, own = ("together", defense["from_scratch"]), name
            what = "have one column, Defense-VAE's E2E"
        else:
            own = purifier_of(config, name)
            settings = config["defenses"][own]
            label: tuple[str, ...] = (settings.get("column", own),)
            if settings["method"] == "ae_gan":
                label = encoder_column(config, settings)
            generator = config["generators"].get(settings.get("generator"), settings)
            length = generator.get("latent") if table.over_latent else None
            column = (label, length, defense["classifier"])
            what = f"have one column, {' '.join(label)!r}"
        twin = taken.setdefault(column, own)
        if twin != own:
            yield "defenses", f"{twin!r} and {own!r} {what}"
        if "classifier" in defense:
            others = named.setdefault(column, [])
            yield from (line for other in others for line in _alike(config, other, name))
            others.append(name)


def _alike(config: Settings, one: str, other: str) -> Wrong:
    """Two defences of one column, with other quirks of published code: threat models of both that
    no quirk concerns would be two equal rows."""
    first, second = (config["defenses"][name] for name in (one, other))
    different = {*first.get(KEY, ())} ^ {*second.get(KEY, ())}
    concerned = {model for quirk in different for model in CONCERNED[quirk]}
    both = [m for m in first["threat_models"] if m in second["threat_models"]]
    if different and (same := [m for m in both if m not in concerned]):
        yield (
            f"/defenses.{other}.threat_models",
            f"{{place}}: {one!r} and {other!r} are one column but for their quirks, which do not "
            f"concern {', '.join(same)}: leave that to one of them",
        )


def transferred(config: Settings, table: Study) -> Wrong:
    """Transferred attacks come with pairs and an oracle, and are attacks of the table; what pairs
    attack is among its classifiers."""
    if len({key in table.settings for key in ("pairs", "transferred", "oracle")}) > 1:
        yield "", "pairs, transferred and oracle go together"
    for name in table.settings.get("transferred", ()):
        yield from (("transferred", text) for text in unknown(name, table.settings["attacks"]))
    classifiers = table.settings["classifiers"]
    for pair in table.settings.get("pairs", ()):
        if (target := pair.partition("/")[0]) not in classifiers:
            told = f"{target} is none of the table's classifiers: {', '.join(classifiers)}"
            yield "pairs", f"{pair!r}: {told}"
    if "pairs" in table.settings:
        yield from hold_out(config, table)
        for name in dict.fromkeys([*table.settings["defenses"], table.settings.get("oracle", "")]):
            if randomised(config, name):
                yield "pairs", f"{name!r} is randomised, and is not judged on transferred attacks"


def hold_out(config: Settings, study: Study) -> Wrong:
    """The black-box attacker's images are measured on by nobody else."""
    named: list[str] = []  # a picture shows its first images, whatever is purified of clean ones
    if "pair" not in study.settings:
        swept = "pairs" not in study.settings
        named = (config["sweep"] if swept else study.settings)["defenses"]
        yield from too_many_validation_images(config) if swept else ()
    limits = [("datasets", "test", name) for name in study.settings["datasets"]]
    purifiers = dict.fromkeys(purifier_of(config, name) for name in named)
    limits += [("defenses", "clean_images", name) for name in purifiers]
    for section, key, name in limits:
        images = config[section][name].get(key)
        if images is not None and images <= ATTACKERS_IMAGES:
            yield (
                section,
                f"the black-box attacker has the first {ATTACKERS_IMAGES} test images, and "
                f"{section}.{name}.{key} is {images}: make it larger, or name another here",
            )


def compared(config: Settings, comparison: Study) -> Wrong:
    """The first two defences may differ in the discriminator's part alone."""
    [table] = comparison.of
    place, pair = f"/{table}.defenses", config[table]["defenses"][:2]
    if len(pair) < 2:
        yield place, f"two are compared; got {pair}"
        return
    purifiers = {name: config["defenses"][purifier_of(config, name)] for name in config["defenses"]}
    allowed = [
        name
        for name, purifier in purifiers.items()
        if purifier["method"] == "cowboy"
        and not randomised(config, name)
        and "gray_box" in config["defenses"][name].get("threat_models", ())
    ]
    for name in pair:
        models = config["defenses"][name].get("threat_models", ())
        if purifiers[name]["method"] != "cowboy":
            yield from ((place, text) for text in unknown(name, allowed))
        elif "gray_box" not in models:
            needed = f"{place[1:]} needs gray_box; got {', '.join(models)}"
            yield f"/defenses.{name}.threat_models", needed
        elif randomised(config, name):
            yield place, f"{name!r} is randomised: no two single draws are compared"
    first, second = (config["defenses"][name] for name in pair)
    for key in ("generator", "steps", "restarts", "classifier"):
        if first.get(key) != second.get(key):
            yield place, f"{pair[0]!r} and {pair[1]!r} are compared, and differ in their {key}"


def common_dataset(config: Settings, figure: Study) -> Wrong:
    """Figure 3 shows one data set over L and over R."""
    one, other = figure.of
    if not set(config[one]["datasets"]) & set(config[other]["datasets"]):
        yield (
            f"/{other}.datasets",
            "Figure 3 shows a data set of Tables 8 and 10; none is in both",
        )


def random_step(config: Settings, study: Study) -> Wrong:
    """Strengths of an attack that are no greater than the random step within it."""
    attack = study.settings.get("attack") or config["sweep"]["attack"]
    part, least = least_epsilon(config["attacks"][attack])
    for epsilon in study.settings["epsilons"]:
        if part and epsilon <= least:
            yield (
                "epsilons",
                f"{epsilon} is not above attacks.{attack}.{part} = {least}, the random step that "
                "is part of it",
            )


def one_toy(config: Settings, figure: Study) -> Wrong:
    """Cowboy's Figures 1 and 2 are drawn by one job, of one training."""
    settings = {study.name: dict(study.settings) for study in studies_of(config, figure.form)}
    if any(other != figure.settings for other in settings.values()):
        names = " and ".join(settings)
        yield "", f"{names} show one training, and must have the same settings; got {settings}"


def one_search(config: Settings, sweep: Study) -> Wrong:
    purifiers = {purifier_of(config, name) for name in sweep.settings["defenses"]}
    if len(purifiers) > 1:
        yield "defenses", f"one search serves them all, and these have {len(purifiers)}"


def images(config: Settings, study: Study) -> Wrong:
    """No more than the data sets have: of every study."""
    yield from too_many_images(config, study.settings)


def draws(config: Settings, study: Study) -> Wrong:
    """An attack by the mean over draws, and one that ends at its first success, beside what has
    draws, and has none: of every study."""
    for name in named(study.settings, "attacks"):
        yield from _against_draws(config, study, name)


def _against_draws(config: Settings, study: Study, name: str) -> Wrong:
    """The same, of one attack."""
    attack = config["attacks"].get(name, {})
    facts = stated("attacks", attack.get("method", ""))
    drawn = [one for one in named(study.settings, "defenses") if randomised(config, one)]
    if attack.get("expectation", 1) > 1 and not drawn:
        yield (
            f"/attacks.{name}.expectation",
            "{place} has no randomised defense, of which there are draws to take the mean of; "
            f"got {attack['expectation']}",
        )
    elif drawn and facts.get("generator"):
        yield (
            "attacks",
            f"{name!r} searches the codes at which a defense arrives, and {drawn[0]!r}, which "
            "is randomised, arrives at others in each draw",
        )
    elif drawn and holds_for(facts.get("ends_early"), attack):
        for defense in drawn:
            models = config["defenses"][defense]["threat_models"]
            if fresh := {"white_box", "white_box_bpda"} & set(models):
                yield (
                    "attacks",
                    f"{name!r} ends at an image's first success, which on one draw of "
                    f"{defense!r} is luck; that is randomised, and measured in "
                    f"{', '.join(sorted(fresh))}",
                )


def takes(config: Settings, study: Study, *, protocols: bool) -> Takes:
    """Which defences and attacks that are of the right kind a study takes. `protocols`: whether its
    form has any for randomised defences."""

    def taken(section: str, name: str) -> bool:
        if section == "attacks":
            return not any(_against_draws(config, study, name))
        if section == "defenses":
            judged = protocols and "pairs" not in study.settings
            rule = _ONE_BY_ONE.get(study.form, lambda *_: ())
            alone = replace(study, settings={"defenses": [name]})
            return (judged or not randomised(config, name)) and not any(rule(config, alone))
        return True

    return taken


def detectors(config: Settings, _: Study) -> Wrong:
    """The purifiers of Table 4 are detectors by one score an image."""
    for name in config.get("table4", {}).get("defenses", ()):
        if randomised(config, name):
            yield (
                "/table4.defenses",
                f"{{place}} looks at all of them, and {name!r} is randomised: it has a score for "
                "each draw, of which there is no protocol here yet",
            )


def beyond_pruning(config: Settings, figure: Study) -> Wrong:
    pruned = config["defenses"][figure.settings["defense"]].get("prune") or [[0, 1]]
    if min(figure.settings["steps"]) <= pruned[-1][0]:
        yield "steps", f"must be above the steps of defenses.{figure.settings['defense']}.prune"


def timed(config: Settings, table: Study) -> Wrong:
    """Each data set has the images that are timed: a time for fewer is another number."""
    for key in {"largest_batch", "images", "search_images"} & table.settings.keys():
        for name in table.settings["datasets"]:
            limit = (f"datasets.{name}.test", available(config, name, "test"))
            yield from beyond(key, table.settings[key], *limit)


def timed_sets(config: Settings, table: Study) -> Wrong:
    """So have the validation images and the attacked ones."""
    yield from timed(config, table)
    wanted = table.settings
    limits = {
        f"datasets.{name}.validation": available(config, name, "validation")
        for name in wanted["datasets"]
    }
    for attack in wanted["attacks"]:
        number = config["attacks"][attack]["images"]["gray_box"]
        limits[f"attacks.{attack}.images.gray_box"] = number
    for limit, there in limits.items():
        yield from beyond("images", wanted["images"], limit, there)


def panels(config: Settings, figure: Study) -> Wrong:
    begun: dict[bool, str] = {}
    for name in figure.settings["defenses"]:
        twin = begun.setdefault(config["defenses"][name]["from_scratch"], name)
        if twin != name:
            yield "defenses", f"{twin!r} and {name!r} would be one line of one panel"


def lines(config: Settings, figure: Study) -> Wrong:
    """The lines of accuracy over cost are of searches as they are, in the figure's threat models,
    and one of them is that which the others are compared with."""
    wanted = figure.settings["reference"]
    allowed = figure.settings["lines"][wanted["defense"]].get("restarts", [None])
    if wanted.get("restarts") not in allowed:
        expected = f"one of {allowed}" if allowed != [None] else "left out, as in its line"
        yield "reference.restarts", f"must be {expected}; got {wanted.get('restarts')}"
    for name, grid in figure.settings["lines"].items():
        own = config["defenses"][name]
        searched = config["defenses"][purifier_of(config, name)]
        if ("restarts" in grid) != ("restarts" in searched):
            which = "needs" if "restarts" in searched else "has no"
            yield f"lines.{name}", f"this search {which} restarts"
        if missing := set(figure.settings["threat_models"]) - set(own["threat_models"]):
            yield (
                f"/defenses.{name}.threat_models",
                f"{{place}} needs {', '.join(sorted(missing))}; got "
                f"{', '.join(own['threat_models'])}",
            )


def quality(config: Settings, study: Study) -> Wrong:
    """Generators with a prior, before the classifier that is attacked."""
    for name in study.settings["defenses"]:
        if (deployed := config["defenses"][name]["classifier"]) != "originals":
            yield (
                f"/defenses.{name}.classifier",
                "{place}.defenses needs originals, the classifier that is attacked; got "
                f"{deployed}",
            )
        generator = config["defenses"][purifier_of(config, name)]["generator"]
        if config["generators"][generator].get("adversarial") == "none":
            yield (
                "defenses",
                f"{name!r} has the generator {generator!r}, which was trained without "
                "discriminator (adversarial: none): there are no codes to sample",
            )


_ONE_BY_ONE = {"generator_quality": quality}
"""By the form of a study, its rule that looks at each defence by itself."""
