"""Rules of the shared sections' entries that take more than one key: `rules` in the schema.

Each is given the entry, the config and the schema."""

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from purification.diffusers_folder import is_folder, missing_package, read_folder
from purification.experiments.methods import (
    attack_branch,
    facts_for,
    is_cheaper,
    is_randomised,
    least_epsilon,
    own_settings,
    settings_of,
    stated,
    surrogate_settings,
    with_settings,
)
from purification.experiments.protocols import KNOWN
from purification.experiments.quirks import KEY, objection, purifier_entry
from purification.experiments.references import Wrong, unknown, wrong_references
from purification.experiments.schema import examined, explained, wrong_form
from purification.facts import Facts, constant_of, decorated, facts_at, is_class
from purification.plugins import place_of_file, problem_with, source_of

OWN_CODE = {
    "datasets": "source",
    "classifiers": "architecture",
    "generators": "architecture",
    "attacks": "method",
    "defenses": "method",
}
"""Sections whose entries may name a user's own code, and the key that does."""
PURIFIER = re.compile(r"purification[.:](.*[.:])?Purifier|purifiers\.Purifier")
EMPTY_BASE = re.compile(r"(torch\.)?nn\..*|(.*\.)?(Module|Sequential|ABC)|object")
"""Bases of a user's defence that state nothing."""
CHECKPOINT_FORMATS = (".safetensors", ".pt", ".pth")


def own_code(entry: Mapping[str, Any], _: Any, schema: Mapping[str, Any]) -> Wrong:
    """A user's own code can be loaded and states of itself what it should, and the files that it
    reads, and those of weights, are there."""
    key, code = next(((k, entry[k]) for k in OWN_CODE.values() if k in entry), ("", ""))
    if "files" in entry and ":" not in code:
        yield "files", f"only code of your own reads files, not {code!r}"
    files = {f"files.{own}": path for own, path in entry.get("files", {}).items()}
    for own, path in (files | checkpoints_of(entry)).items():
        file = place_of_file(path)
        if own not in files and _is_diffusers(entry, path):
            continue  # `diffusion_checkpoint` looks at it
        if not file.is_file():
            what = "is no file" if file.exists() else "is not there"
            yield own, f"{file} {what} (from {Path.cwd()})"
        elif not os.access(file, os.R_OK):
            yield own, f"{file} cannot be read"
        elif own not in files and file.suffix not in CHECKPOINT_FORMATS:
            yield own, f"{file} is of no known format; allowed: {', '.join(CHECKPOINT_FORMATS)}"
    if ":" in code and (problem := problem_with(code)):
        yield key, problem
    elif ":" in code:
        yield from ((key, text) for text in misstated(key, code, schema))


def quirks(entry: Mapping[str, Any], config: Mapping[str, Any], _: Any) -> Wrong:
    """A quirk of published code stands where it concerns something."""
    for name in entry.get(KEY, ()):
        if told := objection(name, entry, purifier_entry(config, entry)):
            yield KEY, f"got {name!r}, which makes no difference here: {told}"


