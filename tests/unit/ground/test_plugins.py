"""Users' own code: found by its name, read as Python reads it, refused once it has changed."""

import sys
from pathlib import Path

import pytest

from purification import plugins
from purification.plugins import import_named, problem_with


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("marked", b"\xef\xbb\xbf"),
        ("latin", b"# -*- coding: latin-1 -*-\nAUTHOR = 'Andr\xe9'\n"),
        ("windows", b"'Lab.'\r\n"),
    ],
)
def test_source_is_read_as_python_reads_it(
    name: str, head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = f"my_{name}_lab"
    (tmp_path / f"{module}.py").write_bytes(head + b"def load(root):\n    return root\n")
    assert problem_with(f"{module}:load") is None
    assert import_named(f"{module}:load")("here") == "here"
    assert "has no 'store' at its top level" in str(problem_with(f"{module}:store"))


@pytest.mark.parametrize(
    "source", [b"def load(:", b"AUTHOR = 'Andr\xe9'", b"# coding: klingon\n", b"x = 1\0"]
)
def test_what_is_no_python_is_told(
    source: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_broken_lab.py").write_bytes(source)
    assert "my_broken_lab.py is not Python: " in str(problem_with("my_broken_lab:load"))


def test_the_program_itself_is_no_module_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert "neither installed nor" in str(problem_with("__main__:load"))


def test_code_that_changed_since_the_workflow_was_planned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.CODE_VARIABLE, "{}")
    file = tmp_path / "planned_code.py"
    file.write_text("def attack(): return 1\n")
    plugins.provide_code(["planned_code:attack"])
    assert import_named("planned_code:attack")() == 1
    file.write_text("def attack(): return 2\n")
    with pytest.raises(ValueError, match=r"planned_code\.py was changed since"):
        import_named("planned_code:attack")
