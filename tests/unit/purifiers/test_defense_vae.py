"""Defense-VAE: its network, losses by hand, its two trainings, and the purifier."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import run_attack
from purification.models.checkpoints import load_network, save_network
from purification.models.classifiers import build_classifier
from purification.models.prediction import predict
from purification.models.vae import VAE
from purification.purifiers import Defended, DefenseVAE, reconstruction_error
from purification.purifiers.batches import purify_images
from purification.purifiers.loading import load_purifier
from purification.randomness import isolated_rng
from purification.training.classifier import train_classifier
from purification.training.defense_vae import train_defense_vae, train_end_to_end, vae_losses

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
torch.set_num_threads(1)  # for the module's own fixtures, which come before that one

COUNT = 40


@pytest.fixture(scope="module")
def pairs() -> tuple[list[Tensor], Tensor, Tensor]:
    """Three attacked copies of scikit-learn's digits (as 16x16), the clean images, their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images[:COUNT]).float()[:, None] / 16
    clean = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    labels = torch.from_numpy(digits.target[:COUNT]).long()
    random = torch.Generator().manual_seed(0)
    noise = [torch.randn(clean.shape, generator=random).sign() for _ in range(3)]
    return [(clean + 0.4 * n).clamp(0, 1) for n in noise], clean, labels


def new_vae(shape: tuple[int, int, int] = (1, 16, 16), width: int = 4) -> VAE:
    with isolated_rng(7):
        return VAE(8, width, shape)


def purifier_of(vae: VAE, width: int = 4) -> DefenseVAE:
    made = DefenseVAE({"latent": 8, "width": width}, (1, 16, 16))
    made.trained.load_state_dict(vae.state_dict())
    return made.eval().requires_grad_(False)


def new_classifier() -> nn.Module:
    with isolated_rng(7):
        return build_classifier("D", input_shape=(1, 16, 16))  # has dropout


def vector(*models: nn.Module) -> Tensor:
    values = [value for model in models for value in model.state_dict().values()]
    return torch.cat([value.flatten().double() for value in values])


def fit(vae: nn.Module, copies: list[Tensor], clean: Tensor, **settings: object) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "reconstruction": "bce",
        "kl_weight": 0.0,
        "seed": 3,
        "device": "cpu",
    }
    return train_defense_vae(vae, copies, clean, **{**defaults, **settings})


def fit_both(vae: nn.Module, classifier: nn.Module, pairs: tuple, **settings: object) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "reconstruction": "bce",
        "kl_weight": 0.0,
        "classifier_weight": 10.0,
        "evaluated": {},
        "seed": 3,
        "device": "cpu",
    }
    return train_end_to_end(vae, classifier, *pairs, **{**defaults, **settings})


# Network


@pytest.mark.parametrize(
    ("shape", "sides", "maps"),
    [
        ((1, 28, 28), [28, 16, 8, 4], [6, 6, 12, 24]),
        ((3, 32, 32), [32, 16, 8, 4, 2], [6, 6, 12, 24, 48]),
        ((3, 64, 64), [64, 32, 16, 8, 4, 2], [6, 6, 12, 24, 48, 96]),
    ],
)
def test_shapes_ranges_and_layers(
    shape: tuple[int, int, int], sides: list[int], maps: list[int]
) -> None:
    vae, images = VAE(10, 6, shape), torch.rand(3, *shape)
    seen: dict[type, list] = {nn.Conv2d: [], nn.ConvTranspose2d: []}
    for layer in vae.modules():
        if type(layer) in seen:
            layer.register_forward_hook(lambda m, _, out: seen[type(m)].append(out.shape[1:]))
    outputs = vae(images)
    assert outputs.shape == images.shape
    assert outputs.min() >= 0
    assert outputs.max() <= 1
    assert outputs.std() > 0
    expected = [(m, side, side) for m, side in zip(maps, sides, strict=True)]
    assert seen[nn.Conv2d] == expected
    assert seen[nn.ConvTranspose2d] == [*expected[-2::-1], shape]
    mean, log_variance = vae.encode(images)
    assert mean.shape == log_variance.shape == (3, 10)
    assert not torch.equal(mean, log_variance)
    torch.testing.assert_close(vae.eval()(images), vae.decode(vae.encode(images)[0]))