def misstated(key: str, place: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Why a user's own attack or data set cannot be used, as far as what it states tells. (What is
    undecorated states nothing.)"""
    try:
        facts = facts_at("datasets" if key == "source" else "attacks", place)
    except ValueError as error:
        yield str(error)
        return
    if not facts.decorator:
        return
    where = f"{facts.file}: {facts.name}: @{facts.decorator}"
    wrong = _wrong_facts(facts, facts.decorator, schema, where)
    parameters = ", ".join(facts.parameters) or "nothing"
    if key == "source" and len(facts.parameters) < 3 and "*" not in parameters:
        wrong.append(f"{where}: it must take data_root, validation and test; it takes {parameters}")
    yield from wrong
    if wrong or (settings := facts.stated.get("settings")) is None:
        return
    given = constant_of("purification.attacks.registry:GIVEN")
    taken = {key: has for key, has in [*facts.parameters.items()][3:] if key not in given}
    for key in settings:
        yield from (f"{where}.settings.{key}: {text}" for text in unknown(key, taken))
        if key in facts.defaults:
            yield f"{where}.settings.{key}: no default can stand here; give the parameter a default"
    if "above" in facts.stated:
        yield from (f"{where}.above: {text}" for text in unknown(facts.stated["above"], settings))
    yield from _wrong_kinds(facts, schema, where)
    missing = [key for key, optional in taken.items() if not optional and key not in settings]
    yield from (f"{where}.settings: the parameter {key!r} is missing" for key in missing)


def _wrong_facts(facts: Facts, of: str, schema: Mapping[str, Any], where: str) -> list[str]:
    stated = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.stated.items()}
    form = {"$defs": schema["$defs"], "$ref": f"#/$defs/stated_{of}"}
    return list(wrong_form(stated, form, where))


def _wrong_kinds(facts: Facts, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    """Settings that are of no definition, or no JSON schemas, or have a default that they may not
    be. (The default None is none: what is left out.)"""
    for key, kind in facts.settings.items():
        name, place = kind.get("$ref", "").removeprefix("#/$defs/"), f"{where}.settings.{key}"
        wrong = list(unknown(name, schema["$defs"])) if name else []
        try:
            jsonschema.Draft202012Validator.check_schema(kind)
        except jsonschema.SchemaError as error:
            wrong.append(error.message)
        yield from (f"{place}: {text}" for text in wrong)
        if not wrong and kind.get("default") is not None:
            form = {"$defs": schema["$defs"], **kind}
            yield from wrong_form(kind["default"], form, f"{place}.default")


def own_defense(
    entry: Mapping[str, Any], config: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """A user's own defence states of itself what it should, and has the settings that it states."""
    module, own, name = entry["method"].partition(":")
    try:
        facts = facts_for(entry["method"]) if own else None
    except ValueError:  # `own_code` says why
        return
    if facts is None:
        if own and is_class(entry["method"]):
            yield (
                "method",
                f"{source_of(module)} does not define {name} itself (it comes from elsewhere, or "
                "is inside a condition): name the place where it is defined at a file's top level",
            )
        return
    wrong = list(_wrong_defense(facts, entry, schema))
    yield from (("method", text) for text in wrong)
    methods = [(facts.methods or {}).get(name) for name in ("__init__", "fit")]
    if methods[0] and not methods[0].kwarg and "generator" in entry and _is_purifier(facts):
        names = [a.arg for method in methods if method for a in (*method.args, *method.kwonlyargs)]
        if "networks" not in (*names, *facts.stated.get("learns_from", ())):
            yield "generator", f"{entry['method']} takes no networks"
    if not wrong and "settings" in facts.stated:
        form, given = {"$defs": schema["$defs"], **own_settings(facts)}, entry.get("settings", {})
        found = examined(given, form)
        lines = list(explained(found, "settings"))
        for line in lines or wrong_references(found, config, "settings"):
            where, _, text = line.partition(": ")
            yield where, text


