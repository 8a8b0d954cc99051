"""A defence is one class in one file: what it states is read there, and nobody else names it."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import REPOSITORY, SCHEMA, digests, micro_catalogue
from torch import nn

from purification.experiments.config import ConfigError
from purification.experiments.methods import composed, defenses
from purification.experiments.methods import is_randomised as randomised
from purification.facts import class_that_states
from purification.guests import GuestError
from purification.models.checkpoints import network_of, save_network
from purification.plugins import provide_files
from purification.purifiers.base import Defended, purified_by
from purification.purifiers.descent import SearchSettings
from purification.purifiers.fitting import fit_network
from purification.purifiers.loading import VALIDATION, load_purifier
from purification.randomness import draw_seeds, is_randomised
from purification.training.magnet import train_autoencoder

SHAPE = (1, 28, 28)
WITHOUT_PURIFIER = {"adversarial_training", "redeployed"}
IMAGES = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 10

LAB = """
import torch
from torch import nn

from purification.purifiers import Purifier


class Mine(Purifier):
    SETTINGS = {"width": {"type": "integer", "minimum": 1, "default": 2}, "epochs": "count"}
    LEARNS_FROM = ("images",)
    COLUMN = "brighter"

    def __init__(self, settings, image_shape):
        super().__init__()
        self.settings = settings
        colours, size = image_shape[0], settings["width"] * 2 - 1
        self.layer = nn.Conv2d(colours, colours, size, padding="same")

    def forward(self, images):
        return self.layer(images).sigmoid()

    def fit(self, images, labels, *, seed, device):
        with torch.no_grad():
            self.layer.bias.copy_(torch.rand(1) + images.mean())
        return [{"epoch": n, "loss": 1 / (n + 1)} for n in range(self.settings["epochs"])]


class FromCopies(Mine):
    SETTINGS = {"copies": "copies", "width": "count"}
    LEARNS_FROM = ("copies", "classifier")

    def fit(self, images, labels, *, copies, classifier, seed, device):
        assert classifier(images).shape == (len(images), 10)
        return [{"copies": len(copies), "loss": (copies[0] - images).square().mean().item()}]


class Untrained(Purifier):
    def __init__(self, settings, image_shape, files):
        super().__init__()
        self.shift = float(open(files["shift"]).read())

    def forward(self, images):
        return (images + self.shift).clamp(0, 1)


class Exploding(Mine):
    def fit(self, images, labels, *, seed, device):
        self.layer.weight.data.fill_(torch.inf)
        return [{"loss": 1.0}]


class Silent(Mine):
    def fit(self, images, labels, *, seed, device):
        return None


class Lossless(Mine):
    def fit(self, images, labels, *, seed, device):
        return [{"loss": float("nan")}]


class Noisy(Mine):
    def forward(self, images):
        return (images + 0.1 * torch.rand_like(images)).clamp(0, 1)


class Plain(Mine):
    shift = 0.0

    def forward(self, images):
        return (super().forward(images) + self.shift) / 2

    def fit(self, images, labels, *, seed, device):
        self.shift = 0.25
        return [{"loss": 1.0}]


class Scored(Plain):
    def forward(self, images):
        return self.layer(images).sigmoid()

    def score_purified(self, images, purified):
        return (purified - images).square().flatten(1).mean(1) + self.shift


class Late(Mine):
    def fit(self, images, labels, *, seed, device):
        self.second = nn.Conv2d(1, 1, 1)
        return [{"loss": 1.0}]


class Reordered(Mine):
    def fit(self, images, labels, *, seed, device):
        self.to(memory_format=torch.channels_last)
        return [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "accuracy": 0.5}]


class Texts(Mine):
    def fit(self, images, labels, *, seed, device):
        return [{"loss": 1.0}, {"loss": "low"}]


class Tensors(Mine):
    def fit(self, images, labels, *, seed, device):
        return [{"loss": images.mean()}]


class Marked(Mine):
    def fit(self, images, labels, *, seed, device):
        return [{"loss": 1.0, "recipe": 2}]