def test_parameters_are_those_of_table_6() -> None:
    convolutions = 25 * 64 + 16 * (64 * 64 + 64 * 128 + 128 * 256)
    batch_norms = 2 * (64 + 64 + 128 + 256) + 2 * (128 + 64 + 64)
    linear = 2 * (4096 * 128 + 128) + (128 * 4096 + 4096)
    # The decoder has the encoder's convolutions reversed, the last to one map.
    count = sum(weights.numel() for weights in VAE().parameters())
    assert count == 2 * convolutions + batch_norms + linear


def test_initial_weights_are_the_papers() -> None:
    vae = VAE()
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            tolerance = 4 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(0.02, rel=tolerance)
            assert layer.bias is None
    norms = [layer for layer in vae.modules() if isinstance(layer, nn.BatchNorm2d)]
    weights = torch.cat([layer.weight for layer in norms])
    assert weights.mean().item() == pytest.approx(1, abs=0.004)
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(not layer.bias.any() for layer in norms)


@pytest.mark.parametrize("side", [2, 27])
def test_sides_that_do_not_halve_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match="even and at least 4"):
        VAE(8, 4, (1, side, side))


# Losses


def test_losses_by_hand() -> None:
    outputs = torch.tensor([[0.5, 0.25], [0.9, 0.8]]).view(2, 1, 1, 2)
    clean = torch.tensor([[1.0, 0.0], [0.5, 1.0]]).view(2, 1, 1, 2)
    mean, log_variance = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [math.log(4)]])
    squared, kl = vae_losses(outputs, clean, mean, log_variance, "mse")
    assert squared.item() == pytest.approx((0.25 + 0.0625 + 0.16 + 0.04) / 2)
    # 1/2 (m^2 + s^2 - 1 - log s^2)
    assert kl.item() == pytest.approx((0.5 + 0.5 * (4 - 1 - math.log(4))) / 2)
    entropy, _ = vae_losses(outputs, clean, mean, log_variance, "bce")
    by_hand = [-math.log(0.5), -math.log(0.75), -0.5 * math.log(0.9 * 0.1), -math.log(0.8)]
    assert entropy.item() == pytest.approx(sum(by_hand) / 2)


def test_kl_agrees_with_torchs() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    _, kl = vae_losses(torch.zeros(5, 1), torch.zeros(5, 1), mean, log_variance, "mse")
    torch.testing.assert_close(kl, expected.sum(1).mean())


# Training


@pytest.mark.slow
@pytest.mark.parametrize("reconstruction", ["bce", "mse"])
def test_training_brings_attacked_images_near_the_clean_ones(
    pairs: tuple, reconstruction: str
) -> None:
    copies, clean, _ = pairs
    vae = new_vae()
    rows = fit(vae, copies, clean, epochs=20, reconstruction=reconstruction)
    assert [row["epoch"] for row in rows] == list(range(1, 21))
    assert all(row["loss"] == row["reconstruction"] for row in rows)
    assert rows[-1]["loss"] < 0.75 * rows[0]["loss"]
    assert not vae.training
    with torch.no_grad():
        error = functional.mse_loss(vae(copies[0]), clean)
    assert error < 0.7 * functional.mse_loss(copies[0], clean)
    # The mean image would leave the images' own variance.
    assert error < 0.6 * (clean - clean.mean(dim=0)).square().mean()


def test_kl_weight_counts(pairs: tuple) -> None:
    copies, clean, _ = pairs
    free, bound = (
        fit(new_vae(), copies, clean, epochs=8, kl_weight=weight)[-1] for weight in (0.0, 5.0)
    )
    assert bound["kl"] < 0.3 * free["kl"]
    assert bound["reconstruction"] > free["reconstruction"]
    assert bound["loss"] == pytest.approx(bound["reconstruction"] + 5 * bound["kl"], rel=1e-4)


