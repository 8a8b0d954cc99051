"""Builds the documents as a site: `make docs`, or

    python docs/build_site.py [--check]

Zensical (the successor of Material for MkDocs) renders the repository's Markdown as it stands on
disk, with pages for the library's public modules from their docstrings (mkdocstrings). The files
are gathered in build/docs, where every relative link is what it is in the repository; the site is
build/site. `--check` ends after the gathering and says what the navigation lacks.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GATHERED = ROOT / "build/docs"
CONFIG = ROOT / "zensical.toml"
PARTS = ("*.md", "LICENSE", "CITATION.cff", "config", "docs", "examples", "findings", "profiles")
PARTS += ("resources/papers", "tests/README.md", "benchmarks", "workflow/schemas")
"""What pages consist of or point to."""
NO_PAGES = ("docs/*.py", "docs/*.json", "**/__pycache__")
API = {
    "purification": "Front door",
    "purification.attacks": "Attacks",
    "purification.purifiers": "Purifiers",
    "purification.datasets": "Data sets",
    "purification.models": "Networks",
    "purification.evaluation": "Evaluation",
    "purification.randomness": "Random numbers",
    "purification.storage": "Files",
}
"""The pages of the library: module and heading. A room's page has its modules, too; that of the
whole what it exports."""


def gather(into: Path = GATHERED) -> None:
    """Copy what the site is made of, and write the pages of the library."""
    shutil.rmtree(into, ignore_errors=True)
    for part in PARTS:
        for source in ROOT.glob(part):
            target = into / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
    for pattern in NO_PAGES:
        for path in [*into.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, text in api_pages():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_text(text)


def api_pages() -> Iterator[tuple[str, str]]:
    """The pages of the library: their places, and what mkdocstrings makes them from."""
    for module, heading in API.items():
        modules, folder = [module], ROOT / "src" / module.replace(".", "/")
        if module != "purification":
            found = sorted(folder.glob("*.py"))
            modules += [f"{module}.{one.stem}" for one in found if one.stem[0] != "_"]
        text = "".join(f"\n::: {name}\n" for name in modules)
        yield f"docs/api/{module.rpartition('.')[2]}.md", f"# {heading}\n{text}"


def navigation(nav: Any = None) -> Iterator[str]:
    """The files that the site's navigation names."""
    if nav is None:
        nav = tomllib.loads(CONFIG.read_text())["project"]["nav"]
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from navigation(entry)


def pages() -> set[str]:
    """The Markdown files of the site."""
    made = {path for path, _ in api_pages()}
    found = [path for part in PARTS for path in ROOT.glob(part)]
    files = [one for path in found for one in (path.rglob("*.md") if path.is_dir() else [path])]
    return made | {one.relative_to(ROOT).as_posix() for one in files if one.suffix == ".md"}


def main(*words: str) -> int:
    missing = sorted(set(navigation()) - pages())
    for page in missing:
        print(f"zensical.toml: no such page: {page}")
    if "--check" in words or missing:
        return bool(missing)
    gather()
    # Links that lead nowhere, to a page or to a heading, end a strict build.
    command = [sys.executable, "-m", "zensical", "build", "--config-file", str(CONFIG)]
    done = subprocess.run([*command, "--strict"], cwd=ROOT, check=False)
    if done.returncode == 0:
        print(f"The site is {ROOT / 'build/site/index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