build = lambda settings, networks, seed: nn.Identity()
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "contract_lab.py"
    file.write_text(LAB)
    (tmp_path / "shift.txt").write_text("0.25")
    monkeypatch.syspath_prepend(tmp_path)
    return file


def entry(name: str, **more: Any) -> dict[str, Any]:
    own = {"method": f"contract_lab:{name}", "classifier": "originals"}
    return {"mine": own | {"threat_models": ["gray_box"]} | more}


# What this library has


def test_each_method_that_the_schema_allows_is_loaded(tmp_path: Path) -> None:
    allowed = composed(yaml.safe_load(SCHEMA.read_text()))["$defs"]["defense_method"]["anyOf"][0]
    catalogue, loaded = micro_catalogue(), set()
    for defense, settings in catalogue.config["defenses"].items():
        if settings["method"] in WITHOUT_PURIFIER:
            continue
        name = catalogue.for_classifier(defense, "D")
        recipe, files = catalogue.purifier("digits", 0, name).recipe, {}
        if VALIDATION in recipe["networks"]:
            recipe = {**recipe, "settings": {**recipe["settings"], "threshold": 0.1}}
        for key, network in recipe["networks"].items():
            if key != VALIDATION:
                files[key] = tmp_path / f"{defense}.{key}.safetensors"
                save_network(files[key], network_of(network, SHAPE), network, SHAPE)
        purifier, seeds = load_purifier(recipe, files, SHAPE), draw_seeds(0, range(2), 0)
        purified = purified_by(purifier, IMAGES[:2], seeds)
        assert is_randomised(purifier) == randomised(settings)
        assert purified.shape == IMAGES[:2].shape
        assert ((purified >= 0) & (purified <= 1)).all()
        loaded.add(settings["method"])
    assert loaded | WITHOUT_PURIFIER == set(allowed["enum"])


def test_stated_defaults_are_those_of_the_code() -> None:
    first_output = inspect.signature(train_autoencoder).parameters["first_output"].default
    assert defenses()["magnet"].defaults == {"first_output": first_output}
    search = SearchSettings(5)
    found = defenses()["defense_gan"].defaults
    assert found.pop("starts") == "published"
    assert found.pop("prune") == list(search.prune)
    redrawn = inspect.signature(class_that_states("purifiers", method="defense_gan"))
    assert (found.pop("redraw"), redrawn.parameters["redrawn"].default) == (False, None)
    assert found == {name: getattr(search, name) for name in found}
    indicator = inspect.signature(class_that_states("purifiers", method="ae_gan"))
    assert defenses()["ae_gan"].defaults["indicator"] == indicator.parameters["indicator"].default


@pytest.mark.parametrize("facts", defenses().values(), ids=defenses())
def test_each_setting_is_described(facts: Any) -> None:
    assert facts.summary
    assert all(value.get("description") for value in facts.settings.values())


def test_what_makes_and_checks_defences_names_none() -> None:
    """What knows a built-in defence by its name: its own file, and what is of its paper alone."""
    paths = [
        *(REPOSITORY / "workflow/rules/generators.smk", REPOSITORY / "workflow/rules/common.smk"),
        *(REPOSITORY / "workflow/scripts").glob("train_*.py"),
        *(
            REPOSITORY / "src/purification" / place
            for place in (
                *("purifiers/loading.py", "purifiers/fitting.py"),
                *("evaluation/timing.py", "evaluation/run_time.py"),
                *("experiments/catalogue.py", "experiments/methods.py", "facts.py", "guests.py"),
            )
        ),
    ]
    # "ae_gan" and "defense_vae" name a kind of generator and a paper, too.
    names = "|".join(set(defenses()) - {"ae_gan", "defense_vae", "cowboy"})
    for path in paths:
        found = re.findall(rf'"(?:{names})"', path.read_text())
        assert path.is_file() and not found, f"{path}: {found}"


