"""Quirks of published code, as they attack and purify sets of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purification.attacks import MaskedGradientError, run_attack
from purification.evaluation.adversarial import attack_defense, purify_set
from purification.evaluation.threat_models import attacked_model
from purification.models.checkpoints import save_network
from purification.models.classifiers import build_classifier
from purification.models.vae import VAE
from purification.models.wgan import Generator
from purification.purifiers import Defended, NoGradient, StraightThrough
from purification.randomness import isolated_rng
from purification.storage import (
    ImageSet,
    read_field,
    read_image_set,
    read_split,
    write_dataset,
    write_image_set,
)

SHAPE, COUNT, CPU = (1, 16, 16), 7, torch.device("cpu")
SIZE = {"latent": 3, "width": 2}
CLASSIFIER = {"kind": "Classifier", "settings": {"architecture": "E", "dropout": "paper"}}
SEARCH = {"steps": 2, "restarts": 2, "step_size": 1.0, "momentum": 0.7}
GAN = {"name": "defense_gan", "seed": 0, "method": "defense_gan", "settings": SEARCH}
GAN |= {"networks": {"generator": {"kind": "Generator", "settings": SIZE}}}
BATCH = {"name": "defense_vae@E", "seed": 0, "method": "defense_vae", "settings": {}}
BATCH |= {"networks": {"vae": {"kind": "DefenseVAE", "settings": SIZE}}}


def new(build: Callable[..., nn.Module], *arguments: Any, **keywords: Any) -> nn.Module:
    with isolated_rng(3):
        return build(*arguments, **keywords)


def classifier() -> nn.Module:
    return new(build_classifier, "E", input_shape=SHAPE).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    vae, gan = new(VAE, 3, 2, SHAPE), new(Generator, 3, 2, SHAPE)
    save_network(folder / "vae", vae, BATCH["networks"]["vae"], SHAPE)
    save_network(folder / "generator", gan, GAN["networks"]["generator"], SHAPE)
    save_network(folder / "classifier", classifier(), CLASSIFIER, SHAPE, classes="10")
    random = np.random.default_rng(0)
    images, labels = random.random((COUNT, *SHAPE), np.float32), random.integers(0, 10, COUNT)
    write_dataset(folder / "dataset", {"test": (images, labels)}, {})
    fields = {"clean_predictions": labels, "success": labels > 3, "zero_gradient": labels > 9}
    fields |= {norm: random.random(COUNT) for norm in ("l2", "linf")}
    write_image_set(folder / "gray_box", ImageSet(images**2, labels, fields), {})
    names = ("vae", "generator", "classifier", "dataset", "gray_box")
    return {name: str(folder / name) for name in names}


def defended(purifier: dict[str, Any], method: str = "fgsm", **others: Any) -> dict[str, Any]:
    return {"seed": 0, "purifier": purifier} | {
        "attack": {"name": method, "method": method, "settings": ATTACKS[method]},
        **others,
    }


ATTACKS: dict[str, dict[str, Any]] = {
    "fgsm": {"epsilon": 0.1},
    "rand_fgsm": {"epsilon": 0.1, "alpha": 0.03},
    "cw_l2": {"learning_rate": 10.0, "constant": 100.0, "iterations": 3}
    | {"binary_search_steps": 1, "confidence": 0.0},
    "bim": {"epsilon": 0.1, "step_size": 0.05, "iterations": 2},
    "pgd": {"epsilon": 0.1, "step_size": 0.05, "iterations": 2},
    "mim": {"epsilon": 0.1, "step_size": 0.05, "iterations": 2, "momentum": 1.0},
    "deepfool": {"iterations": 2, "overshoot": 0.02, "candidates": 3},
}
STARTS = {"rand_fgsm": 0.03, "pgd": 0.1}
"""How far from the image the attacks go that start elsewhere."""


@pytest.mark.parametrize("method", ATTACKS)
def test_without_a_gradient_an_attack_returns_its_start(
    files: dict[str, str], tmp_path: Path, method: str
) -> None:
    path = str(tmp_path / "made.h5")
    recipe = defended(GAN, method, threat_models={"white_box": 5}, quirks=["no_gradient"])
    attack_defense(recipe, files, path, 3, CPU)
    found = read_image_set(path, group="white_box")
    clean = torch.from_numpy(read_split(files["dataset"], "test")[0][:5])
    moved = (torch.from_numpy(read_field(path, "adversarial", group="white_box")) - clean).abs()
    if method in STARTS:
        assert 0.9 * STARTS[method] < moved.amax() <= STARTS[method] + 1e-6
    else:
        # CW shrinks the box by a millionth.
        assert moved.amax() < 1e-6
    assert found.fields["zero_gradient"].all()


def test_who_does_not_say_so_is_refused(files: dict[str, str]) -> None:
    """The quirk is of the white box alone: BPDA has its own way back."""
    purifier, bare = nn.Identity(), classifier()
    images = torch.rand(4, *SHAPE)
    quirk = attacked_model("white_box", purifier, bare, ["no_gradient"])
    common = {"indices": range(4), "seed": 0, "batch_size": 4, "settings": ATTACKS["fgsm"]}
    with pytest.raises(MaskedGradientError, match="for all 4 images"):
        run_attack("fgsm", quirk, images, torch.arange(4), **common)
    for threat_model, kind in (("white_box", nn.Identity), ("white_box_bpda", StraightThrough)):
        quirks = ["no_gradient"] if kind is StraightThrough else []
        model = attacked_model(threat_model, purifier, bare, quirks)
        assert isinstance(model, Defended) and type(model.purifier) is kind
        assert not run_attack("fgsm", model, images, torch.arange(4), **common).zero_gradient.any()
    assert torch.equal(quirk(images), bare(images))
    assert type(quirk.purifier) is NoGradient


def in_one_batch(images: np.ndarray) -> Tensor:
    """What the VAE makes of images in training mode, by the means of the codes."""
    vae = new(VAE, 3, 2, SHAPE).train()
    with torch.no_grad():
        return vae(torch.from_numpy(images))


def test_images_are_purified_with_the_statistics_of_their_set(
    files: dict[str, str], tmp_path: Path
) -> None:
    path, test = str(tmp_path / "made.h5"), read_split(files["dataset"], "test")[0]
    quirk = {"quirks": ["test_batch_statistics"]}
    clean = {"kind": "PurifiedImages", "split": "test", "images": None, "purifier": BATCH}
    clean |= {"seed": 0}
    purify_set(clean | quirk, files, path, 3, CPU)
    made = torch.from_numpy(read_image_set(path).images)
    torch.testing.assert_close(made, in_one_batch(test), rtol=0, atol=1e-5)
    purify_set(clean, files, path, 3, CPU)
    plain = torch.from_numpy(read_image_set(path).images)
    assert (made - plain).abs().max() > 0.01
    # Fewer images are another set.
    purify_set(clean | quirk | {"images": 3}, files, path, 3, CPU)
    assert (torch.from_numpy(read_image_set(path).images) - made[:3]).abs().max() > 0.01

    both = {"threat_models": {"gray_box": None, "white_box": 3}} | quirk
    attack_defense(defended(BATCH, **both), files, path, 2, CPU)
    gray = read_image_set(path, group="gray_box")
    expected = in_one_batch(test**2)
    torch.testing.assert_close(torch.from_numpy(gray.images), expected, rtol=0, atol=1e-5)
    classes = classifier()(expected).argmax(1)
    assert gray.fields["predictions"].tolist() == classes.tolist()
    # The white box is as without.
    white = read_image_set(path, group="white_box").images
    attack_defense(defended(BATCH, threat_models={"white_box": 3}), files, path, 2, CPU)
    np.testing.assert_array_equal(read_image_set(path, group="white_box").images, white)
