"""Trainings that diverge stop and say where; those that have learned nothing say so; the others are
what they are without these checks."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_device import PretendedGpu, pretended_gpu
from torch import Tensor, nn
from torch.nn import functional

from purification.models.ae_gan import AEGAN, Discriminator
from purification.models.autoencoder import MagNetAutoencoder
from purification.models.bigan import BiGAN, JointDiscriminator
from purification.models.classifiers import build_classifier
from purification.models.gan import GAN
from purification.models.vae import VAE
from purification.models.wgan import Critic, Generator
from purification.randomness import isolated_rng
from purification.storage import read_checkpoint, write_checkpoint
from purification.training import gan as gan_module
from purification.training.ae_gan import train_ae_gan
from purification.training.bigan import train_bigan
from purification.training.classifier import train_classifier
from purification.training.defense_vae import train_defense_vae, train_end_to_end, vae_losses
from purification.training.draws import AT_ONCE
from purification.training.finite import (
    COLLAPSE_SAMPLES,
    WEIGHTS_EVERY,
    Watch,
    mean_image_error,
    warn_at_chance,
    warn_if_collapsed,
    warn_if_mean_image,
)
from purification.training.gan import train_gan
from purification.training.magnet import train_autoencoder
from purification.training.substitute import train_substitute
from purification.training.toy import train_toy
from purification.training.wgan_gp import train_wgan_gp

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
IMAGES = torch.rand(24, 1, 28, 28, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(24) % 10
BETAS = (0.5, 0.9)
PGD = {"epsilon": 0.1, "step_size": 0.05, "iterations": 2}


def new(build: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    """A small network with weights of its own."""
    with isolated_rng(5):
        return build(*arguments)


# All trainings: (learning rate, steps, device) -> what they return, and their networks. Those of
# epochs have one epoch.

Training = Callable[..., tuple[Any, ...]]


def epoch(rate: float, steps: int, device: str) -> dict[str, Any]:
    size = len(IMAGES) // steps
    return {"learning_rate": rate, "epochs": 1, "batch_size": size, "seed": 0, "device": device}


def classifier(**further: Any) -> Training:
    def train(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
        model, settings = new(build_classifier, "simple_cnn"), epoch(rate, steps, device)
        defaults = {"adversarial_epsilon": None, "validation": (IMAGES[:10], LABELS[:10])}
        return train_classifier(model, IMAGES, LABELS, **settings, **defaults | further), model

    return train


def wgan_gp(**further: Any) -> Training:
    def train(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
        generator, critic = new(Generator, 3, 2), new(Critic, 2)
        settings = {"iterations": steps, "batch_size": 4, "critic_steps": 2, "betas": BETAS}
        settings |= {"gradient_penalty": 10.0, "learning_rate": rate, "seed": 0, "device": device}
        settings |= {"state_path": None, "state_every": 2, "recipe_digest": "digest"}
        history = train_wgan_gp(generator, critic, IMAGES, **settings | further)
        return history, generator, critic

    return train


def gan(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
    network = new(GAN, 3, 2)
    settings = {"iterations": steps, "batch_size": 4, "learning_rate": rate, "betas": BETAS}
    settings |= {"saturating": False, "snapshots": [steps], "seed": 0, "device": device}
    return *train_gan(network, IMAGES, **settings), network


def ae_gan(with_discriminator: bool) -> Training:
    def train(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
        network = new(AEGAN, 3, 2)
        discriminator = new(Discriminator, 2) if with_discriminator else None
        settings = epoch(rate, steps, device) | {"betas": BETAS, "noise_bound": 0.2}
        history = train_ae_gan(network, discriminator, IMAGES, **settings)
        return history, network, discriminator

    return train


def bigan(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
    network, discriminator = new(BiGAN, 3, 2), new(JointDiscriminator, 3, 2)
    settings = epoch(rate, steps, device) | {"betas": BETAS, "discriminator_learning_rate": 1e-3}
    return train_bigan(network, discriminator, IMAGES, **settings), network, discriminator


def magnet(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
    model = new(MagNetAutoencoder, 3, 2)
    return train_autoencoder(model, IMAGES, **epoch(rate, steps, device), noise=0.1), model


def defense_vae(reconstruction: str) -> Training:
    def train(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
        vae, settings = new(VAE, 3, 2), epoch(rate, steps, device)
        settings |= {"reconstruction": reconstruction, "kl_weight": 0.1}
        return train_defense_vae(vae, [IMAGES.square()], IMAGES, **settings), vae

    return train


def end_to_end(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
    vae, model = new(VAE, 3, 2), new(build_classifier, "D")
    settings = epoch(rate, steps, device) | {"reconstruction": "bce", "kl_weight": 0.1}
    settings |= {"classifier_weight": 10.0, "evaluated": {"test": (IMAGES[:5], LABELS[:5])}}
    copies = [IMAGES.square()]
    return train_end_to_end(vae, model, copies, IMAGES, LABELS, **settings), vae, model


def substitute(rate: float = 1e-3, steps: int = 3, device: str = "cpu") -> tuple[Any, ...]:
    model = new(build_classifier, "D")
    settings = epoch(rate, steps, device) | {"rounds": 1, "step": 0.1, "initial_labels": LABELS}
    result = train_substitute(model, lambda images: LABELS, IMAGES, **settings)
    return result.history, model


def toy(rate: float = 1e-3, steps: int = 3) -> tuple[Any, ...]:
    made = train_toy(
        seed=0, points=50, classifier_steps=steps, gan_steps=steps, learning_rate=rate, side=5
    )
    return tuple(torch.from_numpy(values) for values in vars(made).values())


ON_A_DEVICE: dict[str, Training] = {
    "classifier": classifier(),
    "FGSM training": classifier(adversarial_epsilon=0.1),
    "PGD training": classifier(adversarial_pgd=PGD),
    "bfloat16 classifier": classifier(precision="bfloat16"),
    "WGAN-GP": wgan_gp(),
    "fast WGAN-GP": wgan_gp(fast_convolutions=True),
    "bfloat16 WGAN-GP": wgan_gp(precision="bfloat16"),
    "GAN": gan,
    "AE": ae_gan(False),
    "AE-GAN": ae_gan(True),
    "BiGAN": bigan,
    "MagNet": magnet,
    "Defense-VAE, bce": defense_vae("bce"),
    "Defense-VAE, mse": defense_vae("mse"),
    "end to end": end_to_end,
    "substitute": substitute,
}
TRAININGS = ON_A_DEVICE | {"toy": toy}


def numbers(made: Any) -> list[Any]:
    """All of a result but its wall times, to be compared bit by bit."""
    match made:
        case Tensor():
            return [made.detach().contiguous().view(-1).tolist()]
        case nn.Module():
            return numbers(list(made.state_dict().values()))
        case dict():
            return numbers([value for key, value in made.items() if key != "seconds"])
        case list() | tuple():
            return [leaf for branch in made for leaf in numbers(branch)]
    return [made]


def error_of(train: Training, *arguments: Any) -> str:
    with pytest.raises(FloatingPointError) as caught:
        train(1e30, *arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_diverges_stops_and_names_the_step(name: str) -> None:
    message = error_of(TRAININGS[name], 3)
    place = r"training stopped at (epoch 1, step [12] of 3|iteration [12]): "
    assert re.search(place + r"the [\w ]+ loss is (nan|inf|-inf)\. .*learning_rate", message)
    assert re.search(r"\(here (0\.001 and )?1e\+30\)", message)


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_a_gpu_tells_of_the_same_step(name: str) -> None:
    """Though it is asked later."""
    expected = error_of(ON_A_DEVICE[name], 3)
    with pretended_gpu():
        assert error_of(ON_A_DEVICE[name], 3, "cuda") == expected


@pytest.mark.parametrize("name", TRAININGS)
def test_a_finite_training_is_what_it_is_without_the_checks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = numbers(TRAININGS[name]())
    monkeypatch.setattr(Watch, "step", lambda self, **losses: None)
    monkeypatch.setattr(Watch, "check", lambda self: None)
    assert checked == numbers(TRAININGS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of steps in an epoch, or between two rows of a history, each costs as many waits as without
    the check of its losses."""
    monkeypatch.setattr(gan_module, "HISTORY_ROWS", 1)
    waits: list[str] = []
    wait = PretendedGpu.wait

    def counted(self: PretendedGpu, what: str) -> None:
        waits.append(what)
        wait(self, what)

    monkeypatch.setattr(PretendedGpu, "wait", counted)

    def waits_of(steps: int) -> int:
        waits.clear()
        with pretended_gpu():
            ON_A_DEVICE[name](1e-3, steps, "cuda")
        return len(waits)

    few, many = waits_of(3), waits_of(6)
    monkeypatch.setattr(Watch, "step", lambda self, **losses: None)
    assert few - waits_of(3) == many - waits_of(6)


