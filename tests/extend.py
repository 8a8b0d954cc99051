"""The examples of docs/extend.md, as they stand there."""

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
