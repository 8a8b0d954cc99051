"""What code states of itself is read without running it."""

from pathlib import Path

import pytest

from purification.facts import facts_at, facts_in, facts_of

LAB = '''
from purification.nowhere import TORCH

raise SystemExit("this file must not be run")
COMMON = {"latent": "count"}


class Base:
    RANDOMISED = False

    def fit(self): ...


class Mine(Base):
    """Removes
    noise.

    More of it."""

    SETTINGS = {**COMMON, "noise": {"type": "number", "default": -0.1}}

    def forward(self, images): ...


@no_grad(mode=TORCH)
@attacks.attack(norm="linf", settings={"epsilon": "epsilon", "steps": "count"})
def sign(model, images, labels, *, epsilon, steps=3):
    """Moves.

    Args:
        epsilon: l-inf radius, in pixel
            units.
        steps: of them.

    Returns:
        Images.
    """


def plain(model, images, labels): ...
'''


def test_classes_and_functions_state_facts(tmp_path: Path) -> None:
    file = tmp_path / "lab.py"
    file.write_text(LAB)
    found = facts_in(file)
    mine, sign = found["Mine"], found["sign"]
    assert mine.summary == "Removes noise."
    assert mine.stated["randomised"] is False
    assert mine.settings == {
        "latent": {"$ref": "#/$defs/count"},
        "noise": {"type": "number", "default": -0.1},
    }
    assert mine.required == ["latent"]
    assert mine.defaults == {"noise": -0.1}
    assert list(mine.methods or ()) == ["fit", "forward"]
    assert (sign.decorator, sign.stated["norm"], sign.methods) == ("attack", "linf", None)
    assert sign.required == ["epsilon"]
    assert sign.settings == {
        "epsilon": {"$ref": "#/$defs/epsilon", "description": "l-inf radius, in pixel units."},
        "steps": {"$ref": "#/$defs/count", "description": "of them."},
    }
    assert list(sign.parameters.items())[2:] == [
        ("labels", False),
        ("epsilon", False),
        ("steps", True),
    ]
    assert (found["plain"].stated, found["plain"].settings) == ({}, {})


def test_what_would_have_to_run_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "lab.py"
    file.write_text("class Mine:\n    SETTINGS = dict(width=3)\n")
    with pytest.raises(ValueError, match=r"lab.py, line 2: Mine.SETTINGS must be made of literals"):
        facts_in(file)


def test_what_one_states_does_not_stand_in_the_way_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = "from purification.attacks import attack as states\nclass Other:\n    MADE = dict(a=1)\n"
    code += "@states(norm='l2')\ndef mine(model, images, labels): ...\nelsewhere = mine\n"
    (tmp_path / "beside.py").write_text(code)
    assert facts_at("attacks", "beside:mine").stated == {"norm": "l2"}
    # Of what stands elsewhere nothing is known.
    assert facts_at("attacks", "beside:elsewhere").stated == {}
    assert facts_at("datasets", "beside:mine").stated == {}
    with pytest.raises(ValueError, match=r"line 3: Other.MADE must be made of literals"):
        facts_of("beside:Other")


def test_an_edit_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "lab.py"
    file.write_text("class Mine:\n    COLUMN = 'a'\n")
    assert facts_in(file)["Mine"].stated == {"column": "a"}
    file.write_text("class Mine:\n    COLUMN = 'longer'\n")
    assert facts_in(file)["Mine"].stated == {"column": "longer"}


def test_constants_of_the_library_may_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "lab.py"
    file.write_text(
        "from purification.runs import VARIABLE\n\n\nclass Mine:\n    COLUMN = VARIABLE\n"
    )
    from purification.runs import VARIABLE

    assert facts_in(file)["Mine"].stated == {"column": VARIABLE}


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="module 'nowhere' is neither installed"):
        facts_of("nowhere:Mine")
    with pytest.raises(ValueError, match=r"runs.py has no 'Mine' at its top level"):
        facts_of("purification.runs:Mine")
