"""Training procedures: losses against formulas by hand, resuming, seeds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks.iterative import pgd
from purification.models.autoencoder import MagNetAutoencoder
from purification.models.classifiers import build_classifier
from purification.models.prediction import predict
from purification.models.wgan import Critic, Generator
from purification.randomness import derive_seed, isolated_rng
from purification.training import magnet
from purification.training.classifier import train_classifier
from purification.training.magnet import train_autoencoder
from purification.training.wgan_gp import slope_penalty, train_wgan_gp

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")


def pictures(n: int) -> tuple[Tensor, Tensor]:
    """Noisy images of ten classes: class k is bright in its own two rows."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 10
    images = 0.3 * torch.rand(n, 1, 28, 28, generator=random)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label + 4 : 2 * label + 6] += 0.6
    return images, labels


def vector(*models: nn.Module) -> Tensor:
    return torch.cat([nn.utils.parameters_to_vector(m.parameters()).detach() for m in models])


def new_classifier(architecture: str = "D") -> nn.Module:
    with isolated_rng(7):
        return build_classifier(architecture)


def fit(model: nn.Module, images: Tensor, labels: Tensor, **settings: object) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 20,
        "learning_rate": 1e-3,
        "adversarial_epsilon": None,
        "seed": 3,
        "validation": None,
        "device": "cpu",
    }
    return train_classifier(model, images, labels, **{**defaults, **settings})


# Classifier


PGD = {"epsilon": 0.05, "step_size": 0.015, "iterations": 5}


@pytest.mark.parametrize("adversary", [{}, {"adversarial_epsilon": 0.05}, {"adversarial_pgd": PGD}])
def test_classifier_learns(adversary: dict) -> None:
    images, labels = pictures(120)
    model = new_classifier()
    rows = fit(
        model,
        images[:100],
        labels[:100],
        epochs=15,
        **adversary,
        validation=(images[100:], labels[100:]),
    )
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["accuracy"] >= 0.9
    accuracy = (predict(model, images[100:], device="cpu").argmax(1) == labels[100:]).float().mean()
    assert rows[-1]["validation_accuracy"] == pytest.approx(accuracy.item())
    assert accuracy >= 0.9
    assert all(row["seconds"] > 0 for row in rows)
    assert not model.training


def test_plain_step_is_adam_on_the_cross_entropy() -> None:
    images, labels = pictures(16)
    model, by_hand = new_classifier("E"), new_classifier("E")
    (row,) = fit(model, images, labels, batch_size=16)
    loss = functional.cross_entropy(by_hand(images), labels)
    loss.backward()
    torch.optim.Adam(by_hand.parameters(), 1e-3).step()
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["validation_accuracy"] is None
    # Batch order and kernel differ, so the last bits may; a step is 1e-3 a weight.
    torch.testing.assert_close(vector(model), vector(by_hand), atol=2e-5, rtol=0)


@pytest.mark.parametrize("climbed", ["ground_truth", "predicted"])
def test_adversarial_loss_is_the_mean_of_clean_and_fgsm_loss(climbed: str) -> None:
    images, labels = pictures(16)
    epsilon = 0.2
    model, by_hand = new_classifier("E"), new_classifier("E")  # E has no dropout
    adversary = {"adversarial_epsilon": epsilon, "adversarial_labels": climbed}
    (row,) = fit(model, images, labels, batch_size=16, **adversary)
    inputs = images.clone().requires_grad_()
    logits = by_hand(inputs)
    own = logits.argmax(dim=1)
    assert not torch.equal(own, labels)
    climbed_loss = functional.cross_entropy(logits, labels if climbed == "ground_truth" else own)
    (gradient,) = torch.autograd.grad(climbed_loss, inputs)
    adversarial = (images + epsilon * gradient.sign()).clamp(0, 1)
    clean_loss = functional.cross_entropy(by_hand(images), labels)
    adversarial_loss = functional.cross_entropy(by_hand(adversarial), labels)
    if climbed == "ground_truth":
        assert adversarial_loss > 1.1 * clean_loss
    mean = (clean_loss + adversarial_loss) / 2
    assert row["loss"] == pytest.approx(mean.item(), rel=1e-5)
    mean.backward()
    torch.optim.Adam(by_hand.parameters(), 1e-3).step()
    torch.testing.assert_close(vector(model), vector(by_hand), atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("adversary", [{}, {"adversarial_epsilon": 0.2}, {"adversarial_pgd": PGD}])
def test_mixed_precision_takes_nearly_the_same_step_to_a_float32_network(adversary: dict) -> None:
    images, labels = pictures(100)
    networks, losses = [], []
    for precision in ("float32", "bfloat16", "bfloat16"):
        networks.append(new_classifier("C"))
        (row,) = fit(networks[-1], images, labels, batch_size=100, **adversary, precision=precision)
        losses.append(row["loss"])
    mixed, again = map(vector, networks[1:])
    assert mixed.dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] != losses[0], "nothing was computed in bfloat16"
    assert torch.equal(mixed, again)


