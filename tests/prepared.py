"""What each Snakemake of a test run reads first, read once before their processes are forked
(`snakemake_fork.py`): our modules, the schema with what methods state of themselves, and the rules.
"""

import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import snakemake.cli  # first: Snakemake's modules import each other
import snakemake.parser
import yaml
from snakemake.sourcecache import LocalSourceFile

import purification.command_line
import purification.edits
import purification.freshness
import purification.hand_over
import purification.memory
import purification.plugins
import purification.runs
import purification.runtime
import purification.whole_run  # noqa: F401
from purification.config_files import read_files
from purification.experiments import DEFAULT_FILES, Catalogue, layered

REPOSITORY = Path(__file__).resolve().parents[1]
PARSED: dict[str, tuple[str, int, dict[int, int], str]] = {}
"""Of a file with rules, by its text: the Python that Snakemake makes of it, how many rules it has,
which line each line of that comes from, and the place of the file, which stands in it."""


def remembering(parse: Callable[..., tuple[str, int]]) -> Callable[..., tuple[str, int]]:
    """Snakemake's own function, which is not asked for a text that is known. Rules have names, so
    that their number is all that one file changes for the next."""

    def found(
        path: Any, workflow: Any, linemap: dict[int, int], rulecount: int = 0, **options: Any
    ) -> tuple[str, int]:
        place = path.get_path_or_uri(secret_free=True)
        known = PARSED.get(Path(place).read_text(encoding="utf-8"))
        if known is None or options:
            return parse(path, workflow, linemap, rulecount=rulecount, **options)
        code, rules, lines, there = known
        linemap |= lines
        return code.replace(repr(there), repr(place)), rulecount + rules

    return found


def read_rules() -> None:
    """All rules of the repository."""
    for file in (REPOSITORY / "Snakefile", *sorted(REPOSITORY.glob("workflow/rules/*.smk"))):
        text, lines = file.read_text(encoding="utf-8"), dict[int, int]()
        # All that it asks a workflow for.
        reader = SimpleNamespace(
            sourcecache=SimpleNamespace(open=lambda _, text=text: StringIO(text))
        )
        code, rules = snakemake.parser.parse(LocalSourceFile(str(file)), reader, lines)
        PARSED[text] = code, rules, lines, str(file)


# Snakemake reads config files by yaml's own loader; libyaml's says the same in a tenth of the time.
yaml.FullLoader = getattr(yaml, "CFullLoader", yaml.FullLoader)
read_rules()
sys.modules["snakemake.workflow"].parse = remembering(snakemake.parser.parse)
files = [
    (name, content or {}) for name, content in read_files(REPOSITORY / f for f in DEFAULT_FILES)
]
Catalogue(layered(files), REPOSITORY / "workflow/schemas/config.schema.yaml")
