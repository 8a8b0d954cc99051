"""The attack on a generator's codes: brute force, and every defence that has a generator."""

import math
from collections.abc import Callable

import pytest
import torch
from test_square import Levels, Plane
from torch import Tensor, nn
from torch.nn import functional

from purification import randomness
from purification.attacks import latent, latent_l2, random_signs, run_attack
from purification.datasets import load
from purification.guests import GuestError, GuestPurifier
from purification.models.ae_gan import AEGAN
from purification.models.gan import GAN
from purification.models.wgan import Generator
from purification.purifiers import Defended, Purifier, StraightThrough
from purification.purifiers.ae_gan import EncoderSearch
from purification.purifiers.cowboy import Cowboy
from purification.purifiers.defense_gan import DefenseGAN, draw_starts
from purification.purifiers.defense_vae import DefenseVAE
from purification.purifiers.descent import SearchSettings

torch.set_num_threads(1)

BOTH = pytest.mark.parametrize(("attack", "epsilon"), [(latent, 0.1), (latent_l2, 1.5)])


# A linear generator


class Plain(Purifier):
    """The nearest image of 0.5 + A z, A (pixels, 2) with orthonormal columns."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def latent_codes(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ self.matrix

    def generate(self, codes: Tensor) -> Tensor:
        return (0.5 + codes @ self.matrix.T).view(-1, 1, 3, 3)

    def forward(self, images: Tensor) -> Tensor:
        codes = (images.flatten(1) - 0.5) @ self.matrix
        return (0.5 + codes @ self.matrix.T).view(images.shape)


@pytest.fixture(scope="module")
def toy() -> tuple[Defended, Tensor, Tensor]:
    """In float64; images near the generator's plane, all of label 0."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.linalg.qr(torch.randn(9, 2, generator=generator).double()).Q
    weight = 3 * torch.randn(9, generator=generator).double()
    images = 0.5 + (0.2 * torch.randn(6, 2, generator=generator).double() @ matrix.T)
    images += 0.02 * torch.randn(6, 9, generator=generator).double()
    images = images.view(-1, 1, 3, 3)
    assert 0.1 < images.min() < images.max() < 0.9
    offset = 0.6 - (images.flatten(1) @ weight).min().item()
    model = Defended(Plain(matrix), Plane(weight, offset)).double()
    labels = torch.zeros(6, dtype=torch.int64)
    assert (model(images).argmax(1) == labels).all()
    return model, images, labels


def nearest(points: Tensor, image: Tensor, attack: object, epsilon: float) -> Tensor:
    if attack is latent:
        return points.clamp(image - epsilon, image + epsilon)
    change = points - image
    length = change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(length <= epsilon, points, image + epsilon * change / length)


@pytest.mark.parametrize(("attack", "epsilon"), [(latent, 0.05), (latent_l2, 0.1)])
@pytest.mark.parametrize("confidence", [0.0, 2.0])
def test_it_comes_to_the_least_objective_of_all_codes(
    toy: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float, confidence: float
) -> None:
    """Against a grid of codes; what is returned is the nearest point for the best code seen."""
    model, images, labels = toy
    purifier = Recording(model.purifier.matrix)
    settings = {"epsilon": epsilon, "confidence": confidence, "restarts": 0}
    found = attack(
        *(Defended(purifier, model.classifier), images, labels),
        **settings | {"iterations": 600, "learning_rate": 0.004, "seed": 0, "indices": range(6)},
    )
    side = torch.linspace(-1.2, 1.2, 401, dtype=torch.float64)
    grid = purifier.generate(torch.cartesian_prod(side, side))
    seen = torch.stack(purifier.seen[:-2])  # the last are the grid and the code that was chosen

    def objectives(generated: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        margin = (model.classifier(generated)[:, 0] + confidence).clamp(min=0)
        points = nearest(generated, image, attack, epsilon)
        return margin + (generated - points).flatten(1).norm(dim=1), points

    for row, image in enumerate(images):
        values, points = objectives(seen[:, row], image)
        start, least = values[0], objectives(grid, image)[0].min()
        assert start > least + 0.1
        assert values.min() < least + 0.02 * (start - least) + 0.01
        torch.testing.assert_close(found[row], points[values.argmin()])


class Recording(Plain):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix)
        self.seen: list[Tensor] = []

    def generate(self, codes: Tensor) -> Tensor:
        made = super().generate(codes)
        self.seen.append(made.detach())
        return made


