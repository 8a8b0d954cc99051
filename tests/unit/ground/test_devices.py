"""All that takes a device, or computes on one, on a pretended GPU: what CUDA would refuse fails
here too, and what comes out is what the CPU makes. See `pretend_device` for what that cannot see.
"""

import copy
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import GPU, PretendedGpu, pretended_gpu
from torch import Tensor, nn

from purification import runtime
from purification.attacks import ATTACKS, run_attack
from purification.evaluation import run_time, timing
from purification.evaluation.adversarial import attack_defense, attack_network, purify_set
from purification.evaluation.cascade import attack_adaptively
from purification.evaluation.copies import craft_copies, read_copies
from purification.evaluation.discriminator import discriminator_scores
from purification.evaluation.inference_rule import rule_rows
from purification.evaluation.oracle import load_oracle
from purification.evaluation.quality_rows import quality_rows
from purification.evaluation.sweeps import sweep_images
from purification.evaluation.threat_models import attacked_model
from purification.evaluation.training_course import training_course
from purification.models.ae_gan import AEGAN, Discriminator
from purification.models.autoencoder import MagNetAutoencoder
from purification.models.bigan import BiGAN, JointDiscriminator
from purification.models.checkpoints import load_network, save_network, save_snapshots
from purification.models.classifiers import build_classifier
from purification.models.gan import GAN
from purification.models.prediction import predict
from purification.models.vae import VAE
from purification.models.wgan import Critic, Generator
from purification.purifiers import DefenseGAN, SearchSettings, latent_search
from purification.purifiers.ae_gan import EncoderSearch
from purification.purifiers.batches import in_batches, purify_images
from purification.purifiers.cowboy import Cowboy
from purification.purifiers.defense_gan import draw_codes
from purification.purifiers.defense_vae import DefenseVAE
from purification.purifiers.latent_search import sweep_search
from purification.purifiers.magnet import MagNet
from purification.purifiers.search_network import search_network
from purification.randomness import isolated_rng
from purification.storage import (
    ImageSet,
    read_image_set,
    read_split,
    write_dataset,
    write_image_set,
)
from purification.training import defense_vae as defense_vae_module
from purification.training.ae_gan import train_ae_gan
from purification.training.bigan import train_bigan
from purification.training.classifier import train_classifier
from purification.training.defense_vae import train_defense_vae, train_end_to_end
from purification.training.gan import train_gan
from purification.training.magnet import train_autoencoder
from purification.training.substitute import train_substitute
from purification.training.wgan_gp import train_wgan_gp

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")  # as `runtime.start` returns them
SHAPE = (1, 28, 28)
TIMES = ("seconds", "time_saved", "speed_up", "images_per_second", "batches_tried", "stopped")
PLACE = ("device",)


def on_both(
    work: Callable[[torch.device], Any], *, tolerance: float = 1e-5, products_on_cpu: bool = False
) -> PretendedGpu:
    """`work(device)` gives the same on the CPU and on the pretended GPU, numbers up to `tolerance`,
    and computes there: not a matrix product on the CPU, unless it may have some."""
    expected = _comparable(work(CPU))
    with pretended_gpu() as gpu:
        found = _comparable(work(CUDA))
    assert gpu.matrix_products["cuda"], "nothing was computed on the device"
    assert products_on_cpu or not gpu.matrix_products["cpu"], "computed on the CPU"
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    return gpu


def _comparable(made: Any) -> list[Tensor]:
    """The numbers of a result without wall times."""
    match made:
        case Tensor():
            assert not made.is_cuda, "a result that should be on the CPU is not"
            return [made.detach().contiguous()]
        case np.ndarray():
            return [torch.from_numpy(np.ascontiguousarray(made))]
        case nn.Module():
            return _comparable([value.cpu() for value in made.state_dict().values()])
        case ImageSet():
            return _comparable([made.images, made.labels, made.fields, made.attributes])
        case dict():
            kept = (v for k, v in made.items() if not str(k).startswith((*TIMES, *PLACE)))
            return _comparable(list(kept))
        case list() | tuple():
            return [leaf for branch in made for leaf in _comparable(branch)]
        case bool() | int() | float():
            return [torch.tensor(float(made), dtype=torch.float64)]
        case None | str():
            return []
    if hasattr(made, "__dataclass_fields__"):
        return _comparable(vars(made))
    raise TypeError(type(made).__name__)


