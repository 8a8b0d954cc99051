"""The examples, the notebook and the code of docs/python.md, run on a finished run."""

import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import REPOSITORY, Workflow
from nbclient import NotebookClient

EXAMPLES = REPOSITORY / "examples"
RUN = "results/digits/seed0"


@pytest.fixture
def run_example(
    finished: Workflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs an example as a program; what it prints."""

    def run(name: str, *words: str) -> str:
        monkeypatch.chdir(finished.folder)
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_foolbox_attacks_a_trained_defence(run_example: Callable[..., str]) -> None:
    printed = run_example("attack_with_foolbox.py", RUN, "--classifier", "D", "-n", "4")
    lines = re.findall(r"^(.*): (\d\.\d{3}) (?:without|under) (.*)$", printed, re.M)
    attacks = ["attack", "FGSM", "PGD, 20 steps"]
    assert [attack for _, _, attack in lines] == 2 * attacks
    assert {model for model, *_ in lines} == {"classifier alone", "behind Defense-GAN"}
    assert all(0 <= float(accuracy) <= 1 for _, accuracy, _ in lines)


def test_the_cascade_attacks_a_trained_defence(run_example: Callable[..., str]) -> None:
    words = ("--classifier", "D", "--defense", "magnet", "-n", "3")
    printed = run_example("attack_with_evaluate.py", RUN, *words)
    assert re.findall("^## (.*)", printed, re.M) == ["no defense", "magnet"]
    assert len(re.findall(r"^\*\*Worst-case accuracy [01]\.\d{3}\*\*", printed, re.M)) == 2
    assert "| pgd_margin | BPDA |" in printed and "Flags:" in printed


def test_own_purifiers_and_classifier_are_evaluated(run_example: Callable[..., str]) -> None:
    printed = run_example("own_purifier_and_classifier.py", "--epochs", "2", "-n", "3")
    names = ["classifier alone", "behind a blur", "behind noise and a blur"]
    assert re.findall("^## (.*)", printed, re.M) == names
    clean = re.findall(r"; (\d\.\d{3}) without attack \(3 images", printed)
    assert len(clean) == 3 and float(clean[0]) > 0.5
    assert "right in all of 5" in printed


@pytest.fixture
def small_page(
    monkeypatch: pytest.MonkeyPatch, finished: Workflow, tmp_path: Path
) -> Iterator[str]:
    """The Python of docs/python.md, with what the finished run has in place of the default run's:
    another classifier, and few images."""
    text = (REPOSITORY / "docs/python.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S))
    assert code.count('"A"') == 3 and code.count("n=100") == 1
    monkeypatch.chdir(tmp_path)
    changed = {'"A"': '"D"', "n=100": "n=3", f'"{RUN}"': f'"{finished.folder / RUN}"'}
    for old, new in changed.items():
        code = code.replace(old, new)
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield code
    plt.close("all")


def test_the_code_of_the_page_runs(small_page: str) -> None:
    found: dict[str, Any] = {}
    exec(compile(small_page, "docs/python.md", "exec"), found)
    assert 0 <= found["accuracy"] <= 1 and found["adversarial"].shape == (3, 1, 28, 28)
    assert Path("report.png").stat().st_size > 1000
    assert len(found["hardest"]) == int(found["report"].broken.sum())
    assert found["mine"].n == 3 and len(found["drawn"].protocols) == 2
    assert "randomised" in found["drawn"].flags


def test_links_of_the_page_lead_somewhere() -> None:
    text = (REPOSITORY / "docs/python.md").read_text()
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) >= 5
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(finished: Workflow, tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "digits.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:  # what it shows in the repository is of the default run
        if cell.cell_type == "code":
            cell.outputs = []
    (given,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    given.source = f"RUN, CLASSIFIER, N = {str(finished.folder / RUN)!r}, 'D', 8"
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    shown = {
        kind: [cell.id for cell in notebook.cells for output in cell.get("outputs", ())
               if kind in output.get("data", ())]
        for kind in ("image/png", "text/markdown", "text/html")
    }  # fmt: skip
    assert shown["image/png"] == ["purify", "plot", "broken"]
    assert shown["text/markdown"] == ["evaluate-plain", "evaluate-defended"]
    assert shown["text/html"] == ["frame"]