# The watch


def watched(
    network: nn.Module | None = None, steps_in_epoch: int | None = None, rate: float = 0.1
) -> tuple[Watch, nn.Module, torch.optim.Optimizer]:
    network = network or nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(network.parameters(), rate)
    return Watch("it", {"net": network}, [optimizer], steps_in_epoch), network, optimizer


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("step", "place"), [(1, "epoch 1, step 1"), (137, "epoch 4, step 17")])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_first_bad_loss_is_named(bad: float, step: int, place: str, device: str) -> None:
    """Where they are read in blocks, it is the first of its block, and nothing waits before."""
    with pretended_gpu():
        watch, _, _ = watched(nn.Linear(2, 2).to(device), 40)
        fine, losses = torch.ones((), device=device), torch.tensor([1.0, bad]).to(device)
        reached = 0
        with pytest.raises(FloatingPointError, match=re.escape(place)) as caught:
            for reached in range(1, 200):
                read = device == "cpu" or reached % AT_ONCE == 0
                torch.cuda.set_sync_debug_mode("default" if read else "error")
                watch.step(one=fine, other=losses if reached >= step else fine)
    assert f"{place} of 40: the other loss is {bad}" in str(caught.value)
    assert ("first step" in str(caught.value)) == (step == 1)
    assert reached == (step if device == "cpu" else -(-step // AT_ONCE) * AT_ONCE)


@pytest.mark.parametrize("key", ["0.weight", "1.running_var"])
def test_a_weight_that_is_not_finite_is_found_though_all_losses_are(key: str) -> None:
    watch, network, _ = watched()
    watch.step(loss=torch.ones(()))
    watch.check()
    network.state_dict()[key].view(-1)[0] = math.nan
    with pytest.raises(FloatingPointError, match=rf"iteration 1: not finite any more: net\.{key}"):
        watch.check()
    with pytest.raises(FloatingPointError, match=f"iteration {WEIGHTS_EVERY}: not finite"):
        for _ in range(WEIGHTS_EVERY):
            watch.step(loss=torch.ones(()))


def test_a_moment_that_overflows_is_found() -> None:
    """Its weight would never move again."""
    watch, network, optimizer = watched(nn.Linear(2, 1))
    network(torch.full((1, 2), 1e25)).sum().backward()
    optimizer.step()
    assert all(weight.isfinite().all() for weight in network.parameters())
    with pytest.raises(FloatingPointError, match=r"exp_avg_sq of net\.weight"):
        watch.check()


def test_sums_that_overflow_are_no_sign() -> None:
    watch, network, _ = watched(nn.Linear(2, 2))
    with torch.no_grad():
        network.weight.fill_(3e38)
    watch.check()


def test_networks_of_several_types_are_checked() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double(), nn.Linear(2, 2).bfloat16())
    network.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    watch, _, _ = watched(network)
    watch.check()
    with torch.no_grad():
        network[2].bias[1] = math.inf
    with pytest.raises(FloatingPointError, match=r"net\.2\.bias\."):
        watch.check()


def test_a_mask_of_infinities_is_none_of_the_trainings() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 10)
            self.register_buffer("mask", torch.tensor([0.0] * 10 + [-math.inf]))

        def forward(self, images: Tensor) -> Tensor:
            return self.linear(images.flatten(1)) + self.mask[:10]

    settings = epoch(1e-3, 2, "cpu") | {"adversarial_epsilon": None, "validation": None}
    model = Masked()
    train_classifier(model, IMAGES, LABELS, **settings)
    with torch.no_grad():
        model.linear.bias[3] = math.nan
    with pytest.raises(FloatingPointError, match=r"before the first step: classifier\.linear\.bia"):
        train_classifier(model, IMAGES, LABELS, **settings)