@pytest.mark.parametrize("adversary", [{}, {"adversarial_epsilon": 0.2}])
def test_mixed_precision_learns(adversary: dict) -> None:
    images, labels = pictures(120)
    settings = {"epochs": 15, "validation": (images[100:], labels[100:]), "precision": "bfloat16"}
    rows = fit(new_classifier(), images[:100], labels[:100], **settings, **adversary)
    assert rows[-1]["validation_accuracy"] >= 0.9


def test_pgd_training_takes_its_step_on_pgd_images_alone() -> None:
    images, labels = pictures(16)
    model, by_hand = new_classifier("E"), new_classifier("E")  # E has no dropout
    (row,) = fit(model, images, labels, batch_size=16, adversarial_pgd=PGD)
    starts = {"seed": derive_seed(3, "pgd", "1"), "indices": range(16)}
    worst = pgd(by_hand, images, labels, **PGD, **starts)
    clean_loss = functional.cross_entropy(by_hand(images), labels)
    loss = functional.cross_entropy(by_hand(worst), labels)
    assert loss > 1.1 * clean_loss
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    torch.optim.Adam(by_hand.parameters(), 1e-3).step()
    torch.testing.assert_close(vector(model), vector(by_hand), atol=2e-5, rtol=0)


def test_pgd_images_are_crafted_in_eval_mode_from_new_starts_in_every_epoch() -> None:
    modes, seen = [], []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))

        def forward(self, images: Tensor) -> Tensor:
            modes.append(self.training)
            seen.append(images.detach().clone())
            return self.body(images)

    images, labels = pictures(20)
    model = Spy()
    fit(model, images, labels, epochs=2, batch_size=10, adversarial_pgd=PGD)
    step = [False] * PGD["iterations"] + [True]
    assert modes == 4 * step
    assert model.body[1].num_batches_tracked == 4

    def by_image(batches: list[Tensor]) -> Tensor:
        """In the order of `images`, of which each is the nearest to what was made of it."""
        made = torch.cat(batches)
        nearest = torch.cdist(made.flatten(1), images.flatten(1)).argmin(dim=1)
        assert sorted(nearest.tolist()) == list(range(20))
        return made[nearest.argsort()]

    first, second = (by_image(batches) for batches in (seen[0:12:6], seen[12:24:6]))
    for starts in (first, second):
        assert (starts - images).abs().amax(dim=(1, 2, 3)).max() <= PGD["epsilon"] + 1e-6
        assert ((starts - images).flatten(1).std(dim=1) > 0.01).all()
    assert ((first - second).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_one_form_of_adversarial_training_at_most() -> None:
    with pytest.raises(ValueError, match="adversarial_epsilon and adversarial_pgd"):
        fit(new_classifier(), *pictures(10), adversarial_epsilon=0.1, adversarial_pgd=PGD)


def test_every_image_is_seen_once_an_epoch_the_last_batch_too() -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 10)

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images[:, 0, 0, 0].clone())
            return self.linear(images.flatten(1))

    images, labels = pictures(25)
    images[:, 0, 0, 0] = torch.arange(25) / 25  # a name for each image
    fit(Spy(), images, labels, epochs=2, batch_size=10)
    assert [len(batch) for batch in seen] == [10, 10, 5, 10, 10, 5]
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert torch.equal(first.sort().values, images[:, 0, 0, 0])
    assert torch.equal(second.sort().values, images[:, 0, 0, 0])
    assert not torch.equal(first, second)