def on_cpu(result: Any) -> dict[str, Tensor]:
    """A dataclass of tensors, moved."""
    return {name: value.cpu() for name, value in vars(result).items()}


def images_of(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def labels_of(count: int = 4) -> Tensor:
    return torch.arange(count) % 10


def new(build: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    """A small network with weights of its own."""
    with isolated_rng(5):
        return build(*arguments)


@cache
def _classifier() -> nn.Module:
    """Once, because it is built with a pass on the CPU."""
    return new(build_classifier, "simple_cnn").eval()


def classifier() -> nn.Module:
    """With convolutions, batch norm, pooling and dropout."""
    return copy.deepcopy(_classifier())


def codes_of(count: int, latent: int = 3) -> Tensor:
    return draw_codes(count, latent, torch.Generator().manual_seed(1))


# The search

SEARCHES = {
    "plain": SearchSettings(6),
    "pruned": SearchSettings(6, prune=((2, 2), (4, 1))),
    "tolerance": SearchSettings(9, tolerance=0.02, patience=3),
    "doubling": SearchSettings(6, momentum=0.0, doubling=2),
    "bfloat16": SearchSettings(6, precision="bfloat16"),
    "tf32": SearchSettings(6, precision="tf32"),
    "lbfgs": SearchSettings(6, momentum=0.0, optimizer="lbfgs", prune=((3, 2),)),
    "graph": SearchSettings(25, step_size=1.0, cuda_graph=True),
    "graph, doubling": SearchSettings(25, 0.01, 0.0, cuda_graph=True, doubling=5),
    "graph, bfloat16": SearchSettings(25, step_size=1.0, cuda_graph=True, precision="bfloat16"),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_search(name: str) -> None:
    def search(device: torch.device) -> list[Any]:
        generator = new(Generator, 3, 6).eval().requires_grad_(False).to(device)
        # Starts on the CPU, as whoever draws them has them.
        found = latent_search(generator, images_of().to(device), codes_of(3), SEARCHES[name])
        assert {value.device.type for value in vars(found).values()} == {device.type}
        return [on_cpu(found)]

    on_both(search, tolerance=2e-3 if "bfloat16" in name else 1e-4)


@pytest.mark.parametrize("name", ["plain", "tolerance", "doubling", "bfloat16", "graph"])
@pytest.mark.parametrize("restarts", [1, 3])
def test_gradient_through_the_search(name: str, restarts: int) -> None:
    def gradients(device: torch.device) -> list[Tensor]:
        generator = new(AEGAN, 3, 2).generator.eval().requires_grad_(False).to(device)
        images = images_of().to(device).requires_grad_()
        starts = codes_of(restarts).expand(4, -1, -1).to(device).requires_grad_()
        found = latent_search(generator, images, starts, SEARCHES[name])
        weights = torch.linspace(0, 1, 28, device=device)
        loss = (found.reconstructions * weights).sum() + found.objective.sum()
        return [part.cpu() for part in torch.autograd.grad(loss, (images, starts))]

    on_both(gradients, tolerance=1e-3)


def test_sweep() -> None:
    def sweep(device: torch.device) -> list[Any]:
        generator = new(Generator, 3, 6).eval().requires_grad_(False).to(device)
        cells = [(2, 3), (5, 1), (5, 2)]
        images = images_of().to(device)
        found = sweep_search(generator, images, codes_of(3), SearchSettings(0), cells)
        return [on_cpu(found[cell]) for cell in cells]

    on_both(sweep, tolerance=1e-4)


def test_the_device_gets_the_form_of_the_network_that_is_for_it() -> None:
    def rows_side_by_side(generator: nn.Module) -> bool:
        codes = torch.zeros(20, generator.latent).to(next(generator.parameters()).device)
        _, activations = search_network(generator).logits(codes)
        return all(maps.dim() == 5 for maps in activations)

    generator = new(Generator, 3, 6).eval()
    assert rows_side_by_side(generator)
    with pretended_gpu():
        assert not rows_side_by_side(generator.to(CUDA))


class Waiting(nn.Module):
    """A generator that waits for the GPU in each pass, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = new(Generator, 3, 6).eval().requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z) if z.sum().item() < 1e9 else self.generator(2 * z)


def test_a_step_that_cannot_be_captured_is_not() -> None:
    def search(device: torch.device) -> dict[str, Tensor]:
        generator = Waiting().to(device)
        return on_cpu(latent_search(generator, images_of().to(device), codes_of(2), settings))

    settings = SEARCHES["graph"]
    with pytest.warns(UserWarning, match="no CUDA graph"):
        on_both(search, tolerance=1e-4)


def test_whoever_gives_up_a_capture_waits_for_its_stream() -> None:
    """Else the state would be put back while the warm-up still changes it."""

    class Broken(Waiting):
        def forward(self, z: Tensor) -> Tensor:
            if len(gpu.waited) == 1:  # the side stream for the current one: this is the warm-up
                raise torch.OutOfMemoryError("in the warm-up")
            return self.generator(z)

    with pretended_gpu() as gpu, pytest.warns(UserWarning, match="no CUDA graph"):
        latent_search(Broken().to(CUDA), images_of().to(CUDA), codes_of(2), SEARCHES["graph"])
    assert gpu.selected == [GPU]
    current = gpu.default_stream
    first, last = gpu.waited
    assert first[1] is current and last == (current, first[0])


# Purifiers and attacks


def ae_gan(settings: SearchSettings | None, threshold: float | None = None) -> EncoderSearch:
    network = new(AEGAN, 3, 2)
    return EncoderSearch(network.encoder, network.generator, settings, threshold)


@cache
def middle_score() -> float:
    """A threshold between the scores of `images_of()`."""
    return float(ae_gan(None).score(images_of()).median())


def purifiers() -> dict[str, Callable[[], nn.Module]]:
    def with_discriminator() -> nn.Module:
        gan, search = new(GAN, 3, 2), SearchSettings(4, 0.02, 0.0)
        return Cowboy(gan.generator, gan.discriminator, codes_of(2), search, sigma=2.0)

    search = SearchSettings(4, 1.0, 0.0, doubling=2)
    return {
        "defense_gan": lambda: DefenseGAN(new(Generator, 3, 2), codes_of(2), SearchSettings(4)),
        "cowboy": with_discriminator,
        "one pass": lambda: ae_gan(None),
        "searched": lambda: ae_gan(search),
        "rule": lambda: ae_gan(search, middle_score()),
        "magnet": lambda: new(MagNet, {"latent": 3, "width": 2}, SHAPE).eval(),
        "defense_vae": lambda: new(DefenseVAE, {"latent": 3, "width": 2}, SHAPE).eval(),
    }


NAMES = ("defense_gan", "cowboy", "one pass", "searched", "rule", "magnet", "defense_vae")


@pytest.mark.parametrize("batch_size", [3, "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_purified_images(name: str, batch_size: int | str) -> None:
    def purified(device: torch.device) -> Any:
        purifier = purifiers()[name]()
        return purify_images(purifier, images_of(), batch_size=batch_size, device=device)

    on_both(purified, tolerance=1e-4)


@pytest.mark.parametrize("threat_model", ["white_box", "white_box_bpda"])
@pytest.mark.parametrize("name", NAMES)
def test_white_box(name: str, threat_model: str) -> None:
    def attacked(device: torch.device) -> Any:
        purifier, network = purifiers()[name]().to(device), classifier().to(device)
        model = attacked_model(threat_model, purifier, network)
        settings = {"epsilon": 0.1}
        return run_attack(
            *("fgsm", model, images_of(), labels_of()),
            **{"indices": range(4), "seed": 0, "batch_size": 3, "settings": settings},
        ).images

    expected = attacked(CPU)
    with pretended_gpu() as gpu:
        found = attacked(CUDA)
    assert gpu.matrix_products["cuda"] and not gpu.matrix_products["cpu"]
    # Signs of gradients near zero go either way.
    assert ((found - expected).abs() < 1e-4).float().mean() > 0.99


STEPS = {"epsilon": 0.1, "step_size": 0.05, "iterations": 2}
ATTACK_SETTINGS = {
    "fgsm": {"epsilon": 0.1, "labels": "predicted"},
    "rand_fgsm": {"epsilon": 0.1, "alpha": 0.05},
    "cw_l2": {
        **{"learning_rate": 0.2, "constant": 10.0, "iterations": 3},
        **{"binary_search_steps": 2, "confidence": 0.0},
    },
    "deepfool": {"iterations": 2},
    "bim": STEPS,
    "pgd": STEPS,
    "mim": STEPS | {"momentum": 1.0},
    "vam": {"epsilon": 1.0, "xi": 0.01, "iterations": 1},
    "pgd_l2": {
        **{"epsilon": 1.0, "iterations": 2, "restarts": 2, "loss": "targeted"},
        **{"momentum": 0.75, "schedule": "cosine", "start": "image", "keep": "first_success"},
    },
    "apgd": {"epsilon": 0.1, "iterations": 4, "restarts": 2},
    "apgd_l2": {"epsilon": 1.0, "iterations": 4, "loss": "targeted_dlr", "targets": 2},
    "fab": {"epsilon": 0.1, "iterations": 3, "restarts": 2, "targets": 2},
    "fab_l2": {"epsilon": 1.0, "iterations": 3, "targeted": False},
    "half_masked": {"half": "top", "fill": 0.0},
    "random_signs": {"epsilon": 0.1},
    "greedy_pixels": {"epsilon": 0.1, "queries": 1700},
    "square": {"epsilon": 0.1, "queries": 20},
    "square_l2": {"epsilon": 1.0, "queries": 20},
    "hop_skip_jump": {"queries": 150},
    "hop_skip_jump_l2": {"queries": 150},
    "latent": {"epsilon": 0.1, "iterations": 3},
    "latent_l2": {"epsilon": 1.0, "iterations": 3},
}


@pytest.mark.parametrize("method", ATTACKS)
def test_attacks(method: str) -> None:
    def attacked(device: torch.device) -> Any:
        model, images, labels = classifier().to(device), images_of(), labels_of()
        if method.startswith("latent"):  # an attack on a generator's codes
            purifier = purifiers()["defense_gan"]().to(device)
            model = attacked_model("white_box", purifier, model)
        if method == "cw_l2":
            labels = predict(model, images, device=device).argmax(dim=1)
        result = run_attack(
            *(method, model, images, labels),
            **{"indices": range(4), "seed": 0, "batch_size": 3},
            settings=ATTACK_SETTINGS[method],
        )
        assert result.images.numpy().shape == (4, *SHAPE)
        return result

    on_both(attacked)


def test_attack_on_images_of_the_device() -> None:
    """A library's user may have them there; what comes back is on the CPU all the same."""

    def attacked(device: torch.device) -> Any:
        return run_attack(
            *("pgd", classifier().to(device), images_of().to(device), labels_of().to(device)),
            **{"indices": range(4), "seed": 0, "batch_size": 3, "settings": STEPS},
        )

    on_both(attacked)


# Training

Trained = Callable[[torch.device], Any]


def test_classifier_training() -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"adversarial_epsilon": 0.1},
        {"adversarial_pgd": STEPS},
        {"precision": "bfloat16", "adversarial_epsilon": 0.1},
    ]
    for way in ways:

        def trained(device: torch.device, way: dict[str, Any] = way) -> Any:
            network = classifier()
            history = train_classifier(
                *(network, images_of(), labels_of()),
                **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "seed": 0},
                **({"adversarial_epsilon": None} | way),
                validation=(images_of(), labels_of()),
                device=device,
            )
            assert next(network.parameters()).device.type == device.type
            return history, network

        on_both(trained)