def test_in_l2_an_image_within_the_ball_is_returned_as_it_is_generated(
    toy: tuple[Defended, Tensor, Tensor],
) -> None:
    model, images, labels = toy
    own = {"epsilon": 2.0, "confidence": 0.1, "iterations": 200, "learning_rate": 0.01}
    found = latent_l2(model, images, labels, **own, seed=0, indices=range(6))
    assert (model(found).argmax(1) != labels).all()
    torch.testing.assert_close(model.purifier(found), found)


@BOTH
def test_a_misclassified_image_or_one_that_cannot_be_made_worse_stays(
    toy: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    model, images, _ = toy
    constant = Defended(model.purifier, Plane(torch.zeros(9).double(), 1.0).double())
    own = {"epsilon": epsilon, "iterations": 5, "seed": 0, "indices": range(6)}
    assert torch.equal(attack(constant, images, torch.zeros(6).long(), **own), images)


# A generator of the digits


@pytest.fixture(scope="module")
def digits() -> tuple[Defended, Tensor, Tensor]:
    """Defense-GAN with a generator and a classifier that were trained for some seconds."""
    splits = load("digits", data_root="", validation=147, test=500)
    images, labels = map(torch.from_numpy, splits["train"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(1, 8, 5, 4, 2)
        classifier = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 10))
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 16))
        generator = Generator(16, 8, (1, 28, 28))
        networks = (classifier, encoder, generator)
        parameters = [p for network in networks for p in network.parameters()]
        optimizer = torch.optim.Adam(parameters, 3e-3)
        for _ in range(250):
            chosen = torch.randint(len(images), (50,))
            given, wanted = images[chosen], labels[chosen]
            loss = functional.cross_entropy(classifier(given), wanted)
            loss += 100 * (generator(encoder(given)) - given).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    starts = draw_starts(2, 16, randomness.generator(0, "starts"))
    purifier = DefenseGAN(generator, starts, SearchSettings(steps=20))
    test, test_labels = map(torch.from_numpy, splits["test"])
    return Defended(purifier, classifier).eval(), test[:20], test_labels[:20]


