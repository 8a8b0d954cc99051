"""The config that a run is read by: the default one, that of its latest run, or a user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from purification import networks, shipped
from purification.api.places import Run
from purification.config_files import ConfigFileError, read_files
from purification.edits import FOLDER
from purification.experiments import DEFAULT_FILES, Catalogue, ConfigError, layered
from purification.plugins import provide_files

Config = Mapping[str, Any] | str | PathLike[str] | Sequence[str | PathLike[str]] | None
"""What names a config: a file, or several that are laid over one another, as of Snakemake's
`--configfile`; what such a file would hold; or None."""
_ABOVE = 4
"""Folders above the results in which their latest run may have left its config."""


@dataclass(frozen=True)
class Setup:
    """A config, checked.

    Attributes:
        catalogue: what it names.
        said: what a message calls it.
        files: those that the command line of a run with it names.
        guessed: nobody named it.
    """

    catalogue: Catalogue
    said: str
    files: tuple[Path, ...] = ()
    guessed: bool = False

    def option(self, folder: Path) -> str:
        """What the command line of a run with it in that folder has at its end."""
        below = [f.relative_to(folder) if f.is_relative_to(folder) else f for f in self.files]
        return " ".join([" --configfile", *map(str, below)]) if below else ""


def setup_of(run: Run | None, config: Config) -> Setup:
    """The config that is meant.

    None is that of the latest run that Snakemake made in this folder of results, if it left one
    (in `.snakemake`), else the default config; of networks that come with the repository the one
    that their index names. Anything else is laid over the default config; a
    file that is not there, but in the repository (`config/mnist_cpu.yaml`), is that one.

    Raises ConfigFileError for a file that cannot be read, ConfigError for a wrong config.
    """
    if config is None and run and run.kept:
        config = _of_kept(run)
    if config is None:
        return (run and _latest(run)) or Setup(_default(), "the default config", guessed=True)
    if isinstance(config, Mapping):
        made = _catalogue(_laid_over(("config", config)))
        return Setup(made, "the config given", (Path("YOUR_CONFIG.yaml"),))
    paths = [config] if isinstance(config, str | PathLike) else list(config)
    files = [_file(Path(path).expanduser()) for path in paths]
    catalogue = _catalogue(_laid_over(*read_files(files)))
    return Setup(catalogue, ", ".join(map(str, files)), tuple(map(Path.absolute, files)))


def _of_kept(run: Run) -> tuple[str, ...]:
    """The config files of the networks that come with the repository."""
    configs = dict.fromkeys(one.config for one in networks.places(run.dataset, run.results))
    if len(configs) != 1:
        names = "; ".join(" ".join(one) or "the default one" for one in configs)
        raise ConfigError(f"{run.dataset}: its networks are of several configs, name one: {names}")
    (own,) = configs
    return own


def _file(path: Path) -> Path:
    own = shipped.ROOT / path
    return own if not path.exists() and own.exists() else path


def _laid_over(*layers: tuple[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """The default config with others over it."""
    if pipes := [name for name, layer in layers if layer is None]:
        raise ConfigFileError(f"{pipes[0]}: a config must be a file, not a pipe")
    made = [(name, layer) for name, layer in (*_defaults(), *layers) if layer is not None]
    return layered(made)


@lru_cache(maxsize=1)
def _defaults() -> list[tuple[str, dict[str, Any] | None]]:
    return read_files([shipped.ROOT / file for file in DEFAULT_FILES])


def _default() -> Catalogue:
    return _catalogue(_laid_over())


def _latest(run: Run) -> Setup | None:
    """The config of the latest run in this folder of results; None if there is none to be read."""
    for folder in run.results.parents[:_ABOVE]:
        left = (folder / FOLDER).glob("*.yaml")
        for path in sorted(left, key=lambda one: one.stat().st_mtime_ns, reverse=True):
            try:
                ((_, config),) = read_files([path])
                config = config or {}
                if (folder / config.get("results", "results")).resolve() == run.results.resolve():
                    named = f"the config of the latest run in {folder} ({path.relative_to(folder)})"
                    return Setup(_catalogue(config), named, (path,), guessed=True)
            except (ConfigError, ConfigFileError):
                continue  # of another version of the project
    return None


_CATALOGUES: dict[str, Catalogue] = {}
"""Of the latest configs, by their content: to check one takes a part of a second."""
_KEPT = 8


def _catalogue(config: Mapping[str, Any]) -> Catalogue:
    key = repr(config)
    if key in _CATALOGUES:
        return _CATALOGUES[key]
    made = Catalogue(config, shipped.SCHEMA)
    if made.files:  # users' own code finds them by their digests
        provide_files(made.files)
    # Users' own code may be edited between two calls, and its digest is in the recipes.
    if not made.files and not made.code:
        for old in list(_CATALOGUES)[: 1 - _KEPT]:
            del _CATALOGUES[old]
        _CATALOGUES[key] = made
    return made
