"""What `pip install .` brings: the library's dependencies, all of them, and nobody's command."""

import ast
import re
import sys
import tomllib

from conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# cycler is a part of matplotlib.
PACKAGES = {"cycler": "matplotlib", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", one)[0] for one in requirements}


def test_no_command_is_installed() -> None:
    assert not {"scripts", "gui-scripts", "entry-points"} & PROJECT.keys()


def imports(text: str) -> set[str]:
    """The packages that a module imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    parts = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in (*plain, *parts)}


def test_the_library_declares_what_it_imports() -> None:
    front = "command_line.py"  # Snakemake's
    files = [p for p in (REPOSITORY / "src/purification").rglob("*.py") if p.name != front]
    imported = set().union(*(imports(path.read_text()) for path in files))
    # Only for a user's folder of that library, which says so where it is missing.
    assert "diffusers" in names(PROJECT["optional-dependencies"]["diffusers"])
    foreign = imported - {*sys.stdlib_module_names} - {"purification", "diffusers"}
    needed = {PACKAGES.get(name, name) for name in foreign}
    assert {"torch", "pyyaml"} <= needed <= names(PROJECT["dependencies"])
    assert "snakemake" in names(PROJECT["optional-dependencies"]["workflow"])
    assert "snakemake" not in names(PROJECT["dependencies"])
