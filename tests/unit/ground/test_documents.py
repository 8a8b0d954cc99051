"""What a machine can check of the documents: links, the site's navigation, the prose's checks,
README's length and picture, the citation, the changelog and the templates of issues."""

import datetime
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from PIL import Image

import purification

sys.path.insert(0, str(REPOSITORY / "docs"))
import build_site
import leaderboard
import prose

README = REPOSITORY / "README.md"
PAGES = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not {".venv", "build", "results", ".snakemake"} & {*path.relative_to(REPOSITORY).parts[:1]}
)


def links(text: str) -> Iterator[str]:
    """The targets of a page's links and pictures, outside of code."""
    text = re.sub(r"`[^`\n]+`", "", prose.without_code(text))
    yield from re.findall(r"\]\(<?([^)\s>]+)>?\)", text)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that a page has both on a forge and on the site, which make them by other rules;
    the second heading of the same text counts with its number."""
    text = prose.without_code(path.read_text())
    found: list[set[str]] = [set(), set()]
    for heading in re.findall(r"^#+ +(.*?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        plain = re.sub(r"(?<!\w)[*_]+|[*_]+(?!\w)", "", plain)
        word = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        of_forge, of_site = re.sub(r"\s", "-", word), re.sub(r"[-\s]+", "-", word)
        of_site = of_site.encode("ascii", "ignore").decode()
        for known, slug, sign in ((found[0], of_forge, "-"), (found[1], of_site, "_")):
            name, number = slug, 0
            while name in known:
                number += 1
                name = f"{slug}{sign}{number}"
            known.add(name)
    return found[0] & found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in links(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        name = path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else ""
        if not name or not path.exists():
            wrong.append(f"{target}: there is no such file")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            wrong.append(f"{target}: no such heading (on a forge and on the site)")
    assert wrong == []


def test_the_checks_of_links_and_headings_see(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# A `name`, and more\n\n## L, R\n\n## L, R\n\n"
    page.write_text(f"{text}```\n# no [link](x)\n```\n[a](b#c)\n")
    assert anchors(page) == {"a-name-and-more", "l-r"}
    assert [*links(page.read_text())] == ["b#c"]


def test_each_page_is_in_the_navigation_and_each_entry_is_a_page() -> None:
    named = [*build_site.navigation()]
    assert len(named) == len(set(named))
    assert set(named) <= build_site.pages()
    known = {path.relative_to(REPOSITORY).as_posix() for path in prose.documents()}
    # Pages of a folder that its own README leads to.
    led_to = {"docs/results/mnist/known_breaks.md"} | {*named}
    assert {name for name in known if not name.startswith(".github/")} - led_to == set()


def test_the_site_has_the_library_and_every_link_its_file(tmp_path: Path) -> None:
    build_site.gather(tmp_path / "docs")
    for name in build_site.navigation():
        assert (tmp_path / "docs" / name).is_file(), name
    text = (tmp_path / "docs/docs/api/attacks.md").read_text()
    assert "::: purification.attacks.fgsm\n" in text
    for page in (REPOSITORY / "docs").glob("*.md"):
        for target in links(page.read_text()):
            gathered = tmp_path / "docs/docs" / target.partition("#")[0]
            assert target.startswith("http") or gathered.exists(), (page, target)


def complaints(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return [(found.line, found.what) for found in prose.complaints(page)]


def test_long_sentences_and_words_are_found_in_prose_alone(tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(30)) + "."
    short = " ".join(f"word{i}" for i in range(29)) + "."
    (found,) = complaints(tmp_path, f"# T\n\nA start. {short}\n{long}\n")
    assert found[0] == 4 and found[1].startswith("a sentence of 30 words")
    (found,) = complaints(tmp_path, f"- one\n- {long}\n  {short}\n")
    assert found[0] == 2
    code = f"    {long}\n"
    harmless = f"# {long}\n\n| {long} |\n\n{code}\n```\n{long}\n```\n\n<!--\n{long}\n-->\n"
    assert complaints(tmp_path, harmless) == []
    (found,) = complaints(tmp_path, "A dataset.\n\n`dataset` and\n[x](dataset.md) stay.\n")
    assert found == (1, "'dataset': write data set")
    (found,) = complaints(tmp_path, "Defense-GAN is\na defense.\n")
    assert found == (2, "'defense': write defence")
    found = complaints(tmp_path, "It is very unique.\n")
    assert any(line == 1 and "uncomparables" in what for line, what in found)


def test_only_known_pages_may_have_long_sentences_or_are_made() -> None:
    names = {path.relative_to(REPOSITORY).as_posix() for path in prose.documents()}
    assert {*prose.SETTINGS["long_sentences_still_in"]} <= names
    assert "README.md" in names and "docs/tutorial.md" in names
    assert all((REPOSITORY / name).exists() for name in prose.SETTINGS["made"])


def test_readme_is_short_and_explains_terms_before_it_uses_them() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    table = text.index("<!-- docs/results/digits/leaderboard.csv -->")
    for term in ("gray box", "white box", "BPDA", "EOT", "worst case", "L, R", "Rec, Orig"):
        assert 0 < text.index(f"| {term} |") < table
    assert text.index("make results/table4.csv") < table < text.index("from purification import")


def test_the_picture_of_readme_is_that_of_the_committed_leaderboard(tmp_path: Path) -> None:
    assert f"]({leaderboard.PICTURE})" in README.read_text()
    rows = leaderboard.read(REPOSITORY / leaderboard.DIGITS / "leaderboard.csv")
    with Image.open(REPOSITORY / leaderboard.PICTURE) as picture:
        shown, size = picture.info["leaderboard"], picture.size
    assert shown == leaderboard.state(rows), "run: python docs/leaderboard.py"
    changed = [dict(rows[0], accuracy="0.1"), *rows[1:]]
    leaderboard.draw(changed, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.size == size
        assert picture.info["leaderboard"] == leaderboard.state(changed) != shown


def test_leaderboards_side_by_side() -> None:
    row = {"variant": "", "protocol": "", "ci_low": "0.1", "ci_high": "0.3", "white_box": ""}
    row |= {"clean_accuracy": "1.0", "gray_box": "0.5", "purification_passes": "1.0", "claim": ""}
    row |= {"accuracy": "0.2", "below_no_defense": ""}
    digits = [
        {**row, "defense": "magnet", "flags": "zero_gradient;randomised"},
        {**row, "defense": "none", "flags": ""},
    ]
    mnist = [
        {**row, "defense": "mine", "flags": "not_converged", "below_no_defense": "yes"},
        {**row, "defense": "magnet", "flags": "randomised", "accuracy": "0.0", "claim": "0.9"},
    ]
    mnist[1]["purification_passes"] = "3.0"
    made = leaderboard.side_by_side({"digits": digits, "MNIST": mnist})
    assert made.splitlines()[0] == (
        "| defence | digits: clean | gray box | white box | worst case | MNIST: clean | its paper "
        "| worst case | passes of a purification | flags |"
    )
    worst = "**0.20** [0.10, 0.30]"
    assert made.splitlines()[2:] == [
        f"| MagNet | 1.00 | 0.50 |  | {worst} | 1.00 | 0.90 | **0.00** [0.10, 0.30] "
        "| 1 (MNIST 3) | zero gradient (digits), randomised |",
        f"| none | 1.00 | 0.50 |  | {worst} |  |  |  | 1 |  |",
        f"| mine |  |  |  |  | 1.00 |  | {worst} ▼ | 1 | not converged |",
    ]


def test_leaderboards_of_later_purifiers_tell_time_and_images() -> None:
    row = {"variant": "", "protocol": "", "ci_low": "0.1", "ci_high": "0.3", "flags": ""}
    row |= {"clean_accuracy": "1.0", "purification_passes": "1", "below_no_defense": ""}
    row |= {"accuracy": "0.2", "n": "50"}
    digits = [{**row, "defense": "magnet", "ms": "0.1265"}, {**row, "defense": "none", "ms": ""}]
    made = leaderboard.side_by_side(
        {"digits": digits, "MNIST": [{**row, "defense": "magnet", "n": "100", "ms": "124.3"}]}
    )
    worst = "**0.20** [0.10, 0.30]"
    assert made.splitlines() == [
        "| defence | digits: clean | worst case | n | ms | MNIST: clean | worst case | n | ms "
        "| passes of a purification | flags |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| MagNet | 1.00 | {worst} | 50 | 0.13 | 1.00 | {worst} | 100 | 120 | 1 |  |",
        f"| none | 1.00 | {worst} | 50 |  |  |  |  |  | 1 |  |",
    ]


@pytest.mark.parametrize("wrong", ["the document", "the results"])
def test_no_file_of_a_leaderboard_is_copied_where_not_all_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(leaderboard, "README", readme := tmp_path / "README.md")
    monkeypatch.setattr(leaderboard, "PAGES", {"leaderboard": readme})
    results, place = tmp_path / "results", leaderboard.DIGITS
    for folder in (results, *(tmp_path / own for own in leaderboard.SHOWN["leaderboard"].values())):
        folder.mkdir(parents=True)
    for own in leaderboard.SHOWN["leaderboard"].values():
        shutil.copy(REPOSITORY / own / "leaderboard.csv", tmp_path / own)
    (tmp_path / place / "leaderboard.csv").unlink()
    committed = REPOSITORY / place
    for kind in leaderboard.KINDS:
        shutil.copy(committed / f"leaderboard{kind}", results)
    begin = leaderboard.BEGIN.format(place, "leaderboard")
    ready = f"# Mine\n\n{begin}\n\nold\n\n{leaderboard.END}\n\nEnd.\n"
    readme.write_text(ready)
    if wrong == "the document":
        readme.write_text("# Mine\n")
        with pytest.raises(ValueError, match=f"README.md: expected the line '{begin}'"):
            leaderboard.main(str(results), place)
    else:
        (results / "leaderboard.html").unlink()
        with pytest.raises(FileNotFoundError, match=r"leaderboard\.html: nothing was copied"):
            leaderboard.main(str(results), place)
    assert not list((tmp_path / place).iterdir())
    readme.write_text(ready)
    shutil.copy(committed / "leaderboard.html", results)
    leaderboard.main(str(results), place)
    assert {*(path.name for path in (tmp_path / place).iterdir())} == {
        f"leaderboard{kind}" for kind in leaderboard.KINDS
    }
    before, shown, after = re.split(r"((?:\|.*\n)+)", readme.read_text())
    assert (before, after) == (f"# Mine\n\n{begin}\n\n", f"\n{leaderboard.END}\n\nEnd.\n")
    assert shown.startswith("| defence |")


CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)


def test_the_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert headings[1:] == [f"[{version}] - {day}" for version, day in RELEASES]
    dates = [datetime.date.fromisoformat(day) for _, day in RELEASES]
    assert dates == sorted(dates, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)} <= kinds


def test_the_citation_is_a_valid_cff_of_the_latest_release() -> None:
    """What the Citation File Format 1.2.0 requires, of the keys that stand here."""
    cff = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert cff["cff-version"] == "1.2.0" and cff["type"] == "software"
    assert str(cff["version"]) == RELEASES[0][0]
    assert str(cff["version"]) == getattr(purification, "__version__", RELEASES[0][0])
    assert str(cff["date-released"]) == RELEASES[0][1]
    top = {"abstract", "authors", "cff-version", "date-released", "keywords", "license", "message"}
    assert cff.keys() == top | {"references", "title", "type", "version"}
    holder = re.search(r"^Copyright \(c\) \d+ (.*)$", (REPOSITORY / "LICENSE").read_text(), re.M)
    assert holder and cff["authors"] == [{"name": holder[1]}] and cff["license"] == "MIT"
    for reference in [cff, *cff["references"]]:
        assert isinstance(reference["title"], str) and reference["authors"]
        for author in reference["authors"]:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
    for reference in cff["references"]:
        assert reference["type"] in {"article", "conference-paper", "unpublished"}
        assert isinstance(reference["year"], int)


FORMS = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_templates_of_issues_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form.keys() == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"input", "textarea", "checkboxes"}
        assert field["attributes"]["label"]


def test_the_workflow_catalog_is_told_what_it_asks() -> None:
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment"}
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    kinds = {"conda", "apptainer", "apptainer+conda", "report"}
    assert usage["software-stack-deployment"].keys() == kinds
    assert all(type(value) is bool for value in usage["software-stack-deployment"].values())
    assert (REPOSITORY / "config/README.md").exists()


def test_make_has_the_targets_that_the_documents_name() -> None:
    made = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for page in prose.documents():
        text = page.read_text()
        for name in re.findall(r"(?:^    |`)make ([a-z-]+)(?=[ `\n])", text, re.MULTILINE):
            assert name in made, f"{page}: make {name}"