class Codes(nn.Module):
    """Its code is the image's first pixel and its output the code; keeps what it saw."""

    latent = 1

    def __init__(self, log_variance: float) -> None:
        super().__init__()
        self.log_variance, self.shift = log_variance, nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []
        self.codes: list[Tensor] = []

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(images[:, 0, 0])
        mean = images[:, 0, 0] + self.shift
        return mean, torch.full_like(mean, self.log_variance)

    def decode(self, codes: Tensor) -> Tensor:
        self.codes.append(codes.detach())
        return codes[:, :, None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_pair_once_an_epoch_with_its_clean_image(dtype: torch.dtype) -> None:
    clean = torch.arange(10.0).view(10, 1, 1, 1) / 16
    copies = [(clean + 0.25 * k).to(dtype) for k in range(3)]  # exact in half precision too
    model = Codes(-100.0)
    (first, second) = fit(
        model, copies, clean, epochs=2, batch_size=8, learning_rate=1e-9, reconstruction="mse"
    )
    assert [len(batch) for batch in model.seen] == [8, 8, 8, 6] * 2
    assert all(batch.dtype == torch.float32 for batch in model.seen)
    epochs = torch.cat(model.seen[:4]).flatten(), torch.cat(model.seen[4:]).flatten()
    expected = torch.cat(copies).flatten().float().sort().values
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, expected)
    assert not torch.equal(*epochs)
    # Each output misses its own clean image by 0, 0.25 or 0.5.
    for row in (first, second):
        assert row["reconstruction"] == pytest.approx((0.25**2 + 0.5**2) / 3, rel=1e-5)


def test_codes_are_sampled_with_the_deviation_of_the_encoder() -> None:
    model, clean = Codes(2 * math.log(0.1)), torch.full((2000, 1, 1, 1), 0.5)
    fit(model, [clean], clean, batch_size=500, learning_rate=1e-9, reconstruction="mse")
    codes = torch.cat(model.codes)
    assert codes.mean().item() == pytest.approx(0.5, abs=0.01)
    assert codes.std().item() == pytest.approx(0.1, rel=0.06)


def test_wrong_pairs_are_refused(pairs: tuple) -> None:
    copies, clean, labels = pairs
    with pytest.raises(ValueError, match="at least one attacked copy"):
        fit(new_vae(), [], clean)
    with pytest.raises(ValueError, match=r"copy 1 is \(39, 1, 16, 16\)"):
        fit(new_vae(), [copies[0], copies[1][1:]], clean)
    with pytest.raises(ValueError, match=r"'l1'.*bce, mse"):
        fit(new_vae(), copies, clean, reconstruction="l1")
    with pytest.raises(ValueError, match="39 labels for 40"):
        fit_both(new_vae(), new_classifier(), (copies, clean, labels[1:]))


def trained_alone(pairs: tuple, seed: int) -> Tensor:
    vae = new_vae()
    fit(vae, *pairs[:2], seed=seed)
    return vector(vae)


def trained_jointly(pairs: tuple, seed: int) -> Tensor:
    vae, classifier = new_vae(), new_classifier()
    fit_both(vae, classifier, pairs, seed=seed)
    return vector(vae, classifier)


@pytest.mark.parametrize("train", [trained_alone, trained_jointly])
def test_weights_follow_from_the_seed_alone(
    pairs: tuple, train: Callable[[tuple, int], Tensor]
) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train(pairs, 0)
    assert torch.equal(torch.random.get_rng_state(), before), "global random state was used"
    torch.manual_seed(2)
    assert torch.equal(train(pairs, 0), first)
    assert not torch.equal(train(pairs, 1), first)


# End to end


