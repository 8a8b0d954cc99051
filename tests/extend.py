"""The examples of docs/extend.md and docs/tutorial.md, as they stand there."""

import re
from pathlib import Path
from typing import Any

import yaml
from conftest import REPOSITORY, merged


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of a section."""
    text = (REPOSITORY / "docs/extend.md").read_text()
    (found,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```", found, flags=re.M | re.S)


def example(section: str, folder: Path) -> dict[str, Any]:
    """Write a section's files into a folder; what its config blocks say together."""
    for code in blocks(section, "python"):
        (folder / code.split("\n")[0].removeprefix("# ")).write_text(code)
    config: dict[str, Any] = {}
    for block in blocks(section, "yaml"):
        config = merged(config, yaml.safe_load(block))
    return config


def tutorial_blocks(language: str, page: str = "docs/tutorial.md") -> list[str]:
    """The code blocks of the tutorial, or of another page."""
    text = (REPOSITORY / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def tutorial_files() -> dict[str, str]:
    """The files that the tutorial lets its reader write, by their names."""
    found = [*tutorial_blocks("python"), *tutorial_blocks("yaml")]
    named = {code.split("\n")[0].removeprefix("# "): code for code in found}
    return {name: code for name, code in named.items() if name.endswith((".py", ".yaml"))}
