"""The `snakemake` of the environment that `make` sets up: targets stand where people put them.

Snakemake's options that take several words (`--resources`, `--config`, `--configfile`, ...) take
all words that follow, a target too: `snakemake --cores 8 --resources gpu=1 results/table4.csv` is
then refused with a message that does not say so. Here a word that can be no value of such an
option ends it. A line that Snakemake understands by itself is passed on as it is.

A config file that is missing or broken is named before Snakemake reads it, which would end in a
traceback without its name.
"""

import sys

from purification.config_files import ConfigFileError, read_files

_PAIRS = {"--resources", "--res", "--config", "-C", "--default-resources", "--default-res"}
_PAIRS |= {"--set-threads", "--set-resources", "--set-resource-scopes", "--groups"}
_PAIRS |= {"--group-components"}
_FILES = {"--configfile", "--configfiles"}


def separate_targets(words: list[str]) -> list[str]:
    """The words of a command line, with targets that an option would take moved behind `--`."""
    if "--" in words:
        return words
    kept: list[str] = []
    targets: list[str] = []
    option, values = "", 0
    for word in words:
        if word.startswith("-"):
            option, values = word, 0
        elif _cannot_be_value(word, option, values):
            option = "target"
        if option == "target":
            targets.append(word)
        else:
            kept.append(word)
            values += not word.startswith("-")
    return [*kept, "--", *targets] if targets else words


def _cannot_be_value(word: str, option: str, values: int) -> bool:
    """Whether a word is no value of an option that has `values` of them already."""
    if option in _PAIRS:
        return "=" not in word
    return option in _FILES and values > 0 and not word.endswith((".yaml", ".yml", ".json"))


def config_files(words: list[str]) -> list[str]:
    """The files that a command line lays over the default config, in their order."""
    files: list[str] = []
    option = ""
    for word in words:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            files += [value] if value and option in _FILES else []
        elif option in _FILES:
            files.append(word)
    return files


def main() -> None:
    """Run Snakemake on this process's arguments."""
    sys.argv = ["snakemake", *separate_targets(sys.argv[1:])]
    try:
        read_files(config_files(sys.argv[1:]))
    except ConfigFileError as error:
        sys.exit(str(error))
    from snakemake.cli import main as snakemake

    sys.exit(snakemake())