def test_generator_and_autoencoder_trainings() -> None:
    def ae_gan(device: torch.device) -> Any:
        network, other = new(AEGAN, 3, 2), new(Discriminator, 2)
        history = train_ae_gan(
            *(network, other, images_of()),
            **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "betas": (0.5, 0.999)},
            **{"noise_bound": 0.3, "seed": 0, "device": device},
        )
        return history, network, other

    def ae(device: torch.device) -> Any:
        network = new(AEGAN, 3, 2)
        history = train_ae_gan(
            *(network, None, images_of()),
            **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "betas": (0.5, 0.999)},
            **{"noise_bound": 0.0, "seed": 0, "device": device},
        )
        return history, network

    def bigan(device: torch.device) -> Any:
        network, other = new(BiGAN, 3, 2), new(JointDiscriminator, 3, 2)
        history = train_bigan(
            *(network, other, images_of()),
            **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "betas": (0.5, 0.999)},
            **{"discriminator_learning_rate": 1e-3, "seed": 0, "device": device},
        )
        return history, network, other

    def gan(device: torch.device) -> Any:
        network = new(GAN, 3, 2)
        history, snapshots = train_gan(
            *(network, images_of()),
            **{"iterations": 2, "batch_size": 2, "learning_rate": 1e-3, "betas": (0.5, 0.999)},
            **{"saturating": False, "snapshots": (1, 2), "seed": 0, "device": device},
        )
        return history, network, snapshots

    def autoencoder(device: torch.device) -> Any:
        network = new(MagNetAutoencoder, 3, 2)
        history = train_autoencoder(
            *(network, images_of()),
            **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "noise": 0.1},
            **{"first_output": "mean", "seed": 0, "device": device},
        )
        return history, network

    for train in (ae_gan, ae, bigan, gan, autoencoder):
        on_both(train)