def test_predict_is_batchwise_eval_and_restores_the_mode() -> None:
    images, _ = pictures(23)
    model = new_classifier("D").train()
    logits = predict(model, images, batch_size=10, device="cpu")
    assert model.training
    assert not logits.requires_grad
    assert logits.shape == (23, 10)
    torch.testing.assert_close(logits, model.eval()(images).detach())
    predict(model, images, device="cpu")
    assert not model.training


def train_d(seed: int) -> Tensor:
    images, labels = pictures(60)
    model = new_classifier("D")  # D has dropout, which draws from the global state
    fit(model, images, labels, seed=seed, adversarial_epsilon=0.1)
    return vector(model)


def train_d_on_pgd(seed: int) -> Tensor:
    images, labels = pictures(60)
    model = new_classifier("D")
    fit(model, images, labels, seed=seed, adversarial_pgd=PGD)
    return vector(model)


def train_gan(seed: int) -> Tensor:
    return vector(*gan(seed=seed, iterations=2)[:2])


def train_magnet(seed: int) -> Tensor:
    model = new_autoencoder()
    fit_autoencoder(model, pictures(20)[0], seed=seed)
    return vector(model)


@pytest.mark.parametrize("train", [train_d, train_d_on_pgd, train_gan, train_magnet])
def test_weights_follow_from_the_seed_alone(train: Callable[[int], Tensor]) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train(0)
    assert torch.equal(torch.random.get_rng_state(), before), "global random state was used"
    torch.manual_seed(2)
    assert torch.equal(train(0), first)
    assert not torch.equal(train(1), first)


# WGAN-GP


def gan(
    networks: tuple[nn.Module, nn.Module] | None = None, **settings: object
) -> tuple[nn.Module, nn.Module, list[dict]]:
    if networks is None:
        with isolated_rng(7):
            networks = Generator(5, 2), Critic(2)
    defaults = {
        "iterations": 6,
        "batch_size": 4,
        "critic_steps": 2,
        "gradient_penalty": 10.0,
        "learning_rate": 1e-3,
        "betas": (0.5, 0.9),
        "seed": 3,
        "state_path": None,
        "state_every": 2,
        "recipe_digest": "digest",
        "device": "cpu",
    }
    history = train_wgan_gp(*networks, pictures(30)[0], **{**defaults, **settings})
    return *networks, history