def test_joint_step_is_adam_on_the_sum_of_the_losses() -> None:
    """One batch of one pair a class, no dropout, hardly any noise: the update by hand."""
    images, labels = torch.rand(10, 1, 16, 16), torch.arange(10)
    attacked = (images + 0.1).clamp(0, 1)

    def networks() -> tuple[VAE, nn.Module]:
        vae = new_vae().double()
        nn.init.constant_(vae.log_variance.bias, -60.0)
        with isolated_rng(7):
            return vae, build_classifier("E", input_shape=(1, 16, 16))

    vae, classifier = networks()
    vae.float()
    _, row = fit_both(
        vae,
        classifier,
        ([attacked], images, labels),
        kl_weight=0.1,
        classifier_weight=20.0,
        learning_rate=1e-3,
    )
    by_hand, its_classifier = networks()
    by_hand.float().train()
    mean, log_variance = by_hand.encode(attacked)
    outputs = by_hand.decode(mean)
    entropy = functional.binary_cross_entropy(outputs, images, reduction="sum") / 10
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 10
    cross_entropy = functional.cross_entropy(its_classifier(outputs), labels)
    loss = entropy + 0.1 * kl + 20 * cross_entropy
    loss.backward()
    weights = [*by_hand.parameters(), *its_classifier.parameters()]
    torch.optim.Adam(weights, 1e-3).step()
    figures = {"loss": loss, "reconstruction": entropy, "kl": kl, "cross_entropy": cross_entropy}
    for name, value in figures.items():
        assert row[name] == pytest.approx(value.item(), rel=1e-4), name
    # A first step of Adam is +-1e-3 a weight; where a gradient is rounding, it may have any sign.
    moved = (vector(vae, classifier) - vector(by_hand, its_classifier)).abs()
    assert (moved > 2e-5).double().mean() < 0.01


@pytest.mark.slow
def test_finetuning_raises_the_joint_accuracy(pairs: tuple) -> None:
    copies, clean, labels = pairs
    vae, classifier = new_vae(), new_classifier()
    fit(vae, copies, clean, epochs=4)
    train_classifier(
        classifier,
        clean,
        labels,
        epochs=20,
        batch_size=20,
        learning_rate=1e-3,
        adversarial_epsilon=None,
        seed=0,
        validation=None,
        device="cpu",
    )
    evaluated = {"attacked": (copies[0], labels), "clean": (clean, labels)}
    before = (
        predict(Defended(purifier_of(vae), classifier), copies[0], device="cpu").argmax(1) == labels
    )
    codes = vae.mean.weight.detach().clone()
    rows = fit_both(vae, classifier, pairs, epochs=10, evaluated=evaluated, learning_rate=3e-3)
    assert not torch.equal(vae.mean.weight, codes), "the VAE, frozen by its purifier, was not tuned"
    assert [row["epoch"] for row in rows] == list(range(11))
    assert rows[0]["loss"] is None
    assert rows[0]["accuracy_attacked"] == pytest.approx(before.double().mean().item())
    assert not vae.training
    assert not classifier.training
    after = predict(Defended(vae, classifier), copies[0], device="cpu").argmax(1) == labels
    assert rows[-1]["accuracy_attacked"] == pytest.approx(after.double().mean().item())
    assert rows[-1]["accuracy_attacked"] > rows[0]["accuracy_attacked"] + 0.2
    assert rows[-1]["accuracy_clean"] > rows[0]["accuracy_clean"]
    assert rows[-1]["cross_entropy"] < 0.5 * rows[1]["cross_entropy"]


def test_mixed_precision_is_the_classifiers_alone_and_leaves_float32_networks(pairs: tuple) -> None:
    rows, networks = [], []
    for precision in ("float32", "bfloat16", "bfloat16"):
        vae, classifier = new_vae(), new_classifier()
        rows.append(fit_both(vae, classifier, pairs, batch_size=200, precision=precision)[-1])
        assert all(weights.dtype == torch.float32 for weights in classifier.parameters())
        networks.append(vector(vae, classifier))
    full, mixed, _ = rows
    assert mixed["reconstruction"] == full["reconstruction"], "one batch, before any step"
    assert mixed["cross_entropy"] == pytest.approx(full["cross_entropy"], rel=0.03)
    assert mixed["cross_entropy"] != full["cross_entropy"], "nothing was computed in bfloat16"
    assert torch.equal(*networks[1:])
    with pytest.raises(ValueError, match="precision must be one of"):
        fit_both(new_vae(), new_classifier(), pairs, precision="half")


