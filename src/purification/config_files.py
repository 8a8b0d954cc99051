"""Config files read strictly, and the values of `--config`: what Snakemake's own reading hides.

Snakemake names no file when one is broken, takes the last of two equal keys, and leaves the numbers
within a list or mapping of `--config` as text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_TRUTHS = {"true": True, "false": False}
_WORDS = {**_TRUTHS, "null": None, "~": None}


class ConfigFileError(ValueError):
    """A config file cannot be used; the message names it, the line and what to do."""


def read_files(paths: Iterable[str | Path]) -> list[tuple[str, dict[str, Any] | None]]:
    """Each file with its content; None for a pipe (`--configfile <(command)`), which can be read
    only once.

    Raises ConfigFileError for the first file that is missing, neither YAML nor JSON, or has a key
    twice. Of keys that stand in one mapping twice all are listed, with file, line and place.
    """
    return [(str(path), _content(Path(path))) for path in paths]


def _content(path: Path) -> dict[str, Any] | None:
    if path.is_fifo():
        return None
    text = _text(path)
    twice: list[str] = []
    try:
        # As Snakemake does: JSON where it can be read so.
        content = json.loads(text, object_pairs_hook=lambda pairs: _noting_twins(pairs, twice))
    except ValueError:
        content = _yaml(path, text, twice)
    if content is None:
        raise ConfigFileError(f"{path}: the config file is empty: leave it out, or give it a key")
    if not isinstance(content, dict):
        raise ConfigFileError(
            f"{path}: a config file must have keys at its top level, such as 'seeds: [0]'; this is "
            f"a {type(content).__name__}"
        )
    if twice:
        lines = "\n".join(f"  {path}{line}" for line in twice)
        raise ConfigFileError(f"a key stands twice, and only the last would count:\n{lines}")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigFileError(
            f"{path}: the config file is no UTF-8 text ({error.reason} at byte {error.start}): "
            "save it as UTF-8"
        ) from error
    except FileNotFoundError as error:
        raise ConfigFileError(f"{path}: there is no such config file in {Path.cwd()}") from error
    except OSError as error:
        raise ConfigFileError(
            f"{path}: the config file cannot be read: {error.strerror}"
        ) from error


def _noting_twins(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice += [f": '{key}'" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    return dict(pairs)


def _yaml(path: Path, text: str, twice: list[str]) -> Any:
    """The content of a YAML file; of its keys that stand twice a line each is added to `twice`."""
    # libyaml's loaders, where they are: this is read at the start of every job.
    base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    full = getattr(yaml, "CFullLoader", yaml.FullLoader)
    try:
        twice += _twins(yaml.compose(text, Loader=base), "", set())
        return yaml.load(text, Loader=full)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        tabbed = mark and "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])
        hint = " (indent with blanks, not tabs)" if tabbed else ""
        raise ConfigFileError(f"{path}{line}: no YAML: {error.problem}{hint}") from error
    except (yaml.YAMLError, ValueError) as error:  # such as a month 13
        raise ConfigFileError(f"{path}: no YAML: {error}") from error


def _twins(node: yaml.Node | None, place: str, seen: set[int]) -> Iterator[str]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))  # an alias is the node of its anchor
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _twins(item, f"{place}{number}.", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):  # others no config can have
                line = key.start_mark.line + 1
                if key.value in lines:
                    before = lines[key.value]
                    yield f", line {line}: '{place}{key.value}', which line {before} has already"
                lines[key.value] = line
                yield from _twins(value, f"{place}{key.value}.", seen)


def typed_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `--config` with the numbers, truth values and nulls that a config file has.

    Snakemake reads `seeds=[0,1]` as a list of two texts, `batch_size={attack: 5}` as a mapping to a
    text, and `pretrained=false` as a text, because it knows False alone; single numbers it reads
    itself. A job is given the same texts again.
    """
    return {
        key: _typed(value) if isinstance(value, list | Mapping) or value in _TRUTHS else value
        for key, value in given.items()
    }


def _typed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return _WORDS.get(value.lower(), value)