def wgan_gp(
    device: torch.device | str, iterations: int = 2, state: Path | None = None, **further: Any
) -> tuple[Any, ...]:
    generator, critic = new(Generator, 3, 2), new(Critic, 2)
    history = train_wgan_gp(
        *(generator, critic, images_of()),
        **{"iterations": iterations, "batch_size": 2, "critic_steps": 2, "gradient_penalty": 10.0},
        **{"learning_rate": 1e-3, "betas": (0.5, 0.9), "seed": 0, "device": device},
        **{"state_path": state, "state_every": 1, "recipe_digest": "digest"},
        **further,
    )
    return history, generator, critic


def test_wgan_gp_training() -> None:
    on_both(wgan_gp)
    # On the CPU images lie side by side: other sums, which Adam enlarges where a gradient is zero.
    on_both(lambda device: wgan_gp(device, 1, fast_convolutions=True), tolerance=2.5e-3)
    on_both(lambda device: wgan_gp(device, 1, precision="bfloat16"))
    both = {"fast_convolutions": True, "precision": "bfloat16"}
    on_both(lambda device: wgan_gp(device, 1, **both), tolerance=0.02)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_training_goes_on_elsewhere(first: str, then: str, tmp_path: Path) -> None:
    expected = _comparable(list(wgan_gp("cpu", 3)))
    with pretended_gpu():
        wgan_gp(first, 1, tmp_path / "state")
        resumed = _comparable(list(wgan_gp(then, 3, tmp_path / "state")))
    torch.testing.assert_close(resumed, expected, rtol=0, atol=0)