# Purifier


@pytest.fixture(scope="module")
def trained(pairs: tuple) -> VAE:
    vae = new_vae()
    fit(vae, *pairs[:2], epochs=5)
    return vae


def test_purifier_is_deterministic_and_scores_by_reconstruction_error(
    trained: VAE, pairs: tuple
) -> None:
    purifier, images = purifier_of(trained), pairs[0][0]
    purified = purifier(images)
    assert torch.equal(purified, purifier(images))
    assert torch.equal(purified, trained.decode(trained.encode(images)[0]))
    torch.testing.assert_close(purifier.score(images), reconstruction_error(purified, images))


def test_batch_norm_stays_in_evaluation_mode(trained: VAE, pairs: tuple) -> None:
    """`predict` puts a `Defended` back into training mode, and all that is in it."""
    purifier, images = purifier_of(trained), pairs[0][0]
    expected = purifier(images)
    model = Defended(purifier, new_classifier()).train()
    predict(model, images, device="cpu")
    assert model.training
    assert torch.equal(purifier(images), expected)
    assert torch.equal(purifier(images), expected), "the running statistics moved"


def test_an_images_result_does_not_depend_on_its_batch(trained: VAE, pairs: tuple) -> None:
    """What the published code's batch norm over the attacked test set would not pass."""
    purifier, images = purifier_of(trained), pairs[0][0]
    whole = purify_images(purifier, images, batch_size=COUNT, device=torch.device("cpu"))
    single = purify_images(purifier, images, batch_size=1, device=torch.device("cpu"))
    torch.testing.assert_close(single.images, whole.images, rtol=0, atol=1e-5)
    trained.train()
    try:
        with torch.no_grad():
            by_batch = trained(images[:5])
    finally:
        trained.eval()
    assert (by_batch - whole.images[:5]).abs().max() > 0.01


def test_gradient_through_purifier_and_classifier(trained: VAE, pairs: tuple) -> None:
    model = Defended(purifier_of(trained), new_classifier().eval()).double()
    images = pairs[0][0][:3].double().requires_grad_()
    labels = pairs[2][:3]
    direction = torch.randn(images.shape, dtype=torch.float64)

    def loss(inputs: Tensor) -> Tensor:
        return functional.cross_entropy(model(inputs), labels)

    (gradient,) = torch.autograd.grad(loss(images), images)
    with torch.no_grad():
        difference = (loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)) / 2e-6
    model.float()
    assert abs(difference) > 1e-4
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-5)


def test_white_box_attack_runs_through_the_purifier(trained: VAE, pairs: tuple) -> None:
    model = Defended(purifier_of(trained), new_classifier())
    result = run_attack(
        "fgsm",
        model,
        pairs[1],
        pairs[2],
        indices=range(COUNT),
        seed=0,
        batch_size=COUNT,
        settings={"epsilon": 0.1},
    )
    assert not result.zero_gradient.any()


def test_purifier_of_a_checkpoint(trained: VAE, pairs: tuple, tmp_path: Path) -> None:
    own = {"kind": "DefenseVAE", "settings": {"latent": 8, "width": 4}}
    path = tmp_path / "vae.safetensors"
    save_network(path, trained, own, (1, 16, 16))
    recipe = {
        "method": "defense_vae",
        "name": "defense_vae",
        "seed": 0,
        "settings": {},
        "networks": {"vae": own},
    }
    purifier = load_purifier(recipe, {"vae": str(path)})
    assert isinstance(purifier, DefenseVAE)
    assert not any(weights.requires_grad for weights in purifier.parameters())
    images = pairs[0][0]
    with torch.no_grad():
        torch.testing.assert_close(purifier(images), trained(images), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="expected the checkpoint of a Autoencoder"):
        load_network(path, "Autoencoder")