def test_a_history_has_finite_values_alone() -> None:
    watch, _, _ = watched(steps_in_epoch=2)
    watch.step(loss=torch.ones(()))
    row = {"epoch": 1, "accuracy": None, "loss": 0.5}
    assert watch.row(row) is row
    with pytest.raises(FloatingPointError, match="loss of the history is inf"):
        watch.row({"epoch": 1, "loss": math.inf})


def test_nan_in_an_output_is_nan_in_the_cross_entropy_of_pixels() -> None:
    """torch's raises there, or ends the process."""
    outputs, code = torch.full((2, 1, 2, 2), 0.3, requires_grad=True), torch.zeros(2, 3)
    clean = torch.rand(2, 1, 2, 2)
    (loss, _) = vae_losses(outputs, clean, code, code, "bce")
    expected = functional.binary_cross_entropy(outputs, clean, reduction="sum") / 2
    assert loss.item() == expected.item()
    ours, theirs = (torch.autograd.grad(one, outputs)[0] for one in (loss, expected))
    assert torch.equal(ours, theirs)
    broken = outputs.detach().clone()
    broken[1, 0, 1, 0] = math.nan
    assert vae_losses(broken, clean, code, code, "bce")[0].isnan()


# WGAN-GP's states


def test_no_state_of_a_diverged_training_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"

    class Breaking(Generator):
        passes = 0

        def forward(self, z: Tensor) -> Tensor:
            self.passes += 1
            made = super().forward(z)
            # Twice an iteration: in the sixth, of which the state would be saved.
            return made * math.nan if self.passes == 12 else made

    with isolated_rng(5):
        networks = Breaking(3, 2), Critic(2)
    settings = {"iterations": 8, "batch_size": 4, "critic_steps": 2, "betas": BETAS, "seed": 0}
    settings |= {"gradient_penalty": 10.0, "learning_rate": 1e-3, "device": "cpu"}
    settings |= {"state_path": path, "state_every": 2, "recipe_digest": "digest"}
    with pytest.raises(FloatingPointError, match="iteration 6: the generator loss is nan"):
        train_wgan_gp(*networks, IMAGES, **settings)
    state, metadata = read_checkpoint(path)
    assert metadata["iteration"] == "4"
    assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.parametrize("place", ["generator", "critic", "critic_adam", "history"])