NEW = LAB.partition("class FromCopies")[0].replace("SETTINGS", 'METHOD = "new"\n    SETTINGS')
PROGRAM = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
from conftest import micro_catalogue
from purification.experiments.cells import of_defense
from purification.experiments.config import ConfigError
from purification.models.checkpoints import save_network
from purification.purifiers.fitting import fit_network
from purification.purifiers.loading import load_purifier

entry = {"method": "new", "epochs": 2, "classifier": "originals", "threat_models": ["gray_box"]}
catalogue = micro_catalogue(defenses={"fresh": entry})
purifier, images = catalogue.purifier("digits", 0, "fresh"), torch.rand(8, 1, 28, 28)
[trained] = purifier.networks.values()
cpu = torch.device("cpu")
made, _ = fit_network(trained.recipe, images, images, path=trained.path, device=cpu)
save_network("new.safetensors", made.trained, trained.recipe, images.shape[1:])
purified = load_purifier(purifier.recipe, {"weights": "new.safetensors"})(images)
assert torch.allclose(purified, made.trained.eval()(images).detach(), atol=1e-5)
try:
    micro_catalogue(defenses={"fresh": {**entry, "epoch": 3}})
except ConfigError as error:
    refused = str(error)
print(json.dumps([trained.path, trained.settings, of_defense(catalogue, "fresh"), refused]))
"""


def test_a_new_defence_of_this_library_touches_its_file_alone(tmp_path: Path) -> None:
    source = tmp_path / "src/purification"
    shutil.copytree(REPOSITORY / "src/purification", source)
    shutil.copytree(REPOSITORY / "resources/papers", tmp_path / "resources/papers")
    (source / "purifiers/new.py").write_text(NEW)
    command = [sys.executable, "-c", PROGRAM, str(REPOSITORY / "tests")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    path, settings, labels, refused = yaml.safe_load(ran.stdout)
    assert path == "results/digits/seed0/defenses/fresh.safetensors"
    assert settings == {"width": 2, "epochs": 2}
    assert labels["defense"] == "brighter"
    assert "defenses.fresh: unknown key 'epoch' (did you mean 'epochs'?)" in refused


# Users' own


def test_a_trained_one_goes_stale_with_its_file_settings_defaults_and_files(lab: Path) -> None:
    def found(**more: Any) -> tuple[str, str]:
        catalogue = micro_catalogue(
            defenses=entry(
                "Mine", settings={"epochs": 2}, files={"a": str(lab.parent / "shift.txt")}
            )
            | more.pop("defenses", {}),
            **more,
        )
        trained = catalogue.trained("digits", 0, "mine")
        assert trained.path == "results/digits/seed0/defenses/mine.safetensors"
        assert trained.history.path == "results/digits/seed0/defenses/mine.history.csv"
        purifier = catalogue.purifier("digits", 0, "mine")
        assert catalogue.own_files(trained) == [str(lab.parent / "shift.txt")]
        return trained.digest, purifier.digest

    first = found()
    assert found(batch_size={"attack": 7}) == first
    assert found(defenses={"magnet": {"epochs": 9}}) == first
    # Each of these alone makes both stale.
    seen = {first}
    lab.write_text(LAB.replace('"default": 2', '"default": 3'))
    seen.add(found())
    lab.write_text(LAB + "# a comment\n")
    seen.add(found())
    lab.write_text(LAB)
    assert found() == first
    (lab.parent / "shift.txt").write_text("0.5")
    seen.add(found())
    (lab.parent / "shift.txt").write_text("0.25")
    changed = entry("Mine", settings={"epochs": 3}, files={"a": str(lab.parent / "shift.txt")})
    seen.add(found(defenses=changed))
    assert len({trained for trained, _ in seen}) == len({made for _, made in seen}) == 5


def test_one_that_learns_from_a_classifier_is_another_for_each(lab: Path) -> None:
    settings = {"copies": ["fgsm"], "width": 1}
    catalogue = micro_catalogue(defenses=entry("FromCopies", settings=settings))
    assert catalogue.for_classifier("mine", "D") == "mine@D"
    purifier = catalogue.purifier("digits", 0, "mine@D")
    (trained,) = purifier.networks.values()
    assert trained.path == "results/digits/seed0/defenses/mine/D.safetensors"
    assert trained.inputs.keys() == {"dataset", "classifier", "copies_fgsm"}
    assert trained.settings == {"width": 1}
    other = catalogue.trained("digits", 0, "mine", "A")
    assert other.digest != trained.digest
    assert any("copies/D/fgsm" in path for path in digests(purifier))
    for name in ("mine", "magnet@D"):
        with pytest.raises(ConfigError):
            catalogue.purifier("digits", 0, name)


def test_it_is_trained_and_loaded(lab: Path, tmp_path: Path) -> None:
    catalogue = micro_catalogue(defenses=entry("Mine", settings={"epochs": 2}))
    purifier = catalogue.purifier("digits", 0, "mine")
    (trained,) = purifier.networks.values()
    cpu = torch.device("cpu")
    state = torch.get_rng_state()
    made = [
        fit_network(trained.recipe, IMAGES, LABELS, path=path, device=cpu)
        for path in (trained.path, trained.path, "results/other.safetensors")
    ]
    assert torch.equal(state, torch.get_rng_state())
    first, again, other = (each.trained.state_dict() for each, _ in made)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer.weight"], other["layer.weight"])
    assert not torch.equal(first["layer.bias"], other["layer.bias"])
    assert [row["epoch"] for row in made[0][1]] == [0, 1]
    path = tmp_path / "mine.safetensors"
    save_network(path, made[0][0].trained, trained.recipe, SHAPE)
    loaded = load_purifier(purifier.recipe, {"weights": path})
    assert torch.equal(loaded(IMAGES), made[0][0].trained(IMAGES).detach())
    assert not any(weights.requires_grad for weights in loaded.parameters())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Exploding", FloatingPointError, "contract_lab:Exploding: fit left layer.weight"),
        ("Silent", GuestError, "contract_lab:Silent: fit returned None, expected a list of rows"),
        ("Lossless", FloatingPointError, "loss of its history's row 1 is nan"),
        ("Noisy", GuestError, "contract_lab:Noisy returned other results on a second call"),
        ("Plain", GuestError, "contract_lab:Plain: built again .* must be parameters or buffers"),
        ("Scored", GuestError, "contract_lab:Scored: built again .* must be parameters or buffers"),
        ("Late", GuestError, "contract_lab:Late: .* cannot be loaded: .* parameters or buffers"),
        ("Texts", GuestError, "contract_lab:Texts: loss of its history's row 2 is 'low': "),
        ("Tensors", GuestError, r"contract_lab:Tensors: loss of .* row 1 is tensor.*\.item\(\)"),
        ("Marked", GuestError, "contract_lab:Marked: recipe of its history's row 1 cannot be the"),
    ],
)
def test_a_training_that_leaves_nothing_useful_is_refused(
    lab: Path, name: str, error: type[Exception], message: str
) -> None:
    recipe = {"method": f"contract_lab:{name}", "settings": {"width": 1, "epochs": 1}, "seed": 0}
    recipe |= {"kind": "TrainedDefense"}
    with pytest.raises(error, match=message):
        fit_network(recipe, IMAGES, LABELS, path="results/a", device=torch.device("cpu"))


def test_rows_get_the_columns_of_all(lab: Path) -> None:
    recipe = {"method": "contract_lab:Reordered", "settings": {"width": 2, "epochs": 1}}
    recipe |= {"kind": "TrainedDefense", "seed": 0}
    cpu = torch.device("cpu")
    _, history = fit_network(recipe, IMAGES, LABELS, path="results/a", device=cpu)
    assert history == [
        {"epoch": 1, "loss": 0.5, "accuracy": None},
        {"epoch": 2, "loss": None, "accuracy": 0.5},
    ]


def test_one_that_is_not_trained_gets_shape_and_files(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lab.parent / "shift.txt"
    monkeypatch.delenv("PURIFICATION_FILES", raising=False)
    catalogue = micro_catalogue(defenses=entry("Untrained", files={"shift": str(file)}))
    provide_files([file])
    purifier = catalogue.purifier("digits", 0, "mine")
    assert purifier.networks == {}
    made = load_purifier(purifier.recipe, {}, SHAPE)
    assert torch.equal(made(IMAGES), (IMAGES + 0.25).clamp(0, 1))


def test_weights_that_the_workflow_did_not_plan_for_are_missed(lab: Path) -> None:
    """Where LEARNS_FROM is inherited from another file, it is not read."""
    recipe = {"method": "contract_lab:Mine", "settings": {}, "networks": {}, "seed": 0}
    with pytest.raises(ValueError, match="state LEARNS_FROM in the class itself"):
        load_purifier(recipe, {}, SHAPE)


def stating(*changes: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        return text

    return change


EPOCHS = {"epochs": 2}
COPIED = ('LEARNS_FROM = ("images",)', 'LEARNS_FROM = ("copies",)')
WRONG = {
    "unknown setting": (
        str,
        {"epochs": 2, "widht": 3},
        ["defenses.mine.settings: unknown key 'widht' (did you mean 'width'?)"],
    ),
    "setting out of range": (
        str,
        {"epochs": 0},
        ["defenses.mine.settings.epochs: 0 is less than"],
    ),
    "missing setting": (
        str,
        {"width": 3},
        ["defenses.mine.settings: the key 'epochs' is missing"],
    ),
    "unknown fact": (
        stating("COLUMN", "COLUM"),
        EPOCHS,
        ["contract_lab.py: Mine: unknown key 'colum' (did you mean 'column'?)"],
    ),
    "lesson": (
        stating('("images",)', '("image",)'),
        EPOCHS,
        ["contract_lab.py: Mine.learns_from.0: got 'image' (did you mean 'images'?)"],
    ),
    "no tuple": (
        stating('("images",)', '"images"'),
        EPOCHS,
        ["contract_lab.py: Mine.learns_from: must be of type array; got 'images'"],
    ),
    "no lessons": (
        stating('    LEARNS_FROM = ("images",)\n', ""),
        EPOCHS,
        ["Mine: a defence that is trained has both LEARNS_FROM and fit"],
    ),
    "no fit": (
        stating("def fit(", "def learn("),
        EPOCHS,
        ["Mine: a defence that is trained has both LEARNS_FROM and fit"],
    ),
    "no copies": (
        stating('("images",)', '("copies",)'),
        EPOCHS,
        ["Mine: learning from copies needs a setting `copies`"],
    ),
    "copies of another kind": (
        stating('"epochs": "count"}', '"copies": "count = 3", "epochs": "count"}', *COPIED),
        EPOCHS,
        ["contract_lab.py: Mine: learning from copies needs a setting `copies` of the kind "],
    ),
    "copies that are a text": (
        stating('"epochs": "count"}', '"copies": "copies = fgsm", "epochs": "count"}', *COPIED),
        EPOCHS,
        [
            "Mine: learning from copies needs a setting `copies` of the kind `copies`; its default",
            "Mine.settings.copies.default: must be of type array; got 'fgsm'",
        ],
    ),
    "copies that are nothing": (
        stating('"epochs": "count"}', '"copies": "copies = None", "epochs": "count"}', *COPIED),
        EPOCHS,
        ["Mine: learning from copies needs a setting `copies` of the kind `copies`; its default"],
    ),
    "default of another kind": (
        stating('"count"', '"count = abc"'),
        {},
        ["contract_lab.py: Mine.settings.epochs.default: must be of type integer; got 'abc'"],
    ),
    "default that is no choice": (
        stating('"count"', '"l1|l2 = l3"'),
        {},
        ["contract_lab.py: Mine.settings.epochs.default: got 'l3'; allowed: l1, l2"],
    ),
    "default out of range": (
        stating('"default": 2', '"default": 0'),
        EPOCHS,
        ["contract_lab.py: Mine.settings.width.default: 0 is less than the minimum of 1"],
    ),
    "no generator": (
        stating('("images",)', '("networks",)'),
        EPOCHS,
        ["Mine: learning from networks needs a `generator`"],
    ),
    "randomised": (
        stating("COLUMN =", "RANDOMISED = True\n    COLUMN ="),
        EPOCHS,
        ["contract_lab.py: Mine is RANDOMISED: expected forward(self, images, seeds)"],
    ),
    "randomised by no setting": (
        stating("COLUMN =", 'RANDOMISED = {"widht": 3}\n    COLUMN ='),
        EPOCHS,
        ["Mine.RANDOMISED: got 'widht' (did you mean 'width'?); allowed: width, epochs"],
    ),
    "randomised otherwise": (
        stating("COLUMN =", 'RANDOMISED = "yes"\n    COLUMN ='),
        EPOCHS,
        ["Mine.randomised: must be of type boolean or object; got 'yes'"],
    ),
    "column": (
        stating('"brighter"', '"clean"'),
        EPOCHS,
        ["Mine.column: the name 'clean' cannot be used here"],
    ),
    "definition": (
        stating('"count"', '"cout"'),
        EPOCHS,
        ["Mine.settings.epochs: got 'cout' (did you mean 'count'?)"],
    ),
    "schema": (
        stating('"integer"', '"whole"'),
        EPOCHS,
        ["Mine.settings.width: 'whole' is not valid under any"],
    ),
    "no literal": (
        stating('"minimum": 1', '"minimum": int("1")'),
        EPOCHS,
        ["contract_lab.py, line 9: Mine.SETTINGS must be made of literals"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_it_states_is_checked_before_the_work(lab: Path, case: str) -> None:
    change, settings, expected = WRONG[case]
    lab.write_text(change(LAB))
    with pytest.raises(ConfigError) as error:
        micro_catalogue(defenses=entry("Mine", settings=settings))
    for part in expected:
        assert part in str(error.value)


FIT = "fit(self, images, labels, *, seed, device)"
BUILT = "__init__(self, settings, image_shape)"
UNREAD = "class Mine(Shared, Purifier):"
BOTH = f"{UNREAD}\n    SETTINGS = {{}}\n    LEARNS_FROM = ()"
EMPTY = "\n    def forward(self, images): ...\n"
HEAD = (
    "from torch import nn\nfrom purification.purifiers import Purifier\nfrom shared import Shared\n"
)
ELSEWHERE = "does not define Mine itself (it comes from elsewhere, or is inside a condition)"
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "fit": (LAB.replace(FIT, "fit(self, images)"), {}, f"Mine: expected {FIT}"),
    "further": (LAB.replace(FIT, "fit(self, images, labels, rate)"), {}, f"Mine: expected {FIT}"),
    "copies": (LAB.replace(FIT, "fit(self, images, labels, *, copies)"), {}, f"expected {FIT}"),
    "init": (LAB.replace(BUILT, "__init__(self)"), {}, f"Mine: expected {BUILT}"),
    "old": (
        LAB.replace(BUILT, "__init__(self, settings, networks, seed)"),
        {},
        f"expected {BUILT}",
    ),
    "networks": (
        LAB,
        {"generator": "dcgan"},
        "mine.generator: contract_lab:Mine takes no networks",
    ),
    "imported": ("from shared import Mine\n", {}, f"contract_lab.py {ELSEWHERE}"),
    "renamed": ("from shared import Shared as Mine\n", {}, ELSEWHERE),
    "condition": (HEAD + "if True:\n    class Mine(Purifier): ...\n", {}, ELSEWHERE),
    "try": (
        "try:\n    from shared import Mine\nexcept ImportError:\n    Mine = None\n",
        {},
        ELSEWHERE,
    ),
    "base": (HEAD + UNREAD + EMPTY, {}, "Shared is from another: state SETTINGS and LEARNS_FROM"),
    "namesake": (
        "from shared import Purifier\nclass Mine(Purifier):" + EMPTY,
        {},
        "Purifier is from",
    ),
    "built in": (
        f"from purification.purifiers.magnet import MagNet\nclass Mine(MagNet):{EMPTY}",
        {},
        "purification.purifiers.magnet:MagNet is from another",
    ),
    "inherited": (
        f"{HEAD}class Base(Shared):{EMPTY}class Mine(Base):{EMPTY}",
        {},
        "Shared is from another: state SETTINGS and LEARNS_FROM",
    ),
}
SHARED = "class Mine: ...\nclass Shared:\n    def fit(self, images, labels): ...\ndef made(): ...\n"
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "both": (HEAD + BOTH + EMPTY, {}),
    "fit from a mixin": (HEAD + BOTH.replace("()", '("images",)') + EMPTY, {}),
    "module": (f"{HEAD}class Mine(nn.Module):\n    def __init__(self, s, n, seed): ...{EMPTY}", {}),
    "sequential": (f"from torch.nn import Sequential\nclass Mine(Sequential):{EMPTY}", {}),
    "a function": ("def Mine(settings, networks, seed): ...\n", {"generator": "dcgan"}),
    "a function from elsewhere": ("from shared import made as Mine\n", {"generator": "dcgan"}),
    "alias": (f"from purification.purifiers import Purifier as P\nclass Mine(P):{EMPTY}", {}),
    "by its module": (
        f"from purification.purifiers import base\nclass Mine(base.Purifier):{EMPTY}",
        {},
    ),
    "in full": (
        f"import purification.purifiers\nclass Mine(purification.purifiers.Purifier):{EMPTY}",
        {},
    ),
    "by a star": (f"from purification.purifiers import *\nclass Mine(Purifier):{EMPTY}", {}),
    "no package": ("from .shared import Mine\n", {}),
    "a circle": ("from contract_lab import Mine\n", {}),
    "networks in fit": (LAB.replace(FIT, "fit(self, images, labels, networks)"), {"generator": ""}),
    "any keywords": (
        f"{HEAD}class Mine(Purifier):\n    def __init__(self, s, shape, **more): ...{EMPTY}",
        {"generator": "dcgan"},
    ),
}


@pytest.mark.parametrize("case", [*BAD, *GOOD])
def test_what_cannot_be_built_or_read_is_told_before_the_work(lab: Path, case: str) -> None:
    code, more, expected = BAD[case] if case in BAD else (*GOOD[case], "")
    (lab.parent / "shared.py").write_text(SHARED)
    lab.write_text(code)
    settings = EPOCHS if "epochs" in code else {}
    if "generator" in more:
        more = {"generator": next(iter(micro_catalogue().config["generators"]))}
    if not expected:
        micro_catalogue(defenses=entry("Mine", settings=settings, **more))
        return
    with pytest.raises(ConfigError) as error:
        micro_catalogue(defenses=entry("Mine", settings=settings, **more))
    assert expected in str(error.value)


def test_attacks_that_it_learns_from_need_copies(lab: Path) -> None:
    settings = {"copies": ["fgms"], "width": 1}
    with pytest.raises(ConfigError, match=r"mine.settings.copies: "):
        micro_catalogue(defenses=entry("FromCopies", settings=settings))
    wrong = {"defense_vae": {"copies": ["fgms"]}}
    with pytest.raises(ConfigError, match=r"defense_vae.copies: "):
        micro_catalogue(defenses=wrong)


def test_a_function_is_built_as_before(lab: Path) -> None:
    catalogue = micro_catalogue(defenses=entry("build", settings={"any": [1]}))
    purifier = catalogue.purifier("digits", 0, "mine")
    assert purifier.settings == {"any": [1]}
    assert torch.equal(load_purifier(purifier.recipe, {})(IMAGES), IMAGES)


def test_what_is_no_module_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="the purifier must be a torch module; got a function"):
        Defended(lambda images: images, nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the classifier must be a torch module; got a int"):
        Defended(nn.Identity(), 3)  # type: ignore[arg-type]
