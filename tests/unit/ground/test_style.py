"""The house rules that a machine can check."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "workflow/scripts").glob("*.py"))
RULE_FILES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
# What each room of the library may import of ours (docs/architecture.md); a room may import itself.
MAY_IMPORT = {
    "api": {
        *("config_files", "datasets", "edits", "evaluation", "experiments", "facts", "freshness"),
        *("attacks", "guests", "models", "networks", "plugins", "provenance", "purifiers"),
        *("guesses", "randomness", "reporting", "runtime", "shipped", "storage"),
    },
    "shipped": set(),
    "experiments": {"facts", "plugins", "provenance", "reach", "shipped", "diffusers_folder"}
    | {"guesses"},
    "diffusers_folder": set(),
    "randomness": set(),
    "disk": set(),
    "memory": {"disk"},
    "runtime": {"disk", "memory"},
    "guesses": set(),
    "plugins": {"guesses"},
    "config_files": set(),
    "command_line": {"config_files"},
    "guests": {"randomness"},
    "hdf5": set(),
    "parts": set(),
    "storage": {"disk", "hdf5", "provenance", "runs"},
    "provenance": set(),
    "facts": {"plugins"},
    "reach": {"facts"},
    "runs": set(),
    "whole_run": set(),
    "hand_over": set(),
    "warm_start": {"hand_over"},
    "text_tables": {"provenance", "storage"},
    "freshness": {"experiments", "provenance", "storage", "text_tables"},
    "networks": {"config_files", "experiments", "provenance", "runtime", "shipped", "storage"}
    | {"text_tables"},
    "edits": {"experiments", "freshness", "provenance", "runs"},
    "datasets": {"storage", "plugins", "runtime", "facts"},
    "models": {"storage", "plugins", "guests", "parts", "diffusers_folder"},
    "attacks": {"models", "randomness", "runtime", "plugins", "guests", "facts", "parts"}
    | {"reach"},
    "training": {"models", "attacks", "randomness", "runtime", "storage", "provenance"},
    "purifiers": {"models", "training", "randomness", "runtime", "plugins", "guests"}
    | {"facts", "parts", "provenance", "text_tables"},
    "evaluation": {
        *("attacks", "purifiers", "models", "datasets", "storage", "randomness", "runtime"),
        *("guests", "parts", "provenance"),
    },
    "reporting": {"storage", "evaluation", "provenance", "text_tables"},
}


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_each_rule_states_all_that_it_must(path: Path) -> None:
    rules = re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]
    for rule in rules:
        name = rule.split(":")[0]
        for directive in ("output", "log", "params", "threads", "resources"):
            assert re.search(rf"^    {directive}:", rule, re.MULTILINE), f"{name}: no {directive}"
        for directive in ("message", "script", "mem_mb=", "runtime="):
            assert directive in rule, f"{name}: no {directive}"
        assert f'"../scripts/{name}.py"' in rule, f"{name}: its script has another name"


@pytest.mark.parametrize(
    "path", [*RULE_FILES, REPOSITORY / "Snakefile"], ids=lambda path: path.stem
)
def test_each_rule_says_what_it_does(path: Path) -> None:
    """For `snakemake --list`. Groups are a profile's: in rules they cost every large dry run. A
    `benchmark` would measure a process that waits for the job's (`purification.warm_start`)."""
    text = path.read_text()
    rules = re.findall(r"^(?:use )?rule (.*):\n(.*)", text, flags=re.MULTILINE)
    assert [name for name, first in rules if not re.fullmatch(r' +"""[A-Z].*[^.]"""', first)] == []
    assert not re.search(r"^ +(group|benchmark):", text, re.MULTILINE)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_thin(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*(def|class|for|while) ", text, re.MULTILINE)
    body = [line for line in text.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(body) <= 40


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if path.stem.startswith("train_")], ids=lambda path: path.stem
)
def test_scripts_that_train_save_the_network_first_and_draw_nothing(path: Path) -> None:
    """Snakemake deletes all outputs of a job that fails."""
    text = path.read_text()
    assert "purification.reporting" not in text
    assert 0 < text.index("\nsave_network(") < text.index("\nwrite_rows(")


def test_rooms_import_only_what_they_may() -> None:
    library = REPOSITORY / "src/purification"
    for path in library.rglob("*.py"):
        room = path.relative_to(library).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        imported = re.findall(r"^\s*from purification(?:\.(\w+))?.* import", path.read_text(), re.M)
        imported += re.findall(r"^from purification import (\w+)", path.read_text(), re.M)
        wrong = {name for name in imported if name} - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(REPOSITORY)} imports {wrong}"
        # These tell the user the command that makes a missing file.
        told = path in (library / "api/loading.py", library / "api/places.py")
        if told or room in ("command_line", "runs", "warm_start", "hand_over", "whole_run"):
            continue
        assert "snakemake" not in re.sub(r"#.*|`[^`]*`", "", path.read_text()), path


def test_one_module_imports_matplotlib_and_seaborn() -> None:
    """Elsewhere they would be imported with what a machine has set for other programs."""
    for folder in ("src", "workflow/scripts", "benchmarks"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            # An import of types only is no import.
            text = re.sub(r"^if TYPE_CHECKING:\n(    .*\n)+", "", path.read_text(), flags=re.M)
            found = re.findall(r"^\s*(?:import|from) (?:matplotlib|seaborn|cycler)\b.*", text, re.M)
            # A user's own figure, in a notebook, has the user's settings.
            users = "src/purification/api/report.py"
            allowed = path.name == "plotting.py" or path == REPOSITORY / users
            assert not found or allowed, f"{path}: {found}"


def test_library_never_reads_global_random_state() -> None:
    """Seeds come from recipes; only `isolated_rng` may touch the global generators. A job that is a
    fork seeds them from the system, as a new process does."""
    for path in (REPOSITORY / "src/purification").rglob("*.py"):
        if path.name not in ("randomness.py", "warm_start.py"):
            assert not re.search(r"manual_seed\(|np\.random\.|random\.seed", path.read_text()), path


def test_documents_have_no_open_places() -> None:
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        assert "@@" not in path.read_text(), path