def test_a_state_that_is_not_finite_is_not_resumed(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.safetensors"
    wgan_gp(state_path=path)(steps=10)
    state, metadata = read_checkpoint(path)
    history = json.loads(metadata["history"])
    if place == "history":
        history[0]["penalty"] = math.nan
    else:
        key = next(key for key in state if key.startswith(f"{place}.") and state[key].dim())
        state[key].view(-1)[0] = math.inf
    facts = {"iteration": "10", "history": json.dumps(history)}
    write_checkpoint(path, state, metadata["recipe"], **facts)
    capsys.readouterr()
    again = wgan_gp(state_path=path)(steps=12)
    assert f"warning: WGAN-GP: {path} holds numbers that are not finite" in capsys.readouterr().err
    assert numbers(again) == numbers(wgan_gp()(steps=12))
    wgan_gp(state_path=path)(steps=12)
    assert "not finite" not in capsys.readouterr().err


# What has learned nothing


def still(network: nn.Module) -> nn.Module:
    """With weights of zero, so that it answers the same always."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    return network


def test_always_the_same_class_is_chance_and_more_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = torch.tensor([0] * 60 + [1] * 40)
    bound = 0.6 + 1.645 * math.sqrt(0.6 * 0.4 / 100)
    for accuracy, warns in [
        (0.0, True),
        (0.6, True),
        (bound - 0.001, True),
        (bound + 0.001, False),
    ]:
        warn_at_chance("D", accuracy, labels, "test images")
        told = capsys.readouterr().err
        assert bool(told) == warns, accuracy
        assert not told or (f"D: accuracy {accuracy:.4f} on test images" in told and "0.6" in told)


def striped(count: int) -> tuple[Tensor, Tensor]:
    """Images of ten classes: class k is bright in its own two rows."""
    labels = torch.arange(count) % 10
    images = 0.3 * torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label + 4 : 2 * label + 6] += 0.6
    return images, labels


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("learns", [True, False])
def test_a_classifier_that_has_learned_nothing_says_so(
    validation: bool, learns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = striped(100)
    settings = {"epochs": 8 if learns else 1, "batch_size": 20, "seed": 0, "device": "cpu"}
    settings |= {"learning_rate": 1e-3 if learns else 1e-12, "adversarial_epsilon": None}
    checked = (images, labels) if validation else None
    model = new(build_classifier, "E") if learns else still(new(build_classifier, "E"))
    train_classifier(model, images, labels, **settings, validation=checked, name="my own")
    told = capsys.readouterr().err
    assert told.count("warning") == (0 if learns else 1)
    expected = f"my own: accuracy 0.*{'validation' if validation else 'training'} images"
    assert learns or re.search(expected, told)


def test_a_substitute_is_judged_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = striped(40)
    settings = {"epochs": 1, "batch_size": 20, "seed": 0, "device": "cpu", "rounds": 3}
    settings |= {"learning_rate": 1e-12, "step": 0.1, "initial_labels": labels}
    given = iter([labels, labels.repeat(2)])
    model = still(new(build_classifier, "E"))
    train_substitute(model, lambda x: next(given), images, **settings)
    told = capsys.readouterr().err
    assert told.count("warning") == 1 and "(160) is no better than chance (0.1000" in told


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_error_of_the_mean_image(loss: str) -> None:
    images = torch.rand(50, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    images[:, :, 0] = 0.0  # where the mean is 0, its logarithm is not finite
    code, mean = torch.zeros(50, 3), images.mean(dim=0, keepdim=True).expand_as(images)
    by_hand = vae_losses(mean, images, code, code, loss)[0].item()
    assert mean_image_error(images, loss) == pytest.approx(by_hand, rel=1e-5)
    other = (mean + 0.02).clamp(0, 1)
    assert vae_losses(other, images, code, code, loss)[0].item() > by_hand


def test_the_mean_image_and_what_is_hardly_better_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for share, warns in [(2.0, True), (1.0, True), (0.995, True), (0.98, False), (0.0, False)]:
        warn_if_mean_image("VAE", 5 * share, 5.0)
        assert ("warning: VAE" in capsys.readouterr().err) == warns, share


@pytest.mark.slow
@pytest.mark.parametrize("rate", [3e-3, 1e-12])
def test_an_autoencoder_that_has_learned_nothing_says_so(
    rate: float, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = striped(60)
    settings = {"epochs": 60, "batch_size": 10, "noise": 0.1, "seed": 3, "device": "cpu"}
    train_autoencoder(new(MagNetAutoencoder, 16, 4), images, learning_rate=rate, **settings)
    assert ("no better than that of the mean image" in capsys.readouterr().err) == (rate < 1e-3)


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.2, 1.0])
def test_samples_that_are_all_the_same_are_told(
    deviation: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth of the images' deviation is the border."""
    images = torch.randn(500, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(COLLAPSE_SAMPLES, 16, generator=torch.Generator().manual_seed(1))
    warn_if_collapsed("GAN", lambda z: deviation * z.view(-1, 1, 4, 4) + 0.3, codes, images)
    told = capsys.readouterr().err
    assert ("GAN: 64 samples are nearly the same image" in told) == (deviation < 0.1)


@pytest.mark.parametrize("name", ["WGAN-GP", "GAN", "AE-GAN", "BiGAN"])
def test_a_collapsed_generator_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = {"WGAN-GP": Generator, "GAN": GAN, "AE-GAN": AEGAN, "BiGAN": BiGAN}[name]
    initialise = build.__init__

    def with_still_generator(self: nn.Module, *arguments: Any) -> None:
        initialise(self, *arguments)
        still(getattr(self, "generator", self))

    monkeypatch.setattr(build, "__init__", with_still_generator)
    ON_A_DEVICE[name](rate=1e-12)
    assert "64 samples are nearly the same image" in capsys.readouterr().err