class Linear(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights


def test_penalty_of_a_linear_critic() -> None:
    # The gradient is the weight vector everywhere: penalty (||w|| - 1)^2, whose gradient is
    # 2 (||w|| - 1) w / ||w||.
    critic = Linear(torch.tensor([3.0, 0.0, 4.0, 0.0]))
    real, fake, mix = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), torch.rand(5, 1, 1, 1)
    penalty = slope_penalty(critic, real, fake, mix)
    assert penalty.item() == pytest.approx((5 - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(critic.weights.grad, 2 * 4 * torch.tensor([0.6, 0.0, 0.8, 0.0]))


class HalfSquare(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 0.5 * images.square().flatten(1).sum(dim=1)


def test_penalty_is_per_image_and_at_the_mixed_images() -> None:
    # The gradient of |x|^2 / 2 is x itself, so each image's slope is the norm of its mixture.
    real, fake, mix = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4), torch.rand(3, 1, 1, 1)
    expected = 0.0
    for r, f, m in zip(real, fake, mix, strict=True):
        mixed = m * r + (1 - m) * f
        expected += (mixed.square().sum().sqrt().item() - 1) ** 2 / 3
    assert slope_penalty(HalfSquare(), real, fake, mix).item() == pytest.approx(expected, rel=1e-5)


def test_penalty_gradient_of_the_critic_agrees_with_finite_differences() -> None:
    with isolated_rng(5):
        critic = Critic(2).double()
        real, fake = torch.rand(2, 3, 1, 28, 28, dtype=torch.float64)
        mix = torch.rand(3, 1, 1, 1, dtype=torch.float64)
    slope_penalty(critic, real, fake, mix).backward()
    for weight in (critic.features[0].weight, critic.features[4].weight, critic.score.weight):
        place = tuple(size // 2 for size in weight.shape)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += step
            values.append(slope_penalty(critic, real, fake, mix).item())
            with torch.no_grad():
                weight[place] -= step
        difference = (values[0] - values[1]) / 2e-6
        assert abs(difference) > 1e-6
        assert weight.grad[place].item() == pytest.approx(difference, rel=1e-4)


@pytest.mark.slow
def test_gan_training_moves_towards_the_data() -> None:
    generator, critic, history = gan(
        iterations=60, learning_rate=5e-3, critic_steps=3, batch_size=16
    )
    with torch.no_grad(), isolated_rng(0):
        made = generator(torch.randn(64, 5)).mean()
    # It starts at 0.5 a pixel.
    assert abs(made - pictures(30)[0].mean()) < 0.1
    assert not generator.training
    assert not critic.training
    assert [row["iteration"] for row in history] == list(range(10, 61, 10))
    for row in history:
        assert row["critic_loss"] == pytest.approx(10 * row["penalty"] - row["wasserstein"])
    assert history[-1]["penalty"] < 0.5  # 1 where the critic is flat


class LinearGenerator(nn.Module):
    latent = 2

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2, 784))

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weights).view(-1, 1, 28, 28)


def test_history_has_a_row_every_ten_iterations() -> None:
    critic = Linear(torch.full((784,), 0.01))
    _, _, history = gan((LinearGenerator(), critic), iterations=45, critic_steps=1)
    assert [row["iteration"] for row in history] == [10, 20, 30, 40]


