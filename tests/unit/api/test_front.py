"""What the package exports: light to import, complete when it is installed elsewhere."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY

import purification
from purification import available, shipped
from purification.attacks import ATTACKS
from purification.experiments import DEFAULT_FILES


def test_importing_the_package_imports_no_library() -> None:
    """Each job of the workflow pays for what it uses."""
    code = "import sys, purification; dir(purification); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    own = {name for name in loaded if name.startswith("purification")}
    assert own <= {"purification", "purification.warm_start"}
    assert not {"torch", "numpy", "pandas", "yaml", "h5py"} & {*loaded}


def test_every_name_is_there_and_typed() -> None:
    names = {*purification.__all__} - {"__version__"}
    assert names == {*purification._MODULES} and {*names} <= {*dir(purification)}
    for name in names:
        found = getattr(purification, name)
        assert found.__name__ == name and found.__doc__
    # What a type checker and an editor see are the same names from the same places.
    tree = ast.parse(Path(purification.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in
                ast.unparse(node.test))  # fmt: skip
    typed = {alias.name: str(node.module).removeprefix("purification.")
             for node in block.body if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert typed == purification._MODULES


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'purification' has no attribute 'evalute'"):
        _ = purification.evalute
    with pytest.raises(ImportError, match="cannot import name 'evalute'"):
        from purification import evalute  # noqa: F401


def test_what_is_available_has_a_line_each() -> None:
    found = available()
    assert [*found] == ["defenses", "classifiers", "datasets", "attacks", "budgets"]
    assert {"defense_gan", "magnet", "adv_training", "diffpure"} <= {*found["defenses"]}
    assert {*found["attacks"]} == {*ATTACKS}
    assert {"digits", "mnist"} <= {*found["datasets"]} and "A" in found["classifiers"]
    lines = [line for names in found.values() for line in names.values()]
    assert all(line.endswith(".") and "\n" not in line for line in lines)
    # Hardly two defences read alike.
    assert len({*found["defenses"].values()}) > 0.9 * len(found["defenses"])
    assert "  defense_gan " in str(found) and "\nattacks\n" in str(found)
    own = {"defenses": {"mine": {"method": "redeployed", "purifier": "magnet",
           "classifier": "reconstructions", "threat_models": ["gray_box"]}}}  # fmt: skip
    assert available(own)["defenses"]["mine"] == (
        "The purifier of magnet before a classifier that was trained on its reconstructions."
    )


INSTALLED = """
import json, purification, torch
from purification import available, evaluate, shipped
from purification.api.configs import setup_of
from purification.experiments import PAPERS

class Brighter(torch.nn.Module):
    def forward(self, images):
        value = images.flatten(1).mean(dim=1) - 0.5
        return 20 * torch.stack([-value, value], dim=1)

images = torch.stack([torch.full((1, 4, 4), v) for v in (0.2, 0.45, 0.55, 0.8)])
report = evaluate(Brighter(), images, torch.tensor([0, 0, 1, 1]), epsilon=0.1, progress=False)
other = setup_of(None, "config/mnist_cpu.yaml")
print(json.dumps([purification.__file__, str(shipped.ROOT), purification.__version__,
    report.accuracy, len(available()["defenses"]), len(PAPERS),
    other.catalogue.config["table4"]["datasets"]]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the repository, built as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def test_a_wheel_has_all_that_the_library_reads(wheel: Path) -> None:
    assert wheel.name == f"purification-{purification.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name.removeprefix("purification/_shipped/") for name in names}
    schema = shipped.SCHEMA.relative_to(shipped.ROOT)
    assert {*DEFAULT_FILES, str(schema), "config/studies/starts.yaml"} <= packed
    papers = {str(path.relative_to(shipped.ROOT)) for path in shipped.PAPERS.iterdir()}
    assert papers <= packed
    own = {name for name in names if not name.startswith("purification/_shipped/")}
    source = REPOSITORY / "src"
    files = {p for p in (source / "purification").rglob("*") if p.suffix in (".py", ".html")}
    assert {str(path.relative_to(source)) for path in files} <= own
    assert "purification/py.typed" in own


@pytest.mark.slow
def test_an_installed_package_works_outside_of_the_repository(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", INSTALLED],
        **{"cwd": tmp_path / "elsewhere", "env": environment},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    file, root, version, accuracy, defenses, papers, datasets = json.loads(done.stdout)
    package = tmp_path / "site/purification"
    assert (file, root) == (str(package / "__init__.py"), str(package / "_shipped"))
    assert version == purification.__version__
    assert accuracy == 0.5
    assert defenses == len(available()["defenses"]) and papers == 4
    assert datasets == ["mnist", "fmnist"]
