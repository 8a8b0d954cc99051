"""Networks with a checkpoint in the config: what is checked before the DAG, and their recipes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import micro_catalogue

from purification.experiments import ConfigError
from purification.experiments.cells import NOT_AS_NAMED, as_named
from purification.experiments.cowboy import training_course
from purification.experiments.tables import table_notes
from purification.plugins import file_digest

RUN = ("digits", 0)
SCRATCH = "defense_vae_e2e_scratch"
SETTINGS = {"dropout": "keep_probability", "epochs": 2, "batch_size": 10, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of weights in a folder of its own; their content is not looked at here."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.safetensors", "c.txt"):
        Path(name).write_text(name)
    Path("own_nets.py").write_text("def Generator(latent, image_shape): ...\n")
    monkeypatch.syspath_prepend(tmp_path)


def classifier(**entry: Any) -> dict[str, Any]:
    return {"classifiers": {"mine": {"architecture": "D", **entry}}}


def generator(**entry: Any) -> dict[str, Any]:
    return {"generators": {"mine": {"latent": 8, **entry}}}


OWN = {"checkpoint": "a.pt", "architecture": "own_nets:Generator"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            classifier(checkpoint="gone.pt"),
            "classifiers.mine.checkpoint: gone.pt is not there (from",
        ),
        (classifier(checkpoint="."), "classifiers.mine.checkpoint: . is no file"),
        (
            classifier(checkpoint="c.txt"),
            "mine.checkpoint: c.txt is of no known format; allowed: .safetensors, .pt, .pth",
        ),
        (
            classifier(checkpoint="a.pt", per_dataset={"mnist": {"checkpoint": "gone.pt"}}),
            "classifiers.mine.per_dataset.mnist.checkpoint: gone.pt is not there",
        ),
        (
            classifier(**SETTINGS, per_dataset={"mnist": {"checkpoint": "a.pt"}}),
            "classifiers.mine.per_dataset.mnist: unknown key 'checkpoint'; allowed: batch_size, ep",
        ),
        (classifier(), "classifiers.mine: the key 'epochs' is missing"),
        (
            generator(checkpoint="gone.pt", width=4),
            "generators.mine.checkpoint: gone.pt is not there",
        ),
        (generator(checkpoint="a.pt"), "generators.mine: the key 'width' is missing"),
        (generator(**OWN, width=4), "generators.mine: unknown key 'width'; allowed: architecture"),
        (generator(**OWN, iterations=4), "generators.mine: unknown key 'iterations'"),
        (
            generator(checkpoint="a.pt", architecture="own_nets:Gone"),
            "own_nets.py has no 'Gone' at its top level",
        ),
        (generator(checkpoint="a.pt", architecture="D"), "generators.mine.architecture: got 'D'"),
        (
            generator(**OWN, kind="gan") | {"defenses": {"defense_gan": {"generator": "mine"}}},
            "defenses.defense_gan.generator: got 'mine'",
        ),
    ],
)
def test_mistakes_are_refused_with_their_place(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        micro_catalogue(**changes)
    assert complaint in str(error.value)


def test_the_content_of_the_weights_is_in_the_recipe_and_their_place_is_not() -> None:
    first = micro_catalogue(**classifier(checkpoint="a.pt")).classifier(*RUN, "plain", "mine")
    assert first.path == "results/digits/seed0/classifiers/plain/mine.safetensors"
    assert first.recipe["settings"] == {"architecture": "D", "checkpoint": file_digest("a.pt")}
    Path("elsewhere.pth").write_text("a.pt")
    moved = micro_catalogue(**classifier(checkpoint="elsewhere.pth", epochs=3))
    assert moved.classifier(*RUN, "plain", "mine").digest == first.digest
    assert str(Path("elsewhere.pth")) in moved.files
    Path("a.pt").write_text("other")
    other = micro_catalogue(**classifier(checkpoint="a.pt"))
    assert other.classifier(*RUN, "plain", "mine").digest != first.digest


def test_a_data_set_may_have_weights_of_its_own() -> None:
    entry = {"checkpoint": "a.pt", "per_dataset": {"mnist": {"checkpoint": "b.safetensors"}}}
    catalogue = micro_catalogue(**classifier(**entry), **generator(**entry, width=4))
    assert {"a.pt", "b.safetensors"} <= set(catalogue.files)
    for dataset, file in (("digits", "a.pt"), ("mnist", "b.safetensors")):
        for network in (
            catalogue.classifier(dataset, 0, "plain", "mine"),
            catalogue.generator(dataset, 0, "mine"),
        ):
            assert network.settings["checkpoint"] == file_digest(file)


@pytest.mark.parametrize(
    ("make", "defense"),
    [
        (lambda c: c.classifier(*RUN, "adv_training", "mine"), "adv_training"),
        (lambda c: c.classifier(*RUN, "magnet", "mine"), "magnet"),
        (lambda c: c.end_to_end(*RUN, SCRATCH, "mine").classifier, SCRATCH),
    ],
)
def test_what_trains_it_takes_the_settings_and_not_the_weights(
    make: Callable[[Any], Any], defense: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"classifiers\.mine: defenses\.{defense} .*batch_size, l"
    ):
        make(micro_catalogue(**classifier(checkpoint="a.pt", epochs=2)))
    made = make(micro_catalogue(**classifier(checkpoint="a.pt", **SETTINGS)))
    assert made.settings == {"architecture": "D", **SETTINGS}


def test_end_to_end_training_goes_on_from_the_weights() -> None:
    changes = classifier(checkpoint="a.pt", **SETTINGS)
    changes |= {"defenses": {"defense_vae_e2e": {"start": "defense_vae"}}}
    made = micro_catalogue(**changes).end_to_end(*RUN, "defense_vae_e2e", "mine")
    assert made.classifier.settings["checkpoint"] == file_digest("a.pt")
    # Which layers it has beside its weights.
    assert made.classifier.settings["dropout"] == "keep_probability"


def test_a_substitute_has_the_architecture_alone() -> None:
    catalogue = micro_catalogue(**classifier(checkpoint="a.pt"))
    made = catalogue.substitute("digits_black_box", 0, "plain", "D", "mine")
    assert made.settings == {"architecture": "D", "dropout": "paper"}


def test_a_generator_has_no_history_and_no_snapshots() -> None:
    gan = {"checkpoint": "a.pt", "kind": "gan", "architecture": "own_nets:Generator"}
    changes = generator(**gan) | {
        "defenses": {name: {"generator": "mine"} for name in ("cowboy", "cowboy_reconstruction")}
    }
    catalogue = micro_catalogue(**changes)
    made = catalogue.generator(*RUN, "mine")
    assert made.parts == []
    assert [Path(picture.path).name for picture in made.pictures] == ["mine.samples.png"]
    assert set(made.settings) == {"architecture", "checkpoint", "code", "latent"}
    with pytest.raises(ConfigError, match="the GAN of 'cowboy' has no snapshots"):
        training_course(catalogue, "digits_black_box", 0)


def test_tables_say_so_and_no_papers_number_stands_beside() -> None:
    changes = {
        "classifiers": {"D": {"checkpoint": "a.pt"}},
        "generators": {"mine": {**OWN, "latent": 8}},
        "defenses": {"defense_gan": {"generator": "mine"}},
    }
    catalogue = micro_catalogue(**changes)
    notes = table_notes(catalogue, "table4")
    assert "Classifier `D` was trained elsewhere." in notes
    own = "Generator `mine`: architecture own_nets:Generator, latent 8. It was trained elsewhere."
    assert own in notes
    labels = {"dataset": "mnist", "classifier": "D", "attack": "none"}
    found = as_named(catalogue, labels)[NOT_AS_NAMED]
    assert "classifier D was trained elsewhere" in found