def passes_in_training(network: nn.Module) -> list[int]:
    """Grows by one with each pass in train mode from now on."""
    count: list[int] = []

    def add(network: nn.Module, *_: object) -> None:
        if network.training:
            count.append(1)

    network.register_forward_hook(add)
    return count


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = gan(state_path=tmp_path / "whole.safetensors")

    with isolated_rng(7):
        generator, critic = Generator(5, 2), Critic(2)
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:  # twice an iteration: in the fifth, after the state of the fourth
            raise KeyboardInterrupt

    generator.register_forward_hook(interrupt)
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        gan((generator, critic), state_path=path)
    with isolated_rng(8):  # other initial weights: they must come from the state
        fresh = Generator(5, 2), Critic(2)
    count = passes_in_training(fresh[0])
    resumed = gan(fresh, state_path=path)
    assert len(count) == 2 * 2, "two iterations were left"
    assert torch.equal(vector(*resumed[:2]), vector(*whole[:2]))
    assert resumed[2] == whole[2]
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_more_iterations_continue_a_finished_training(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    gan(iterations=3, state_path=path, state_every=100)
    with isolated_rng(8):
        fresh = Generator(5, 2), Critic(2)
    count = passes_in_training(fresh[0])
    continued = gan(fresh, iterations=6, state_path=path)
    assert len(count) == 3 * 2
    whole = gan(iterations=6)
    assert torch.equal(vector(*continued[:2]), vector(*whole[:2]))
    assert continued[2] == whole[2]
    again = gan(iterations=6, state_path=path, networks=fresh)
    assert len(count) == 3 * 2, "nothing was left to do"
    assert again[2] == whole[2]


@pytest.mark.parametrize("change", [{"recipe_digest": "other"}, {"iterations": 3}])
def test_another_training_starts_over(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "state.safetensors"
    gan(iterations=4, state_path=path, seed=4)  # so that its weights cannot pass for the new ones
    settings = {"iterations": 4, **change}
    trained = gan(state_path=path, **settings)
    scratch = gan(**settings)
    assert torch.equal(vector(*trained[:2]), vector(*scratch[:2]))
    assert trained[2] == scratch[2]
    # And the state is now this training's.
    again = gan(state_path=path, **settings)
    assert torch.equal(vector(*again[:2]), vector(*scratch[:2]))


@pytest.mark.parametrize("left", [b"", b"half of a state", None])
def test_a_damaged_state_is_set_aside_and_training_begins_anew(
    tmp_path: Path, left: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.safetensors"
    gan(iterations=4, state_path=path)
    whole = bytearray(path.read_bytes())
    whole[-50] ^= 1
    path.write_bytes(bytes(whole) if left is None else left)
    trained = gan(iterations=4, state_path=path)
    scratch = gan(iterations=4)
    assert torch.equal(vector(*trained[:2]), vector(*scratch[:2]))
    said = capsys.readouterr().err
    assert str(path) in said and "begins anew" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.damaged"]
    count = passes_in_training(trained[0])
    gan(trained[:2], iterations=4, state_path=path)
    assert not count, "the state that was then written is this training's"


# MagNet


def new_autoencoder() -> nn.Module:
    with isolated_rng(7):
        return MagNetAutoencoder(16, 4)


def fit_autoencoder(model: nn.Module, images: Tensor, **settings: object) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 10,
        "learning_rate": 1e-3,
        "noise": 0.1,
        "seed": 3,
        "device": "cpu",
    }
    return train_autoencoder(model, images, **{**defaults, **settings})


@pytest.mark.slow
def test_autoencoder_learns_to_reconstruct() -> None:
    images, _ = pictures(60)
    model = new_autoencoder()
    rows = fit_autoencoder(model, images, epochs=60, learning_rate=3e-3)
    with torch.no_grad():
        error = functional.mse_loss(model(images), images).item()
    # The images' own variance is what the mean image would leave.
    assert error < 0.7 * (images - images.mean(dim=0)).square().mean().item()
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert [row["epoch"] for row in rows] == list(range(1, 61))
    assert not model.training


@pytest.mark.parametrize(("first_output", "expected"), [("gray", 0.5), ("mean", 0.1)])
def test_autoencoder_begins_at_gray_or_at_the_mean_image(
    first_output: str, expected: float
) -> None:
    images = torch.zeros(20, 1, 28, 28)
    images[:, :, :7, :12] = 0.1 * 784 / 84
    with isolated_rng(0):
        model = MagNetAutoencoder(8, 4)
    settings = {"epochs": 1, "batch_size": 20, "noise": 0.0, "seed": 0, "device": "cpu"}
    train_autoencoder(model, images, **settings, learning_rate=1e-9, first_output=first_output)
    with torch.no_grad():
        assert model(images).mean().item() == pytest.approx(expected, abs=0.02)


def test_autoencoder_sees_noisy_clipped_images_and_aims_at_clean_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.full((10, 1, 28, 28), 0.5)
    images[:5] = 0.0
    inputs, targets = [], []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, noisy: Tensor) -> Tensor:
            inputs.append(noisy)
            return noisy + self.shift

    def mse_loss(outputs: Tensor, target: Tensor) -> Tensor:
        targets.append(target)
        return (outputs - target).square().mean()

    monkeypatch.setattr(magnet.functional, "mse_loss", mse_loss)
    (row,) = fit_autoencoder(Spy(), images, noise=0.1)
    noisy, clean = inputs[0], targets[0]
    assert set(clean.unique().tolist()) == {0.0, 0.5}
    grey = clean == 0.5
    added = noisy[grey] - 0.5
    assert added.std().item() == pytest.approx(0.1, rel=0.05)
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    assert noisy.min() == 0  # half of the noise on black is clipped
    assert (noisy[~grey] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert row["loss"] == pytest.approx((noisy - clean).square().mean().item(), rel=1e-5)
