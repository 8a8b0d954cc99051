"""docs/answers.md: its pictures are of the committed numbers."""

import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from PIL import Image

sys.path.insert(0, str(REPOSITORY / "docs"))
import answers

PAGE = REPOSITORY / "docs/answers.md"


@pytest.mark.parametrize("name", answers.SOURCES)
def test_a_picture_is_of_the_committed_numbers(name: str) -> None:
    assert f"](images/{name}.png)" in PAGE.read_text()
    with Image.open(answers.IMAGES / f"{name}.png") as picture:
        assert picture.info["sources"] == answers.state(name), "run: python docs/answers.py"


def test_a_changed_number_makes_a_picture_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers.state("answers_starts")
    for source in answers.SOURCES["answers_starts"]:
        copy = tmp_path / source
        copy.parent.mkdir(parents=True)
        copy.write_text((answers.RESULTS / source).read_text().replace("0.4", "0.5"))
    monkeypatch.setattr(answers, "RESULTS", tmp_path)
    monkeypatch.setattr(answers, "IMAGES", tmp_path)
    monkeypatch.setattr(answers, "SOURCES", {"answers_starts": answers.SOURCES["answers_starts"]})
    assert answers.state("answers_starts") != before
    answers.main()
    with Image.open(tmp_path / "answers_starts.png") as picture:
        assert picture.info["sources"] == answers.state("answers_starts")


def test_the_page_quotes_the_committed_numbers() -> None:
    text = " ".join(PAGE.read_text().split())
    known, one, five = (
        [f"{float(row['accuracy']):.2f}" for row in rows if row["defense"] == "defense_gan_redrawn"]
        for rows in zip(*_by_protocol(), strict=True)
    )
    assert (
        f"leaves {known[1]} there; who does not leaves {one[1]} of one draw, and {five[1]}" in text
    )
    assert f"digits it is {known[0]}, {one[0]} and {five[0]}." in text


def _by_protocol() -> list[list[dict[str, str]]]:
    """Of each leaderboard the rows of known draws, one draw and all draws."""
    boards = []
    for source in answers.SOURCES["answers_starts"]:
        rows = {
            row["protocol"]: dict(row)
            for row in answers.read(answers.RESULTS / source)
            if row["protocol"]
        }
        boards.append([rows[name] for name in ("fixed", "one_shot", "evaluations")])
    return boards