@pytest.mark.parametrize("free", [2**34, 1000])
def test_defense_vae_trainings(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With copies on the device, and in the host's memory where it has no room for them."""
    kept = []

    def together(copies: Any, device: Any) -> Tensor:
        kept.append(original(copies, device))
        return kept[-1]

    original = defense_vae_module._together
    monkeypatch.setattr(defense_vae_module, "_together", together)
    copies = [images_of().half(), (0.5 * images_of()).half()]
    settings = {"epochs": 1, "batch_size": 3, "learning_rate": 1e-3, "reconstruction": "bce"}
    settings |= {"kl_weight": 0.1, "seed": 0}

    def alone(device: torch.device) -> Any:
        vae = new(VAE, 3, 2)
        return train_defense_vae(vae, copies, images_of(), **settings, device=device), vae

    def end_to_end(device: torch.device) -> Any:
        vae, network = new(VAE, 3, 2), classifier()
        history = train_end_to_end(
            *(vae, network, copies, images_of(), labels_of()),
            **settings,
            classifier_weight=10.0,
            evaluated={"test": (images_of(3), labels_of(3))},
            precision="bfloat16",
            device=device,
        )
        return history, vae, network

    for train in (alone, end_to_end):
        expected = _comparable(train(CPU))
        with pretended_gpu(free):
            found = _comparable(train(CUDA))
            assert kept[-1].is_cuda == (free > 1000)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


# From recipes and files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small networks, a data set with six images a split, and images attacked of old."""
    folder = tmp_path_factory.mktemp("devices")
    networks = {
        "gan": (GAN, {"kind": "GAN"}),
        "generator": (Generator, {"kind": "Generator"}),
        "ae_gan": (AEGAN, {"kind": "AEGAN"}),
        "vae": (VAE, {"kind": "DefenseVAE"}),
    }
    for name, (build, own) in networks.items():
        save_network(folder / name, new(build, 3, 2), own | {"settings": SIZE}, SHAPE)
    save_network(folder / "classifier", new(build_classifier, "D"), CLASSIFIER, SHAPE, classes="10")
    weights = new(GAN, 3, 2).state_dict()
    save_snapshots(folder / "snapshots", {1: weights}, {"kind": "GAN", "settings": SIZE}, SHAPE)
    random = np.random.default_rng(0)
    splits = {
        name: (random.random((6, *SHAPE), np.float32), random.integers(0, 10, 6))
        for name in ("train", "validation", "test")
    }
    write_dataset(folder / "dataset", splits, {})
    for name in ("test", "validation"):
        images, labels = splits[name]
        fields = {"predictions": labels, "clean_predictions": labels, "success": labels > 3}
        fields |= {"zero_gradient": labels > 9}
        fields |= {norm: random.random(6) for norm in ("l2", "linf")}
        write_image_set(folder / f"fgsm_{name}", ImageSet(images**2, labels, fields), {})
    names = (*networks, "classifier", "snapshots", "dataset", "fgsm_test", "fgsm_validation")
    paths = {name: str(folder / name) for name in names}
    return paths | {"attacked": paths["fgsm_test"], "gray_box": paths["fgsm_test"]}


SIZE = {"latent": 3, "width": 2}
CLASSIFIER = {"kind": "Classifier", "settings": {"architecture": "D", "dropout": "paper"}}
SEARCH = {"steps": 3, "restarts": 2, "step_size": 1.0, "momentum": 0.7}
DEFENSE_GAN = {
    **{"name": "defense_gan", "seed": 0, "method": "defense_gan", "settings": SEARCH},
    "networks": {"generator": {"kind": "Generator", "settings": SIZE}},
}
COWBOY = {
    **{"name": "cowboy", "seed": 0, "method": "cowboy"},
    "settings": SEARCH | {"sigma": 2.0, "discriminator_weight": 1.0},
    "networks": {"generator": {"kind": "GAN", "settings": SIZE}},
}
FGSM = {"name": "fgsm", "method": "fgsm", "settings": {"epsilon": 0.1}}
DATASET = {"dataset": {"name": "digits"}, "seed": 0}


def test_attacked_and_purified_sets(files: dict[str, str], tmp_path: Path) -> None:
    attacked = DATASET | {"kind": "AdversarialSet", "classifier": CLASSIFIER, "attack": FGSM}
    defended = DATASET | {"purifier": DEFENSE_GAN, "attack": FGSM}
    defended |= {"threat_models": {"gray_box": None, "white_box": 2}}
    purified = {"kind": "PurifiedImages", "split": "test", "images": 5, "purifier": DEFENSE_GAN}
    copies = DATASET | {"attacks": [["fgsm@0.1", FGSM]], "name": "some"}
    purified |= {"seed": 0}
    path = str(tmp_path / "made.h5")

    def made(
        write: Callable[..., None], recipe: dict[str, Any], size: int | str, *groups: str | None
    ) -> Callable[[torch.device], list[ImageSet]]:
        def sets(device: torch.device) -> list[ImageSet]:
            write(recipe, files, path, size, device)
            return [read_image_set(path, group=group) for group in groups]

        return sets

    on_both(made(attack_network, attacked | {"images": 5}, 3, None))
    on_both(made(purify_set, purified, "auto", None), tolerance=1e-4)
    on_both(made(attack_defense, defended, 3, "gray_box", "white_box"), tolerance=1e-3)
    on_both(made(craft_copies, copies, 3, "fgsm@0.1"))
    models = ("gray_box", "white_box", "white_box_bpda", "classifier")
    cascade = defended | {"stages": [{"attack": FGSM, "threat_model": name} for name in models]}
    cascade |= {"norm": "linf", "epsilon": 0.1, "images": 5, "cascade": "c", "defense": "d"}
    cascade |= {"classifier": CLASSIFIER | {"name": "D"}, "gray": CLASSIFIER, "others": {}}
    networks = files | {"gray_box": files["classifier"]}

    def adaptively(device: torch.device) -> list[ImageSet]:
        attack_adaptively(cascade, networks, path, 3, device)
        return [read_image_set(path)]

    on_both(adaptively, tolerance=1e-3)
    with pretended_gpu():
        craft_copies(copies, files, path, 3, CUDA)
        assert not read_copies([copies], {"copies_some": path})[0].is_cuda


def test_sweep_of_a_recipe(files: dict[str, str]) -> None:
    recipe = {"seed": 0, "purifier": DEFENSE_GAN, "attacked": None, "split": "test", "images": 5}
    recipe |= {"cells": {"L2_R2": [2, 2], "L3_R1": [3, 1]}}
    on_both(lambda device: sweep_images(recipe, files, "auto", device), tolerance=1e-4)


def test_scores_and_course(files: dict[str, str]) -> None:
    scores = {"attacked": {"fgsm": {"validation": "digest", "test": "digest"}}}
    on_both(lambda device: discriminator_scores(scores, files, "auto", device))
    course = DATASET | {"purifier": COWBOY, "attacked": {"attack": FGSM}}
    course |= {"training_steps": [1], "cleaning_steps": [1, 2]}
    on_both(lambda device: training_course(course, files, "auto", device), tolerance=1e-4)


def test_quality(files: dict[str, str]) -> None:
    paths = files | {"generator_w": files["generator"], "generator_g": files["gan"]}
    paths |= {"snapshots_g": files["snapshots"]}
    own = SIZE | {"iterations": 2}
    generators = [
        {"kind": "Generator", "name": "w", "seed": 0, "settings": own},
        {"kind": "GAN", "name": "g", "seed": 0, "settings": own | {"snapshots": [1, 2]}},
    ]
    recipe = DATASET | {"classifier": {"name": "D"}, "draws": 2, "images": None}
    recipe |= {"generators": generators}
    # Distances of features are computed on the CPU.
    on_both(lambda device: quality_rows(recipe, paths, device), products_on_cpu=True)


def test_inference_rule(files: dict[str, str]) -> None:
    settings = {"search": True, "steps": 3, "step_size": 1.0, "doubling": 5}
    network = load_network(files["ae_gan"], "AEGAN")
    once = EncoderSearch(network.encoder, network.generator, None)
    scores = once.score(torch.from_numpy(read_split(files["dataset"], "test")[0]))
    settings["threshold"] = scores.sort().values[2:4].mean().item()
    purifier = {"name": "rs", "seed": 0, "method": "ae_gan", "settings": settings}
    purifier |= {"networks": {"generator": {"kind": "AEGAN", "settings": SIZE}}}
    labels = {"set": "clean", "attack": "none", "epsilon": None, "threat_model": "none"}
    recipe = DATASET | {"purifier": purifier, "files": {"generator": files["ae_gan"]}}
    recipe |= {"classifier": files["classifier"], "classifier_name": "D"}
    recipe |= {"sets": [labels | {"images": files["dataset"], "split": "test"}]}
    recipe |= {"repeats": 1, "images": 4}
    on_both(lambda device: rule_rows(recipe, device, 4))


def test_times(files: dict[str, str]) -> None:
    settings = {"steps": [1, 2], "restarts": [1], "repeats": 1, "largest_batch": 2}
    recipe = DATASET | {"defense": "defense_gan", "search": {"step_size": 1.0}}
    recipe |= {"settings": settings, "generator": {"kind": "Generator", "settings": SIZE}}
    vae = {"name": "vae", "seed": 0, "method": "defense_vae", "settings": {}}
    vae |= {"networks": {"vae": {"kind": "DefenseVAE", "settings": SIZE}}}
    job = {"images": 2, "batch_size": 2}
    jobs = [
        job | {"name": "vae", "purifier": vae, "files": {"vae": files["vae"]}},
        job | {"name": "search", "purifier": DEFENSE_GAN, "files": files},
    ]
    turns = DATASET | {"repeats": 1, "reference": "vae", "jobs": jobs}
    with pretended_gpu() as gpu:
        rows = timing.timing_rows(recipe, files, CUDA)
        rows += run_time.run_time_rows(turns, files["dataset"], CUDA)
    assert {row["device"] for row in rows} == {"pretended GPU"}
    assert gpu.matrix_products["cuda"] and not gpu.matrix_products["cpu"]


def test_substitute_of_an_oracle(files: dict[str, str]) -> None:
    def trained(device: torch.device) -> Any:
        oracle = load_oracle({"purifier": DEFENSE_GAN}, files, "auto", device)
        network = classifier()
        result = train_substitute(
            *(network, oracle, images_of()),
            **{"rounds": 2, "epochs": 1, "batch_size": 3, "learning_rate": 1e-3, "step": 0.1},
            **{"initial_labels": None, "seed": 0, "device": device},
        )
        assert result.images.numpy().shape == (8, *SHAPE)
        return result, network

    on_both(trained)


# Batches and the start of a job


def test_batches_grow_to_the_free_memory_and_shrink_when_it_is_used_up() -> None:
    sizes = []

    def work(batch: Tensor) -> Tensor:
        if len(batch) > 30:
            raise torch.OutOfMemoryError("too many")
        sizes.append(len(batch))
        return batch.to(CUDA).sum().cpu()

    with pretended_gpu(free=2**20) as gpu:
        gpu.peak = 16 * 2**14  # of the first batch: 51 images would fit into four fifths
        list(in_batches(work, torch.zeros(100, 1), "auto", CUDA))
    assert sizes == [16, 25, 25, 25, 9]


def test_batches_do_not_grow_beyond_what_kernels_can_count() -> None:
    with pretended_gpu(free=2**40) as gpu:
        gpu.peak = 16 * 2**14
        sizes = list(in_batches(len, torch.zeros(6000, 1), "auto", CUDA))
    assert sizes == [16, 4096, 1888]


def test_random_numbers_of_a_gpu_in_use_come_back_and_no_other_is_taken_into_use() -> None:
    with pretended_gpu() as gpu:
        with isolated_rng(1):
            nn.Linear(2, 2)
        assert not gpu.initialized
        torch.ones(1, device=CUDA)
        state = torch.cuda.get_rng_state()
        drawn = []
        for _ in range(2):
            with isolated_rng(1):
                drawn.append(torch.rand(3, device=CUDA).cpu())
        assert torch.equal(*drawn) and torch.equal(torch.cuda.get_rng_state(), state)


@pytest.fixture
def flags() -> Iterator[None]:
    """torch's global settings, and the environment, as they were."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    sums = matmul.allow_bf16_reduced_precision_reduction
    filling = torch.utils.deterministic.fill_uninitialized_memory
    mode = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    yield
    torch.use_deterministic_algorithms(mode, warn_only=warns)
    torch.utils.deterministic.fill_uninitialized_memory = filling
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
    matmul.allow_bf16_reduced_precision_reduction = sums
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    if workspace is not None:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


def test_a_granted_gpu_is_used_and_repeats_its_bits(
    flags: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pretended_gpu():
        assert runtime.start(None, threads=1).type == "cpu"
        assert not torch.are_deterministic_algorithms_enabled()
        assert runtime.start(None, threads=1, gpus=1) == CUDA
        assert torch.ones(1, device=CUDA).device == GPU
    assert "device: cuda (pretended GPU)" in capsys.readouterr().err
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_precision_of_the_search_is_in_force_within_it_alone(flags: None, precision: str) -> None:
    """In the descent and in each step of its gradient; the image returned is float32's."""
    seen: list[tuple[bool, bool]] = []

    def both() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    class Watched(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(both())
            return z.sigmoid().view(-1, 1, 1, 3)

    before = both()
    with pretended_gpu():
        settings = SearchSettings(2, precision=precision)
        images = torch.rand(2, 1, 1, 3, device=CUDA, requires_grad=True)
        found = latent_search(Watched(), images, codes_of(1), settings)
        assert both() == before
        descent, after = seen[:2], seen[2:]
        assert set(descent) == {(precision == "tf32",) * 2} and set(after) == {(False, False)}
        seen.clear()
        found.reconstructions.sum().backward()
        assert set(seen) == {(False, False)} and both() == before