def _wrong_defense(
    facts: Facts, entry: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    where = f"{facts.file}: {facts.name}"
    if wrong := _wrong_facts(facts, "defense", schema, where):
        yield from wrong
        return
    yield from _wrong_kinds(facts, schema, where)
    unread = [
        base for base in facts.bases if not (PURIFIER.fullmatch(base) or EMPTY_BASE.fullmatch(base))
    ]
    if unread and not {"settings", "learns_from"} <= facts.stated.keys():
        yield (
            f"{where}: what a class states is read from its own file, and {unread[0]} is from "
            "another: state SETTINGS and LEARNS_FROM in the class itself (() if it is not trained)"
        )
        return
    lessons, methods = facts.stated.get("learns_from", ()), facts.methods or {}
    if bool(lessons) != ("fit" in methods) and not (lessons and unread):
        yield f"{where}: a defence that is trained has both LEARNS_FROM and fit"
    own = facts.settings.get("copies", {})
    named = own.get("$ref") == "#/$defs/copies" and isinstance(own.get("default", []), list)
    if "copies" in lessons and not named:
        needed = "a setting `copies` of the kind `copies`; its default must be a list"
        yield f"{where}: learning from copies needs {needed}"
    if "networks" in lessons and "generator" not in entry:
        yield f"{where}: learning from networks needs a `generator` in the config"
    made, fit = methods.get("__init__"), methods.get("fit")
    if made and _is_purifier(facts) and _misfit(made, "networks", "files"):
        yield (
            f"{where}: expected __init__(self, settings, image_shape), and `networks` and `files` "
            "besides if it uses them"
        )
    given = [*(name for name in lessons if name != "images"), "seed", "device"]
    if fit and lessons and _misfit(fit, *given, "networks", "name", "resume"):
        yield f"{where}: expected fit(self, images, labels, *, {', '.join(given)})"
    if ("cheaper" in methods) != bool(facts.cheaper) and not unread:
        yield f"{where}: a defense with a cheaper version has both CHEAPER and the method cheaper"
    elif facts.cheaper and "cheaper" in methods:
        taken = methods["cheaper"]
        names = {argument.arg for argument in (*taken.args[1:], *taken.kwonlyargs)}
        if not taken.kwarg and (missing := [key for key in facts.cheaper if key not in names]):
            yield f"{where}.cheaper: the parameter {missing[0]!r} is missing, which CHEAPER names"
    if stated := facts.stated.get("randomised"):
        named = stated if isinstance(stated, Mapping) else {}
        for key in named:
            yield from (f"{where}.RANDOMISED: {text}" for text in unknown(key, facts.settings))
        forward = methods.get("forward")
        if forward and not _takes_seeds(forward):
            yield (
                f"{where} is RANDOMISED: expected forward(self, images, seeds), whose seeds are a "
                "number for each image, on which alone its random numbers depend"
            )


def _takes_seeds(forward: ast.arguments) -> bool:
    """Whether a `forward` can be called with images and seeds, and with nothing else."""
    taken = [*forward.posonlyargs, *forward.args][1:]
    more = len(taken) - len(forward.defaults) > 2 or None in forward.kw_defaults
    return (len(taken) >= 2 or forward.vararg is not None) and not more


def protocols(defense: Mapping[str, Any], config: Mapping[str, Any], _: Any) -> Wrong:
    """Draws are counted, and known to an attacker, where there are some."""
    entry = config["defenses"].get(defense.get("purifier"), defense)
    if is_randomised(entry):
        return
    if "judged_draws" in defense:
        yield "judged_draws", "the defense is not randomised: leave this key out"
    for name in defense.get("threat_models", ()):
        if name.endswith(KNOWN):
            yield (
                "threat_models",
                f"got {name!r}, which is of a randomised defense whose draws the attacker knows; "
                f"this one has none: write {name.removesuffix(KNOWN)}",
            )


def surrogate(
    defense: Mapping[str, Any], config: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """What is attacked instead of a defence is a cheaper version of it, such as its code states."""
    if ("surrogate" in defense) != ("surrogate" in defense.get("threat_models", ())):
        if "surrogate" in defense:
            yield "surrogate", "it is not among the threat_models: add it there, or leave it out"
        else:
            yield "threat_models", "surrogate needs the key 'surrogate' beside it, which is missing"
        return
    entry = config["defenses"].get(defense.get("purifier"), defense)
    try:
        facts = facts_for(entry["method"]) if "surrogate" in defense else None
    except ValueError:  # `own_code` says why
        return
    if "surrogate" not in defense:
        return
    if facts is None or not facts.cheaper:
        yield "surrogate", f"{entry['method']} states no CHEAPER, and has no cheaper version"
        return
    form, wanted = {"$defs": schema["$defs"], **surrogate_settings(facts)}, defense["surrogate"]
    wrong = list(wrong_form(wanted, form, "surrogate"))
    for line in wrong:
        where, _, text = line.partition(": ")
        yield where, text
    if not (wrong or is_cheaper(facts, entry, wanted, drawn=is_randomised(entry))):
        yield "surrogate", f"is no cheaper version of this defense; got {dict(wanted)}"


def _is_purifier(facts: Facts) -> bool:
    """Whether a class is surely a `Purifier`, which is not built as a function is."""
    return "learns_from" in facts.stated or any(map(PURIFIER.fullmatch, facts.bases))


def _misfit(given: ast.arguments, *further: str) -> bool:
    """Whether a method cannot be called with two arguments and further ones by their names."""
    own = [argument.arg for argument in (*given.posonlyargs, *given.args)][1:]
    needed = own[2 : len(own) - len(given.defaults)]
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    needed += [argument.arg for argument, default in named if default is None]
    few = len(own) < 2 and not given.vararg
    return few or not set(needed) <= set(further) or not set(own[:2]).isdisjoint(further)


def _is_diffusers(entry: Mapping[str, Any], checkpoint: str) -> bool:
    """Whether a checkpoint is a diffusion model in a folder."""
    return entry.get("kind") == "diffusion" and is_folder(checkpoint)


def diffusion_checkpoint(entry: Mapping[str, Any], _: Any, __: Any) -> Wrong:
    """A diffusion model that was trained elsewhere: a folder says itself what its network is, and
    of a file of weights `width` does."""
    found = checkpoints_of(entry) if entry.get("kind") == "diffusion" else {}
    folders = {own: path for own, path in found.items() if is_folder(path)}
    for own, path in folders.items():
        try:
            read_folder(path)
        except ValueError as error:
            yield own, str(error)
            continue
        if what := missing_package():
            yield own, what
    if found and not folders and "width" not in entry:
        yield "", "the key 'width' is missing, which a file of weights needs"
    if folders.keys() == found.keys() and found and "width" in entry:
        yield "width", "the folder says itself how wide its network is: leave this key out"


def checkpoints_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """The files of weights that a network's entry names, by their place in it."""
    others = {f"per_dataset.{name}.": own for name, own in entry.get("per_dataset", {}).items()}
    named = {"": entry, **others}.items()
    return {f"{at}checkpoint": own["checkpoint"] for at, own in named if "checkpoint" in own}


def splits(dataset: Mapping[str, Any], _: Any, schema: Mapping[str, Any]) -> Wrong:
    """The splits of a data set: keys that its source has no use for, more images than it has."""
    source, test, validation = (dataset[key] for key in ("source", "test", "validation"))
    own = ":" in source
    if own and any(misstated("source", source, schema)):
        return
    facts = stated("datasets", source)
    images, known = facts.get("images", {}), decorated("datasets").items()
    parted = ", ".join(name for name, facts in known if "validation" in facts.stated["images"])
    if "train" in dataset and (own or "validation" not in images):
        yield "train", f"only {parted} takes a number of training images"
    if "classes" in dataset and not (own and "classes" not in facts):
        yield "classes", "only a source of your own that states none names its number"
    if "validation" in images:
        for split, n in images.items():
            if (dataset.get(split) or 0) > n:
                yield split, f"there are {n:,} images; got {dataset[split]}"
    elif validation is None:
        yield "validation", f"must be a number; only {parted} has a part of its own"
    elif images and test is None and "test" not in images:
        yield "test", f"{source} has no official test file: give a number"
    elif images:
        if validation + (0 if "test" in images else test) > images["train"] - 10:
            yield "", f"fewer than 10 of {images['train']:,} images are left to train on"
        if "test" in images and (test or 0) > images["test"]:
            yield "test", f"there are {images['test']:,} test images; got {test}"


def snapshots(generator: Mapping[str, Any], *_: Any) -> Wrong:
    """No network is kept after the end of its training."""
    for dataset, other in {"": {}, **generator.get("per_dataset", {})}.items():
        own = {**generator, **other}
        late = [n for n in own.get("snapshots", ()) if n > own["iterations"]]
        if late:
            place = f"per_dataset.{dataset}.snapshots" if dataset else "snapshots"
            yield place, f"must be at most the {own['iterations']} iterations; got {late[0]}"


def settings(attack: Mapping[str, Any], _: Any, schema: Mapping[str, Any]) -> Wrong:
    """A user's own attack has the settings that it states; a part of `epsilon` is below it."""
    wrong = list(_wrong_attack(attack, schema)) if ":" in attack["method"] else []
    yield from wrong
    part, least = least_epsilon(attack)
    if part and not wrong and least >= settings_of(attack)["epsilon"]:
        strength = settings_of(attack)["epsilon"]
        yield part, f"must be below epsilon = {strength}, of which it is a part; got {least}"


def _wrong_attack(attack: Mapping[str, Any], schema: Mapping[str, Any]) -> Wrong:
    """What the form of its method does not allow in an attack; of a user's own that states it."""
    form, method = schema["properties"]["attacks"]["additionalProperties"], attack["method"]
    if ":" in method and not any(misstated("method", method, schema)):
        facts = facts_at("attacks", method)
        if "settings" in facts.stated:
            form = attack_branch(form["properties"], method, facts)["then"]
    for text in wrong_form(attack, {"$defs": schema["$defs"], **form}, "attack"):
        where, _, what = text.partition(": ")
        yield where.partition(".")[2], what


def copies(
    entries: Mapping[str, Any], config: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """What copies have otherwise is a number that their attack could have itself."""
    for name, changes in entries.items():
        attack = settings_of(config["attacks"][name])
        # Of draws there are none: what is copied is attacked through a bare classifier.
        general = attack.keys() - {"expectation"}
        numbers = [k for k in attack if k in general and isinstance(attack[k], int | float)]
        if unknowns := [text for key in changes for text in unknown(key, numbers)]:
            yield from ((name, text) for text in unknowns)
            continue
        part, _ = least_epsilon(attack)
        epsilons, parts = (
            _as_list(changes.get(key, attack.get(key, ()))) for key in ("epsilon", part)
        )
        if epsilons and parts and min(epsilons) <= max(parts):
            yield (
                f"{name}.epsilon",
                f"must be above {part} = {max(parts)}, the random step that is part of it; got "
                f"{min(epsilons)}",
            )
        for key, values in changes.items():
            for value in _as_list(values):
                made = with_settings(config["attacks"][name], **{key: value})
                for where, what in _wrong_attack(made, schema):
                    yield f"{name}.{where.removeprefix('settings.')}", what


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def prune(defense: Mapping[str, Any], *_: Any) -> Wrong:
    """Restarts fall while steps rise."""
    steps = [0, *(step for step, _ in defense.get("prune", ())), defense["steps"]]
    kept = [defense["restarts"], *(restarts for _, restarts in defense.get("prune", ()))]
    if steps != sorted(set(steps)) or kept != sorted(set(kept), reverse=True):
        yield (
            "prune",
            f"must be [step, restarts] with steps rising below {defense['steps']} and restarts "
            f"falling below {defense['restarts']}; got {defense['prune']}",
        )


def optimizer(defense: Mapping[str, Any], *_: Any) -> Wrong:
    """L-BFGS has no momentum and does not double its steps."""
    if defense.get("optimizer") != "lbfgs":
        return
    for key, none in (("momentum", "0.0"), ("doubling", "null")):
        if defense.get(key):
            yield key, f"the optimizer lbfgs has none: must be {none}; got {defense[key]}"


def training_labels(defense: Mapping[str, Any], *_: Any) -> Wrong:
    """PGD's training has no choice of labels."""
    if "labels" in defense and "attack" in defense:
        yield "labels", "PGD's training takes the true labels; leave this key out"


def one_pass(defense: Mapping[str, Any], config: Mapping[str, Any], *_: Any) -> Wrong:
    """The inference rule looks at one pass through the same networks, by the same indicator."""
    if "rule" not in defense:
        return
    generator, indicator = defense["generator"], defense.get("indicator", "mse")
    once = [
        name
        for name, other in config["defenses"].items()
        if other["method"] == "ae_gan"
        and "steps" not in other
        and (other["generator"], other.get("indicator", "mse")) == (generator, indicator)
    ]
    if once:
        texts = unknown(defense["rule"]["one_pass"], once)
        yield from (("rule.one_pass", text) for text in texts)
    else:
        yield (
            "rule.one_pass",
            "no defense of the method ae_gan is one pass through the generator "
            f"{generator!r} with the indicator {indicator}: add one",
        )
