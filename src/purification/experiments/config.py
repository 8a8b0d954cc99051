"""The config, checked before the DAG is built: form by the schema, then the references in it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from purification.experiments.artifacts import CELEBA_IMAGES, TEST_IMAGES, TRAINING_IMAGES
from purification.experiments.config_form import (
    listed,
    prepared,
    unknown,
    wrong_data_root,
    wrong_form,
    wrong_names,
    wrong_values,
)
from purification.experiments.image_counts import ATTACKERS_IMAGES, SWEPT, too_many_images
from purification.experiments.papers import (
    ACCURACY_FORMS,
    ATTACKED_FORMS,
    STUDIES,
    Study,
    named,
    studies_of,
    wrong_tables,
)
from purification.plugins import place_of_file, problem_with

OWN_CODE = {
    "datasets": "source",
    "classifiers": "architecture",
    "attacks": "method",
    "defenses": "method",
}
"""Sections whose entries may name a user's own code, and the key that does."""
SEARCHES = ("defense_gan",)
"""Methods that search a latent space from random starts: swept, and timed in Table 13."""
STEPPED = (*SEARCHES, "ae_gan", "cowboy")
"""Methods whose search has steps L."""
KINDS_OF = {"defense_gan": ("wgan_gp",), "ae_gan": ("ae_gan", "bigan"), "cowboy": ("gan",)}
"""The kinds of generator that a method can have; a user's own: any."""
WGAN_GP = "wgan_gp"
"""The kind of a generator that names none."""

_PICTURES = ("defense_vae_figure1", "defense_vae_figure5")
_FINETUNING = "defense_vae_figure4"
_VAES = ("defense_vae", "defense_vae_e2e")


class ConfigError(ValueError):
    """The config is wrong; the message lists every place, with what was expected there."""


def check_config(config: Mapping[str, Any], schema_file: Path) -> dict[str, Any]:
    """The config as all that comes after reads it: a copy without the entries that an overlay has
    removed, and with `~` in `data_root` expanded (`config_form.prepared`).

    Raises ConfigError naming each wrong place and what is allowed there. References are looked at
    only when the form is right, numbers of images when the references are.
    """
    # libyaml's loader, where it is: the schema is read at the start of every job.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema = yaml.load(schema_file.read_text(), Loader=loader)
    made = prepared(config)
    for check in (_wrong_form, _wrong_references, _wrong_numbers):
        if problems := dict.fromkeys(check(made, schema)):
            lines = "\n".join(f"  {line}" for line in problems)
            raise ConfigError(f"the config is wrong:\n{lines}")
    return made


