"""Lints the documents' prose: proselint with the project's settings, long sentences, and words that
the project spells or calls otherwise. `make lint` runs it.

    python docs/prose.py [FILE ...]

Code, tables, quoted names and HTML comments are no prose. A sentence ends at a full stop, question
or exclamation mark, at the end of a paragraph or list item, at a colon that ends a line, and at a
dot between entries. Files under docs/results that the workflow writes are no prose either.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = json.loads((ROOT / "docs/prose.json").read_text())
_ABBREVIATIONS = ("e.g.", "i.e.", "et al.", "vs.", "cf.", "etc.", "adv. tr.")
_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) ")
_END = re.compile(r"""[.!?]["')*_]*(?=\s|$)|:[*_]*(?=\n|$)| · """)


class Complaint(NamedTuple):
    """What is wrong in a file, and where."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def documents() -> list[Path]:
    """All Markdown files that people write."""
    folders = ("", ".github", "config", "docs", "examples", "findings", "profiles")
    folders += ("resources/papers", "tests")
    found: list[Path] = []
    for folder in folders:
        glob = (ROOT / folder).rglob if folder else (ROOT / folder).glob
        found += [path for path in glob("*.md") if path.is_file()]
    kept = [path for path in found if not _made(path)]
    return sorted(set(kept))


def _made(path: Path) -> bool:
    """A page that the workflow writes has its numbers as CSV beside it."""
    name = path.relative_to(ROOT).as_posix()
    beside = name.startswith("docs/results/") and path.with_suffix(".csv").exists()
    return name in SETTINGS["made"] or (beside and name not in SETTINGS["written"])


def without_code(text: str) -> str:
    """The text without fenced code; every line stays where it is."""
    return re.sub(_FENCED, _blank, text)


def prose(text: str) -> str:
    """The text with all that is no prose blanked out; every line stays where it is."""
    text = without_code(re.sub(r"(?s)\A---\n.*?\n---\n|<!--.*?-->", _blank, text))
    kept: list[str] = []
    blank = code = listed = False
    for line in text.split("\n"):
        # Four spaces after an empty line are code, unless they go on with an item of a list.
        code = line.startswith("    ") and (code or (blank and not listed))
        if re.match(_ITEM, line) and not code:
            listed = True
        elif line.strip() and not line.startswith(" "):
            listed = False
        kept.append("" if code or re.match(r" *\||#|:::", line) else line)
        blank = not line.strip()
    text = "\n".join(kept)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", _blank, text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda match: "NAME" + _blank(match), text)
    text = re.sub(r"<[^>\n]+>", "", text)
    return re.sub(r"^( *>) ?", "", text, flags=re.MULTILINE)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of what `prose` left, each with its line, from 1."""
    lines, first = [*text.split("\n"), ""], 1
    block: list[str] = []
    for number, line in enumerate(lines, 1):
        if block and (not line.strip() or re.match(_ITEM, line)):
            yield from _of_block("\n".join(block), first)
            block = []
        if line.strip():
            first = first if block else number
            block.append(re.sub(_ITEM, "", line))


def _of_block(body: str, first: int) -> Iterator[tuple[int, str]]:
    """The sentences of a paragraph or of an item of a list, whose first line is `first`."""
    for short in _ABBREVIATIONS:
        body = body.replace(short, short.replace(".", "\0"))
    start = 0
    for end in [*re.finditer(_END, body), None]:
        part = body[start : end.end() if end else None]
        start += len(part)
        if part.strip():
            before = start - len(part.lstrip())
            yield first + body.count("\n", 0, before), part.replace("\0", ".").strip()


def words(sentence: str) -> int:
    """How many words a sentence has: numbers and names count, signs by themselves do not."""
    return sum(bool(re.search(r"\w", part)) for part in sentence.split())


def complaints(path: Path) -> list[Complaint]:
    """What is wrong in a file."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    text = prose(path.read_text())
    found = [Complaint(name, line, what) for line, what in _by_proselint(text)]
    for pattern, instead in SETTINGS["words"].items():
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Complaint(name, line, f"{match[0]!r}: write {instead}"))
    if name not in SETTINGS["long_sentences_still_in"]:
        most = SETTINGS["most_words"]
        for line, sentence in sentences(text):
            if (count := words(sentence)) > most:
                start = " ".join(sentence.split()[:6])
                found.append(
                    Complaint(name, line, f"a sentence of {count} words (at most {most}): {start}")
                )
    return sorted(found)


def _by_proselint(text: str) -> Iterator[tuple[int, str]]:
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    # The first of the keys that fits a check decides: what is more special comes first.
    config = {**DEFAULT, "checks": SETTINGS["proselint"] | DEFAULT["checks"]}
    for result in LintFile("document", content=text).lint(config):  # type: ignore[arg-type]
        check = result.check_result
        yield result.pos[0], f"{check.message} ({check.check_path})"


def main(*files: str) -> int:
    found = [
        one for path in (map(Path, files) if files else documents()) for one in complaints(path)
    ]
    for one in found:
        print(one)
    print(f"{len(found)} complaints about the prose" if found else "The prose is clean.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