def margins(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = model(images).detach()
    label = logits.gather(1, labels[:, None])[:, 0]
    return label - logits.scatter(1, labels[:, None], -math.inf).amax(1)


@BOTH
def test_it_lowers_the_margin_behind_a_trained_generator(
    digits: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    model, images, labels = digits
    common = {"epsilon": epsilon, "seed": 0, "indices": range(20)}
    found = attack(*digits, iterations=30, restarts=0, **common)
    before, after = (margins(model, those, labels) for those in (images, found))
    assert (after <= before).all()
    assert (after < before).float().mean() > 0.8
    assert (after > 0).sum() < (before > 0).sum() - 3
    if attack is latent:
        noise = margins(model, random_signs(model, images, labels, **common), labels)
        assert after.mean() < noise.mean() - 1
    more = margins(model, attack(*digits, iterations=30, restarts=2, **common), labels)
    assert (more <= after + 1e-4).all()


@BOTH
def test_it_does_not_depend_on_the_batch(
    toy: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    model, images, labels = toy

    def attacked(rows: list[int], batch_size: int, seed: int = 3) -> Tensor:
        given = (images[rows], labels[rows])
        settings = {"epsilon": epsilon / 10, "iterations": 40, "restarts": 3}
        common = {"indices": rows, "seed": seed, "batch_size": batch_size, "settings": settings}
        return run_attack(attack.__name__, model, *given, **common).images

    whole = attacked([*range(6)], 6)
    assert torch.equal(attacked([*range(6)], 6), whole)
    rows = [5, 0, 4, 2]
    torch.testing.assert_close(attacked(rows, 3), whole[rows], rtol=0, atol=1e-9)


@BOTH
def test_random_starts_come_from_the_seed_and_only_help(
    toy: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    """One step is not enough from the image's own code; a random one may be nearer to the end."""
    model, images, labels = toy

    def attacked(seed: int, restarts: int) -> Tensor:
        own = {"epsilon": epsilon, "iterations": 1, "restarts": restarts, "seed": seed}
        return attack(model, images, labels, **own, indices=range(6))

    none, one, other = attacked(3, 0), attacked(3, 5), attacked(4, 5)
    assert torch.equal(none, attacked(4, 0))
    assert not torch.equal(one, other)
    own, further = (margins(model, those, labels) for those in (none, one))
    assert (further <= own).all() and (further < own - 0.01).any()


def test_it_needs_no_gradient_of_the_defence(digits: tuple[Defended, Tensor, Tensor]) -> None:
    """BPDA's is the same attack; and where the defence rounds its input, PGD is refused."""
    model, images, labels = digits
    rounding = Rounding(model.purifier)
    own = {"epsilon": 0.1, "iterations": 5, "restarts": 0}
    common = {"indices": range(3), "seed": 0, "batch_size": 3}
    given = (images[:3], labels[:3])
    steps = {"epsilon": 0.1, "step_size": 0.05, "iterations": 2}
    masked = Defended(rounding, model.classifier)
    with pytest.raises(RuntimeError, match="cannot move"):
        run_attack("pgd", masked, *given, settings=steps, **common)
    assert run_attack("latent", masked, *given, settings=own, **common).zero_gradient.all()
    straight = Defended(StraightThrough(model.purifier), model.classifier)
    results = [
        run_attack("latent", m, *given, settings=own, **common).images for m in (model, straight)
    ]
    assert torch.equal(*results)


class Rounding(Purifier):
    def __init__(self, purifier: Purifier) -> None:
        super().__init__()
        self.inner = purifier

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((255 * images).round() / 255)

    def latent_codes(self, images: Tensor) -> Tensor:
        return self.inner.latent_codes(images)

    def generate(self, codes: Tensor) -> Tensor:
        return self.inner.generate(codes)


# Every defence with a generator


def encoder_search(**settings: object) -> EncoderSearch:
    network = AEGAN(6, 4, (1, 28, 28)).eval()
    return EncoderSearch(network.encoder, network.generator, **settings)  # type: ignore[arg-type]


def cowboy() -> Cowboy:
    network = GAN(6, 4)
    starts = torch.randn(2, 6)
    settings = SearchSettings(steps=4, step_size=0.01)
    return Cowboy(network.generator, network.discriminator, starts, settings, sigma=2.0)


SEARCH = SearchSettings(steps=4, step_size=1.0, momentum=0.0)
VAE = {"latent": 6, "width": 4}
PURIFIERS = {
    "Defense-GAN": lambda: DefenseGAN(Generator(6, 4), torch.randn(3, 6), SearchSettings(steps=4)),
    "Cowboy": cowboy,
    "AE-GAN": lambda: encoder_search(settings=None),
    "AE-GAN+s": lambda: encoder_search(settings=SEARCH),
    "AE-GAN+s, all searched": lambda: encoder_search(settings=SEARCH, threshold=0.0),
    "AE-GAN+s, none searched": lambda: encoder_search(settings=SEARCH, threshold=9.0),
    "Defense-VAE": lambda: DefenseVAE(VAE, (1, 28, 28)).eval(),
}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PURIFIERS)
def test_codes_and_generator_of_each_defence(name: str, images: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        purifier = PURIFIERS[name]()
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
        for weight in purifier.parameters():
            if weight.dim() > 1:  # of an untrained generator all images are nearly the same
                nn.init.orthogonal_(weight, 2.0)
    with torch.no_grad():
        codes = purifier.latent_codes(images)
        assert codes.shape == (3, 6)
        torch.testing.assert_close(purifier.generate(codes), purifier(images), rtol=1e-4, atol=1e-5)
    labels = classifier(purifier(images)).argmax(1)
    own = {"epsilon": 0.2, "iterations": 10, "restarts": 0, "seed": 0, "indices": range(3)}
    for shown in (purifier, StraightThrough(purifier), GuestPurifier(purifier, "lab:Mine")):
        model = Defended(shown, classifier)
        found = latent(model, images, labels, **own)
        before, after = (margins(model, those, labels) for those in (images, found))
        assert (after <= before).all() and (after < before).any()
        assert 0 < (found - images).abs().max() <= 0.2 + 1e-6


def test_codes_by_the_inference_rule_are_searched_where_the_images_are(images: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        once = encoder_search(settings=None)
    scores = once.score(images).detach()
    rule = EncoderSearch(once.encoder, once.generator, SEARCH, scores.median().item())
    with torch.no_grad():
        codes, start = rule.latent_codes(images), once.latent_codes(images)
        searched = rule.reconstruct(images).searched
        assert searched.sum() == 1
        torch.testing.assert_close(rule.generate(codes), rule(images), rtol=1e-4, atol=1e-5)
    assert torch.equal((codes != start).any(dim=1), searched)


# Refusals


class Blur(Purifier):
    def forward(self, images: Tensor) -> Tensor:
        return functional.avg_pool2d(images, 3, 1, 1)


@BOTH
def test_what_has_no_generator_is_named(attack: Callable, epsilon: float, images: Tensor) -> None:
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    labels, own = torch.zeros(3, dtype=torch.int64), {"epsilon": epsilon, "seed": 0}
    refused = {
        "Blur has none": Defended(Blur(), classifier),
        "lab:Mine has none": Defended(GuestPurifier(Blur(), "lab:Mine"), classifier),
        r"expected a Defended\(purifier, classifier\), got Levels": Levels(classifier),
    }
    refused["Blur has none: a purifier"] = Defended(StraightThrough(Blur()), classifier)
    for message, model in refused.items():
        with pytest.raises(ValueError, match=f"'{attack.__name__}' searches the codes.*{message}"):
            attack(model, images, labels, **own, indices=range(3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_codes": lambda images: images}, r"latent_codes returned .*expected.*\(6, 3\)"),
        ({"latent_codes": lambda images: (images, images)}, "latent_codes returned a tuple"),
        ({"generate": lambda codes: codes}, r"generate returned .*expected float64 \(6, 1, 3, 3\)"),
    ],
)
def test_a_wrong_generator_is_named(
    toy: tuple[Defended, Tensor, Tensor], wrong: dict, message: str
) -> None:
    model, images, labels = toy
    purifier = Plain(model.purifier.matrix)
    vars(purifier).update(wrong)
    with pytest.raises(GuestError, match=f"Plain: {message}"):
        latent(
            *(Defended(purifier, model.classifier), images, labels),
            **{"epsilon": 0.1, "iterations": 2, "seed": 0, "indices": range(6)},
        )


def test_numbers_that_are_none_are_refused(toy: tuple[Defended, Tensor, Tensor]) -> None:
    model, images, labels = toy

    class Breaks(Plain):
        """NaN for the third code."""

        def generate(self, codes: Tensor) -> Tensor:
            third = torch.arange(len(codes)) == 2
            return torch.where(third.view(-1, 1, 1, 1), math.nan, super().generate(codes))

    broken = Defended(Breaks(model.purifier.matrix), model.classifier)
    with pytest.raises(FloatingPointError, match=r"latent.*Breaks.*for 1 of 6.*image 12"):
        run_attack(
            *("latent", broken, images, labels),
            **{"indices": range(10, 16), "seed": 0, "batch_size": 6},
            settings={"epsilon": 0.1, "iterations": 2},
        )


@pytest.mark.parametrize(
    "wrong",
    [
        *({"epsilon": -0.1}, {"iterations": 0}, {"learning_rate": 0.0}),
        *({"restarts": -1}, {"confidence": -1.0}),
    ],
)
@BOTH
def test_wrong_settings_are_refused(
    toy: tuple[Defended, Tensor, Tensor], attack: Callable, epsilon: float, wrong: dict
) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{attack.__name__}: .*{name}"):
        attack(*toy, **{"epsilon": epsilon} | wrong, seed=0, indices=range(6))
    with pytest.raises(ValueError, match="2 indices for 6 images"):
        attack(*toy, epsilon=epsilon, seed=0, indices=range(2))