def _wrong_form(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    values = list(wrong_values(config))
    form = list(wrong_form(config, schema))
    yield from [*values, *form]
    if not values and not form:
        yield from wrong_data_root(config["data_root"])
        yield from wrong_names(config, schema["$defs"]["column"]["not"]["enum"])
        yield from wrong_tables(config)
        for name, own in config.get("tables", {}).items():
            # As that of a paper's table of the form; of these AE-GAN+rs's may have the most.
            like = {"direct": "ae_gan_table1"}.get(own["form"], named(own["form"])[0])
            settings = {key: value for key, value in own.items() if key != "form"}
            same = {**schema, "required": [], "properties": schema["properties"] | {name: True}}
            same["properties"][name] = schema["properties"][like]
            yield from (f"tables.{line}" for line in wrong_form({name: settings}, same))


def _wrong_numbers(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    yield from too_many_images(config)
    yield from _misfitting(config, schema)


def _wrong_references(config: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_files(config)
    for section, key in OWN_CODE.items():
        for name, entry in config[section].items():
            problem = problem_with(entry[key]) if ":" in entry[key] else None
            if problem:
                yield f"{section}.{name}.{key}: {problem}"
    for study in studies_of(config, *ATTACKED_FORMS, "transferred", "unseen"):
        for section in ("datasets", "classifiers", "attacks", "defenses"):
            for name in study.settings.get(section, ()):
                yield from unknown(f"{_place(study)}.{section}", name, config[section])
        yield from _twins(config, study)
        yield from _wrong_unseen(config, study)
        if "pairs" in study.settings:
            yield from _wrong_black_box(config, study)
    for name in config["comparison"]["tables"]:
        if name in config.get("tables", ()):
            yield (
                f"comparison.tables: {name!r} is a table of your own, beside which no paper prints "
                "a number: name it in worst_case.tables, or nowhere"
            )
        else:
            yield from unknown("comparison.tables", name, named(*ACCURACY_FORMS))
    attacked = [study.name for study in studies_of(config, *ATTACKED_FORMS)]
    for name in config["worst_case"]["tables"]:
        yield from unknown("worst_case.tables", name, attacked)
    yield from _wrong_ae_gan(config)
    yield from _wrong_ae_gan_figures(config)
    yield from _wrong_cowboy(config)
    yield from _wrong_quality(config)
    yield from _wrong_trainings(config)
    yield from _wrong_copies(config)
    yield from _wrong_sweep(config)
    yield from _wrong_white_box_sweep(config)
    yield from _wrong_timing(config)
    yield from _wrong_run_times(config)
    yield from _wrong_pictures(config)
    yield from _wrong_finetuning(config)
    for name, defense in config["defenses"].items():
        if defense["method"] == "redeployed":
            yield from _wrong_redeployment(config, name)
        if defense["method"] == "adversarial_training":
            yield from _wrong_labels(name, defense)
        if defense["method"] == "defense_vae":
            for attack in defense["copies"]:
                yield from unknown(f"defenses.{name}.copies", attack, config["copies"])
        if defense["method"] == "defense_vae_e2e":
            yield from _wrong_end_to_end(config, name)
        if defense["method"] in SEARCHES:
            yield from _wrong_pruning(name, defense)
        if defense["method"] == "ae_gan" and "rule" in defense:
            yield from _wrong_rule(config, name)
        if "generator" in defense:
            place = f"defenses.{name}.generator"
            kinds = KINDS_OF.get(defense["method"], ())
            fitting = [n for n, g in config["generators"].items() if _kind(g) in kinds]
            known = fitting if kinds else config["generators"]
            yield from unknown(place, defense["generator"], known)
    for name, attack in config["attacks"].items():
        if attack["method"] == "rand_fgsm" and attack["alpha"] >= attack["epsilon"]:
            yield (
                f"attacks.{name}.alpha: must be below epsilon = {attack['epsilon']}, because FGSM "
                f"spends epsilon - alpha; got {attack['alpha']}"
            )
    for name, dataset in config["datasets"].items():
        if misplaced := list(_misplaced(name, dataset)):
            yield from misplaced
        elif dataset["source"] == "digits":
            if dataset["test"] is None:
                yield f"datasets.{name}.test: digits has no official test file: give a number"
            elif dataset["validation"] + dataset["test"] > 1797 - 10:
                yield f"datasets.{name}: fewer than 10 of 1797 images are left to train on"
        elif dataset["source"] in TRAINING_IMAGES:
            n = TRAINING_IMAGES[dataset["source"]]
            if dataset["validation"] > n - 10:
                yield f"datasets.{name}: fewer than 10 of {n:,} images are left to train on"
            n = TEST_IMAGES[dataset["source"]]
            if (dataset["test"] or 0) > n:
                yield f"datasets.{name}.test: there are {n:,} test images; got {dataset['test']}"
        elif dataset["source"] == "celeba":
            for split, n in CELEBA_IMAGES.items():
                if (dataset.get(split) or 0) > n:
                    yield f"datasets.{name}.{split}: there are {n:,} images; got {dataset[split]}"


def _wrong_files(config: Mapping[str, Any]) -> Iterator[str]:
    """Files of users' own code that are not there."""
    for section, key in OWN_CODE.items():
        for name, entry in config[section].items():
            if "files" in entry and ":" not in entry[key]:
                yield (
                    f"{section}.{name}.files: only code of your own reads files, not {entry[key]!r}"
                )
            for own, path in entry.get("files", {}).items():
                file = place_of_file(path)
                if not file.is_file():
                    what = "is no file" if file.exists() else "is not there"
                    yield f"{section}.{name}.files.{own}: {file} {what} (from {Path.cwd()})"
                elif not os.access(file, os.R_OK):
                    yield f"{section}.{name}.files.{own}: {file} cannot be read"


def _misplaced(name: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a data set that its source has no use for."""
    own = ":" in dataset["source"]
    if dataset["source"] != "celeba":
        if dataset["validation"] is None:
            yield f"datasets.{name}.validation: must be a number; only celeba has a part of its own"
        if "train" in dataset:
            yield f"datasets.{name}.train: only celeba takes a number of training images"
    if "classes" in dataset and not own:
        yield f"datasets.{name}.classes: only a source of your own names its number of classes"


def _wrong_copies(config: Mapping[str, Any]) -> Iterator[str]:
    for name, changes in config["copies"].items():
        if name not in config["attacks"]:
            yield from unknown("copies", name, config["attacks"])
            continue
        attack = config["attacks"][name]
        numbers = [k for k, v in attack.items() if isinstance(v, int | float)]
        for key in changes:
            yield from unknown(f"copies.{name}", key, numbers)
        epsilons, alphas = (
            _as_list(changes.get(key, attack.get(key, ()))) for key in ("epsilon", "alpha")
        )
        if epsilons and alphas and min(epsilons) <= max(alphas):
            yield (
                f"copies.{name}.epsilon: must be above alpha = {max(alphas)}, the random step that "
                f"is part of it; got {min(epsilons)}"
            )


def _misfitting(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Settings of copies that their attack could not have itself."""
    attacks = schema["properties"]["attacks"]["additionalProperties"]
    attacks = {"$defs": schema["$defs"], **attacks}
    for name, changes in config["copies"].items():
        for key, values in changes.items():
            for value in _as_list(values):
                attack = {**config["attacks"][name], key: value}
                yield from (f"copies.{name}.{line}" for line in wrong_form(attack, attacks))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _wrong_end_to_end(config: Mapping[str, Any], name: str) -> Iterator[str]:
    defense = config["defenses"][name]
    vaes = _of_methods(config, "defense_vae")
    yield from unknown(f"defenses.{name}.start", defense["start"], vaes)
    yield from unknown(f"defenses.{name}.curve", defense["curve"], config["attacks"])


def _place(study: Study) -> str:
    """Where it stands in the config."""
    return study.name if study.name in STUDIES else f"tables.{study.name}"


def _wrong_unseen(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    for seen, defenses in study.settings.get("trained_on", {}).items():
        place = f"{_place(study)}.trained_on.{seen}"
        for attack, defense in defenses.items():
            yield from unknown(place, attack, config["attacks"])
            yield from unknown(place, defense, _of_methods(config, *_VAES))
            yield from _without_gray_box(config, place, defense)


def _without_gray_box(config: Mapping[str, Any], place: str, defense: str) -> Iterator[str]:
    models = config["defenses"].get(defense, {}).get("threat_models", ["gray_box"])
    if "gray_box" not in models:
        yield f"defenses.{defense}.threat_models: {place} needs gray_box; got {', '.join(models)}"


def _of_methods(config: Mapping[str, Any], *methods: str) -> list[str]:
    """The defences whose purifier is of one of these methods."""
    found = config["defenses"]
    return [n for n in found if found.get(_purifier_of(config, n), {}).get("method") in methods]


def encoder_column(config: Mapping[str, Any], defense: Mapping[str, Any]) -> tuple[str, str]:
    """Name and variant of a defence with an encoder, as AE-GAN+rs's tables print them: `ae_gan`,
    `rs`. With the inference rule the variant says so."""
    generator = config["generators"][defense["generator"]]
    family = "ae" if generator.get("adversarial") == "none" else _kind(generator)
    variant = ("r" if generator.get("noise_bound") else "") + ("s" if "steps" in defense else "")
    rule = ";rule" if "rule" in defense else ""
    return defense.get("column", family), (variant or "base") + rule


def _twins(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    yield from _shared_columns(config, study)
    table = _place(study)
    strengths: dict[float | str, str] = {}
    for name in study.settings.get("defenses", ()):
        defense = config["defenses"].get(name, {})
        if defense.get("method") == "adversarial_training":
            strength = "pgd" if defense.get("attack") == "pgd" else defense["epsilon"]
            twin = strengths.setdefault(strength, name)
            if twin != name:
                yield f"{table}.defenses: {twin!r} and {name!r} are the same adversarial training"


def _shared_columns(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    """Two purifiers that would fill one column of a table, which would be refused at its end."""
    table = _place(study)
    purifiers: dict[tuple, str] = {}
    together: dict[bool, str] = {}
    for name in study.settings.get("defenses", ()):
        defense = config["defenses"].get(name, {})
        purifier = defense.get("purifier", name)
        if defense.get("method") == "defense_vae_e2e":
            twin = together.setdefault(defense["from_scratch"], name)
            if twin != name:
                yield f"{table}.defenses: {twin!r} and {name!r} have one column, Defense-VAE's E2E"
        if "classifier" in defense and purifier in config["defenses"]:
            own = config["defenses"][purifier]
            column: tuple = (own.get("column", purifier),)
            if own["method"] == "ae_gan" and own["generator"] in config["generators"]:
                column = encoder_column(config, own)
            latent = own if study.over_latent else {}
            generator = config["generators"].get(latent.get("generator"), latent)
            key = (*column, generator.get("latent"), defense["classifier"])
            twin = purifiers.setdefault(key, purifier)
            if twin != purifier:
                name = " ".join(column)
                yield f"{table}.defenses: {twin!r} and {purifier!r} have one column, {name!r}"


def _wrong_black_box(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    wanted, table = study.settings, _place(study)
    for pair in wanted["pairs"]:
        for name in pair.split("/"):
            yield from unknown(f"{table}.pairs", name, config["classifiers"])
    oracles = ["classifier", "defended", *config["defenses"]]
    yield from unknown(f"{table}.oracle", wanted["oracle"], oracles)
    yield from _too_few_test_images(config, table, wanted["datasets"], wanted["defenses"])


def _wrong_rule(config: Mapping[str, Any], name: str) -> Iterator[str]:
    """The inference rule looks at one pass through the same networks, by the same indicator."""
    place, defense = f"defenses.{name}.rule", config["defenses"][name]
    once = {
        n: d
        for n, d in config["defenses"].items()
        if d["method"] == "ae_gan"
        and "steps" not in d
        and d["generator"] == defense["generator"]
        and d.get("indicator", "mse") == defense.get("indicator", "mse")
    }
    if once:
        yield from unknown(f"{place}.one_pass", defense["rule"]["one_pass"], once)
    else:
        indicator, generator = defense.get("indicator", "mse"), defense["generator"]
        yield (
            f"{place}.one_pass: no defense of the method ae_gan is one pass through the generator "
            f"{generator!r} with the indicator {indicator}: add one"
        )


def _wrong_ae_gan(config: Mapping[str, Any]) -> Iterator[str]:
    """What AE-GAN+rs's tables alone name."""
    for study in studies_of(config, *ATTACKED_FORMS):
        wanted, table = study.settings, _place(study)
        if len({key in wanted for key in ("pairs", "transferred", "oracle")}) > 1:
            yield f"{table}: pairs, transferred and oracle go together"
        for name in wanted.get("transferred", ()):
            yield from unknown(f"{table}.transferred", name, wanted["attacks"])
        if "searches" in wanted:
            for name in wanted["defenses"]:
                yield from unknown(f"{table}.defenses", name, _searching(config))


def _wrong_ae_gan_figures(config: Mapping[str, Any]) -> Iterator[str]:
    """What AE-GAN+rs's figures and the table of its rule name."""
    encoding = _of_methods(config, "ae_gan")
    purifiers = {n: config["defenses"][_purifier_of(config, n)] for n in encoding}
    one_pass = [n for n in encoding if "steps" not in purifiers[n]]
    known = {
        **{f"ae_gan_figure{n}": one_pass for n in (3, 6, 7, 8)},
        **{f"ae_gan_figure{n}": encoding for n in (9, 10)},
        "inference_rule": [n for n in encoding if "rule" in purifiers[n]],
    }
    for place, defenses in known.items():
        wanted = config[place]
        for name in wanted["datasets"]:
            yield from unknown(f"{place}.datasets", name, config["datasets"])
        yield from unknown(f"{place}.classifier", wanted["classifier"], config["classifiers"])
        yield from unknown(f"{place}.defense", wanted["defense"], defenses)
        yield from _without_gray_box(config, place, wanted["defense"])
        strong = [n for n, attack in config["attacks"].items() if "epsilon" in attack]
        for name in wanted.get("attacks", ()):
            yield from unknown(f"{place}.attacks", name, config["attacks"])
        if "attack" in wanted:
            yield from unknown(f"{place}.attack", wanted["attack"], strong)
            yield from _within_random_step(config, place, wanted)
    bigans = [n for n, g in config["generators"].items() if _kind(g) == "bigan"]
    yield from unknown("ae_gan_figure4.generator", config["ae_gan_figure4"]["generator"], bigans)
    pictures = config["ae_gan_figure5"]
    yield from unknown("ae_gan_figure5.classifier", pictures["classifier"], config["classifiers"])
    for panel in pictures["panels"]:
        for section, key in (("datasets", "dataset"), ("attacks", "attack")):
            yield from unknown(f"ae_gan_figure5.panels.{key}", panel[key], config[section])
    for name in pictures["defenses"]:
        yield from unknown("ae_gan_figure5.defenses", name, encoding)
        yield from _without_gray_box(config, "ae_gan_figure5", name)
    yield from _wrong_costs(config, one_pass)


def _searching(config: Mapping[str, Any]) -> list[str]:
    """The defences whose purifier is a search with steps."""
    found = config["defenses"]
    return [n for n in found if "steps" in found.get(_purifier_of(config, n), {})]


def _wrong_costs(config: Mapping[str, Any], one_pass: Iterable[str]) -> Iterator[str]:
    """What the figure of accuracy over cost names."""
    wanted = config["cost_accuracy"]
    for name in wanted["datasets"]:
        yield from unknown("cost_accuracy.datasets", name, config["datasets"])
    yield from unknown("cost_accuracy.classifier", wanted["classifier"], config["classifiers"])
    yield from unknown("cost_accuracy.attack", wanted["attack"], config["attacks"])
    yield from unknown("cost_accuracy.one_pass", wanted["one_pass"], one_pass)
    yield from _wrong_reference(wanted["reference"], wanted["lines"])
    # What the inference rule costs depends on the images: inference_rule measures it.
    searching = [n for n in _searching(config) if "rule" not in config["defenses"][n]]
    for name, grid in wanted["lines"].items():
        yield from unknown("cost_accuracy.lines", name, searching)
        own = config["defenses"].get(name, {})
        searched = config["defenses"].get(_purifier_of(config, name), {})
        if ("restarts" in grid) != ("restarts" in searched):
            which = "needs" if "restarts" in searched else "has no"
            yield f"cost_accuracy.lines.{name}: this search {which} restarts"
        missing = set(wanted["threat_models"]) - set(own.get("threat_models", ()))
        if own and missing:
            yield (
                f"defenses.{name}.threat_models: cost_accuracy needs "
                f"{', '.join(sorted(missing))}; got {', '.join(own['threat_models'])}"
            )


def _wrong_reference(
    wanted: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """The line that the others are compared with must be one of them."""
    place = "cost_accuracy.reference"
    yield from unknown(f"{place}.defense", wanted["defense"], lines)
    allowed = lines.get(wanted["defense"], {}).get("restarts", [None])
    if wanted.get("restarts") not in allowed:
        expected = f"one of {allowed}" if allowed != [None] else "left out, as in its line"
        yield f"{place}.restarts: must be {expected}; got {wanted.get('restarts')}"


def _wrong_quality(config: Mapping[str, Any]) -> Iterator[str]:
    """What the comparison of generators names."""
    place, found = "generator_quality", config["defenses"]
    wanted = config[place]
    for name in wanted["datasets"]:
        yield from unknown(f"{place}.datasets", name, config["datasets"])
    for key in ("classifier", "attack"):
        yield from unknown(f"{place}.{key}", wanted[key], config[f"{key}s"])
    generating = [n for n in found if "generator" in found.get(_purifier_of(config, n), {})]
    for name in wanted["defenses"]:
        yield from unknown(f"{place}.defenses", name, generating)
        if name not in generating:
            continue
        yield from _without_gray_box(config, f"{place}.defenses", name)
        if (deployed := found[name]["classifier"]) != "originals":
            yield (
                f"defenses.{name}.classifier: {place}.defenses needs originals, the classifier "
                f"that is attacked; got {deployed}"
            )
        generator = found[_purifier_of(config, name)]["generator"]
        if config["generators"].get(generator, {}).get("adversarial") == "none":
            yield (
                f"{place}.defenses: {name!r} has the generator {generator!r}, which was trained "
                "without discriminator (adversarial: none): there are no codes to sample"
            )


def _wrong_cowboy(config: Mapping[str, Any]) -> Iterator[str]:
    """What Cowboy's figures name, and the snapshots of its GANs."""
    cowboys = _of_methods(config, "cowboy")
    for figure in (f"cowboy_figure{n}" for n in range(3, 8)):
        wanted = config[figure]
        for name in wanted["datasets"]:
            yield from unknown(f"{figure}.datasets", name, config["datasets"])
        if "classifier" in wanted:
            known = config["classifiers"]
            yield from unknown(f"{figure}.classifier", wanted["classifier"], known)
            yield from unknown(f"{figure}.defense", wanted["defense"], cowboys)
            yield from _without_gray_box(config, figure, wanted["defense"])
        for name in wanted.get("attacks", [wanted["attack"]] if "attack" in wanted else ()):
            yield from unknown(f"{figure}.attacks", name, config["attacks"])
    yield from _wrong_comparison(config, cowboys)
    attacks = config["cowboy_figure3"]["attacks"]
    place = "cowboy_detection.threshold_attack"
    yield from unknown(place, config["cowboy_detection"]["threshold_attack"], attacks)
    for figure, base in (
        ("cowboy_figure4", "cowboy_figure3"),
        ("cowboy_figure7", "cowboy_figure6"),
    ):
        for name in config[figure]["datasets"]:
            yield from unknown(f"{figure}.datasets", name, config[base]["datasets"])
    for name, generator in config["generators"].items():
        for dataset, other in {"": {}, **generator.get("per_dataset", {})}.items():
            yield from _late_snapshots(name, dataset, {**generator, **other})


def _wrong_comparison(config: Mapping[str, Any], cowboys: Iterable[str]) -> Iterator[str]:
    """The first two defences of Table 2 may differ in the discriminator's part alone."""
    place, pair = "cowboy_table2.defenses", config["cowboy_table2"]["defenses"][:2]
    for name in pair:
        yield from unknown(place, name, cowboys)
        yield from _without_gray_box(config, place, name)
    first, second = (config["defenses"].get(name, {}) for name in pair)
    for key in ("generator", "steps", "restarts", "classifier"):
        if first.get(key) != second.get(key):
            yield f"{place}: {pair[0]!r} and {pair[1]!r} are compared, and differ in their {key}"


def _late_snapshots(name: str, dataset: str, generator: Mapping[str, Any]) -> Iterator[str]:
    late = [n for n in generator.get("snapshots", ()) if n > generator["iterations"]]
    if late:
        place = f"generators.{name}" + (f".per_dataset.{dataset}" if dataset else "")
        yield (
            f"{place}.snapshots: must be at most the {generator['iterations']} iterations; "
            f"got {late[0]}"
        )


def _wrong_trainings(config: Mapping[str, Any]) -> Iterator[str]:
    """Data sets on which a network is trained otherwise."""
    for section in ("classifiers", "generators"):
        for name, network in config[section].items():
            for dataset in network.get("per_dataset", ()):
                place = f"{section}.{name}.per_dataset"
                yield from unknown(place, dataset, config["datasets"])


def _kind(generator: Mapping[str, Any]) -> str:
    return generator.get("kind", WGAN_GP)


def _too_few_test_images(
    config: Mapping[str, Any], table: str, datasets: Iterable[str], defenses: Iterable[str]
) -> Iterator[str]:
    limits = [("datasets", "test", name) for name in datasets]
    purifiers = dict.fromkeys(_purifier_of(config, name) for name in defenses)
    limits += [("defenses", "clean_images", name) for name in purifiers]
    for section, key, name in limits:
        images = config[section].get(name, {}).get(key)
        if images is not None and images <= ATTACKERS_IMAGES:
            yield (
                f"{table}.{section}: the black-box attacker has the first {ATTACKERS_IMAGES} test "
                f"images, and {section}.{name}.{key} is {images}: make it larger, or name another "
                f"here"
            )


def _purifier_of(config: Mapping[str, Any], defense: str) -> str:
    """The defence that a redeployed one takes its purifier from, or itself."""
    return config["defenses"].get(defense, {}).get("purifier", defense)


def _wrong_sweep(config: Mapping[str, Any]) -> Iterator[str]:
    wanted = config["sweep"]
    for key in ("classifier", "substitute"):
        yield from unknown(f"sweep.{key}", wanted[key], config["classifiers"])
    yield from unknown("sweep.oracle", wanted["oracle"], ["classifier", *config["defenses"]])
    with_epsilon = [name for name, attack in config["attacks"].items() if "epsilon" in attack]
    yield from unknown("sweep.attack", wanted["attack"], with_epsilon)
    searching = _of_methods(config, *SEARCHES)
    for name in wanted["defenses"]:
        yield from unknown("sweep.defenses", name, searching)
    known = [name for name in wanted["defenses"] if name in searching]
    purifiers = dict.fromkeys(_purifier_of(config, name) for name in known)
    if len(purifiers) > 1:
        yield f"sweep.defenses: one search serves them all, and these have {len(purifiers)}"
    for study in studies_of(config, *SWEPT):
        target, datasets = _place(study), study.settings["datasets"]
        for name in datasets:
            yield from unknown(f"{target}.datasets", name, config["datasets"])
        yield from _too_few_test_images(config, target, datasets, wanted["defenses"])
    alpha = config["attacks"].get(wanted["attack"], {}).get("alpha", 0)
    for study in studies_of(config, "over_epsilon", "roc", "reconstructions_over_epsilon"):
        for epsilon in study.settings["epsilons"]:
            if epsilon <= alpha:
                yield (
                    f"{_place(study)}.epsilons: {epsilon} is not above attacks."
                    f"{wanted['attack']}.alpha = {alpha}, the random step that is part of it"
                )
    if not set(config["table8"]["datasets"]) & set(config["table10"]["datasets"]):
        yield "table10.datasets: Figure 3 shows a data set of Tables 8 and 10; none is in both"


def _wrong_white_box_sweep(config: Mapping[str, Any]) -> Iterator[str]:
    wanted = config["figure8"]
    for section in ("datasets", "classifiers"):
        for name in wanted[section]:
            yield from unknown(f"figure8.{section}", name, config[section])
    yield from unknown("figure8.attack", wanted["attack"], config["attacks"])
    searching = {name: d for name, d in config["defenses"].items() if d["method"] in SEARCHES}
    yield from unknown("figure8.defense", wanted["defense"], searching)
    pruned = config["defenses"].get(wanted["defense"], {}).get("prune") or [[0, 1]]
    if min(wanted["steps"]) <= pruned[-1][0]:
        yield f"figure8.steps: must be above the steps of defenses.{wanted['defense']}.prune"


def _wrong_timing(config: Mapping[str, Any]) -> Iterator[str]:
    for study in studies_of(config, "search_times"):
        yield from _wrong_search_times(config, study)


def _wrong_search_times(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    wanted, defenses, table = study.settings, config["defenses"], _place(study)
    for name in wanted["datasets"]:
        yield from unknown(f"{table}.datasets", name, config["datasets"])
    method = defenses.get(wanted["defense"], {}).get("method")
    if method is None:
        yield from unknown(f"{table}.defense", wanted["defense"], defenses)
    elif method not in SEARCHES:
        searching = [name for name, entry in defenses.items() if entry["method"] in SEARCHES]
        yield (
            f"{table}.defense: {wanted['defense']!r} is no latent search (its method is {method}); "
            f"{listed(searching)}"
        )


def _wrong_run_times(config: Mapping[str, Any]) -> Iterator[str]:
    for study in studies_of(config, "run_times"):
        yield from _wrong_turns(config, study)


def _wrong_turns(config: Mapping[str, Any], study: Study) -> Iterator[str]:
    wanted, table = study.settings, _place(study)
    yield from unknown(f"{table}.classifier", wanted["classifier"], config["classifiers"])
    methods = {name: entry["method"] for name, entry in config["defenses"].items()}
    for key, kinds in (("defense", ("defense_vae",)), ("search", SEARCHES)):
        allowed = [name for name, method in methods.items() if method in kinds]
        yield from unknown(f"{table}.{key}", wanted[key], allowed)
    for name in wanted["datasets"]:
        yield from unknown(f"{table}.datasets", name, config["datasets"])


def _wrong_pictures(config: Mapping[str, Any]) -> Iterator[str]:
    """What Defense-VAE's Figures 1 and 5 name."""
    for figure in _PICTURES:
        wanted = config[figure]
        for name in wanted["datasets"]:
            yield from unknown(f"{figure}.datasets", name, config["datasets"])
        purifying = [n for n, entry in config["defenses"].items() if "threat_models" in entry]
        for name in wanted["defenses"]:
            yield from unknown(f"{figure}.defenses", name, purifying)
    figure1, figure5 = (config[figure] for figure in _PICTURES)
    yield from _wrong_gray_box_pictures(config, _PICTURES[0], figure1)
    for name in figure5["pair"].split("/"):
        yield from unknown(f"{_PICTURES[1]}.pair", name, config["classifiers"])
    yield from unknown(f"{_PICTURES[1]}.attack", figure5["attack"], config["attacks"])
    yield from _too_few_test_images(config, _PICTURES[1], figure5["datasets"], ())


def _wrong_gray_box_pictures(
    config: Mapping[str, Any], figure: str, wanted: Mapping[str, Any]
) -> Iterator[str]:
    yield from unknown(f"{figure}.classifier", wanted["classifier"], config["classifiers"])
    with_epsilon = [name for name, attack in config["attacks"].items() if "epsilon" in attack]
    yield from unknown(f"{figure}.attack", wanted["attack"], with_epsilon)
    yield from _within_random_step(config, figure, wanted)
    for name in wanted["defenses"]:
        yield from _without_gray_box(config, f"{figure}.defenses", name)


def _within_random_step(
    config: Mapping[str, Any], figure: str, wanted: Mapping[str, Any]
) -> Iterator[str]:
    """Strengths of a figure's attack that are no greater than the random step within it."""
    alpha = config["attacks"].get(wanted["attack"], {}).get("alpha", 0)
    for epsilon in wanted["epsilons"]:
        if epsilon <= alpha:
            yield (
                f"{figure}.epsilons: {epsilon} is not above attacks.{wanted['attack']}.alpha = "
                f"{alpha}, the random step that is part of it"
            )


def _wrong_finetuning(config: Mapping[str, Any]) -> Iterator[str]:
    """What Defense-VAE's Figure 4 names."""
    wanted = config[_FINETUNING]
    for section in ("datasets", "classifiers"):
        for name in wanted[section]:
            yield from unknown(f"{_FINETUNING}.{section}", name, config[section])
    together = _of_methods(config, "defense_vae_e2e")
    for name in wanted["defenses"]:
        yield from unknown(f"{_FINETUNING}.defenses", name, together)
    begun: dict[bool, str] = {}
    for name in set(wanted["defenses"]) & set(together):
        twin = begun.setdefault(config["defenses"][name]["from_scratch"], name)
        if twin != name:
            one, other = sorted((twin, name))
            yield f"{_FINETUNING}.defenses: {one!r} and {other!r} would be one line of one panel"


def _wrong_pruning(name: str, defense: Mapping[str, Any]) -> Iterator[str]:
    steps = [0, *(step for step, _ in defense.get("prune", ())), defense["steps"]]
    kept = [defense["restarts"], *(restarts for _, restarts in defense.get("prune", ()))]
    if steps != sorted(set(steps)) or kept != sorted(set(kept), reverse=True):
        yield (
            f"defenses.{name}.prune: must be [step, restarts] with steps rising below "
            f"{defense['steps']} and restarts falling below {defense['restarts']}; got "
            f"{defense['prune']}"
        )


def _wrong_labels(name: str, defense: Mapping[str, Any]) -> Iterator[str]:
    if "labels" in defense and "attack" in defense:
        yield f"defenses.{name}.labels: PGD's training takes the true labels; leave this key out"


def _wrong_redeployment(config: Mapping[str, Any], name: str) -> Iterator[str]:
    place, defense = f"defenses.{name}", config["defenses"][name]
    # A classifier that was trained end to end belongs to its own purifier.
    not_purifying = ("adversarial_training", "redeployed", "defense_vae_e2e")
    purifying = {k: v for k, v in config["defenses"].items() if v["method"] not in not_purifying}
    yield from unknown(f"{place}.purifier", defense["purifier"], purifying)
