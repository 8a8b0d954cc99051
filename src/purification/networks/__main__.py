"""`python -m purification.networks`: add trained networks to the project's, or check them."""

import argparse
import sys

from purification.experiments import ConfigError
from purification.networks import datasets, home, places
from purification.networks.shipping import Refused, add, check, remove


def main(words: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m purification.networks",
        description="Networks that were trained once, for every clone (docs/networks.md).",
    )
    parser.add_argument("--folder", default=str(home()), help="where they lie (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="keep finished networks of a run")
    adding.add_argument(
        "--config", nargs="+", default=[], help="the config files of the run, on top of the default"
    )
    adding.add_argument("paths", nargs="+", help="networks, or folders of them, in results/")
    removing = commands.add_parser("remove", help="take networks out again")
    removing.add_argument("paths", nargs="+", help="files or folders there")
    commands.add_parser("check", help="compare all with their checksums, recipes and configs")
    commands.add_parser("list", help="what there is")
    given = parser.parse_args(words)
    try:
        if given.command == "add":
            print(*add(given.folder, given.config, given.paths), sep="\n")
        elif given.command == "remove":
            print(*remove(given.folder, given.paths), sep="\n")
        elif given.command == "check":
            wrong = check(given.folder)
            print(*(wrong or [f"{given.folder}: as it should be"]), sep="\n")
            return int(bool(wrong))
        else:
            for dataset in datasets(given.folder):
                for kept in places(dataset, given.folder):
                    print(f"{kept.bytes / 1e6:5.2f} MB  {dataset}/{kept.file}")
    except (Refused, ConfigError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
