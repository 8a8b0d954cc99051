"""Cheaper versions of purifiers: what an attacker differentiates instead of the whole defence."""

import inspect
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from purification.evaluation.threat_models import surrogate_model
from purification.facts import built_in
from purification.guests import GuestError, GuestPurifier
from purification.purifiers import (
    Cowboy,
    Defended,
    DefenseGAN,
    EncoderSearch,
    MagNet,
    Purifier,
    SearchSettings,
    latent_search,
)
from purification.purifiers.defense_gan import WinnerSearch, draw_codes
from purification.purifiers.loading import cheaper_version, purifier_class
from purification.randomness import draw_seeds

SHAPE, LATENT, COUNT = (1, 4, 4), 3, 6
SEARCH = SearchSettings(6, 3.0, 0.7, prune=((2, 4), (4, 1)))


class SmallGenerator(nn.Module):
    """A smooth generator, whose second derivatives are not zero."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(8, LATENT, generator=random))
        self.second = nn.Parameter(torch.randn(16, 8, generator=random))

    def forward(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(torch.tanh(latents @ self.first.T) @ self.second.T).view(-1, *SHAPE)


GENERATOR = SmallGenerator()
STARTS = draw_codes(5, LATENT, torch.Generator().manual_seed(1))
DISCRIMINATOR = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
ENCODER = nn.Sequential(nn.Flatten(), nn.Linear(16, LATENT), nn.Tanh())
nn.init.constant_(DISCRIMINATOR[1].weight, 0.1)
nn.init.constant_(ENCODER[1].weight, 0.05)
nn.init.zeros_(DISCRIMINATOR[1].bias)
nn.init.zeros_(ENCODER[1].bias)


def images_of(seed: int = 2) -> Tensor:
    return torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(seed))


def of_method(method: str, settings: SearchSettings = SEARCH, starts: Tensor = STARTS) -> Any:
    if method == "cowboy":
        return Cowboy(GENERATOR, DISCRIMINATOR, starts, settings, sigma=1.0)
    return DefenseGAN(GENERATOR, starts, settings)


def gradient(purify: Any, images: Tensor) -> Tensor:
    given = images.clone().requires_grad_()
    slope = torch.linspace(-1, 1, 16).view(SHAPE)
    (made,) = torch.autograd.grad((purify(given) * slope).sum(), given)
    return made


@pytest.mark.parametrize("method", ["defense_gan", "cowboy"])
@pytest.mark.parametrize(
    ("wanted", "steps", "restarts", "prune"),
    [
        ({"steps": 3}, 3, 5, ((2, 4),)),
        ({"restarts": 2}, 6, 2, ((4, 1),)),
        ({"steps": 1, "restarts": 1}, 1, 1, ()),
        ({"steps": 9, "restarts": 9}, 6, 5, ((2, 4), (4, 1))),
    ],
)
def test_a_search_cut_short_is_that_search(
    method: str, wanted: dict[str, int], steps: int, restarts: int, prune: Any
) -> None:
    """Its images and its gradient are those of the shorter search, written out anew."""
    whole, images = of_method(method), images_of()
    made = cheaper_version(whole, wanted, images)
    settings = replace(SEARCH, steps=steps, prune=prune)
    expected = of_method(method, settings, STARTS[:restarts])
    assert torch.equal(made(images), expected(images))
    assert torch.equal(gradient(made, images), gradient(expected, images))
    if max(steps / 6, restarts / 5) < 1 or steps < 6:
        assert not torch.allclose(gradient(made, images), gradient(whole, images))
    # The purifier itself is as it was.
    assert whole.settings.steps == 6
    assert torch.equal(whole.starts, STARTS)


@pytest.mark.parametrize("method", ["defense_gan", "cowboy"])
def test_the_winner_is_that_of_the_image_as_it_is_given(method: str) -> None:
    # Small steps, of which rounding makes no others in another batch.
    # (Cowboy's objective is a sum, not a mean, over pixels.)
    size = {"cowboy": 0.01, "defense_gan": 0.3}[method]
    settings = replace(SEARCH, prune=(), step_size=size)
    whole, images = of_method(method, settings), images_of()
    found = latent_search(GENERATOR, images, STARTS, whole.settings)
    assert len({*found.restart.tolist()}) > 1
    made = cheaper_version(whole, {"winner": True}, images)
    assert isinstance(made, WinnerSearch)
    # As it is given the image is purified as by the whole; near it from the same start.
    torch.testing.assert_close(made(images), whole(images), atol=1e-4, rtol=0)
    near = (images + 0.05 * (2 * images_of(5) - 1)).clamp(0, 1)
    for rows in (torch.arange(COUNT), torch.tensor([4, 1])):
        starts = STARTS[found.restart[rows], None]

        def alone(given: Tensor, starts: Tensor = starts) -> Tensor:
            return latent_search(GENERATOR, given, starts, whole.settings).reconstructions

        torch.testing.assert_close(made(near[rows]), alone(near[rows]), atol=1e-4, rtol=0)
        expected = gradient(alone, near[rows])
        torch.testing.assert_close(gradient(made, near[rows]), expected, atol=1e-4, rtol=1e-3)
    # Cut short, too, from the winner of all steps.
    short = cheaper_version(whole, {"winner": True, "steps": 2, "restarts": 3}, images)
    first = latent_search(GENERATOR, images, STARTS[:3], whole.settings).restart
    settings = replace(whole.settings, steps=2)
    expected = latent_search(GENERATOR, images, STARTS[first, None], settings).reconstructions
    torch.testing.assert_close(short(images), expected, atol=1e-4, rtol=0)


def test_redrawn_starts_have_no_known_winner_and_fewer_of_them_are_the_first() -> None:
    whole = DefenseGAN(GENERATOR, STARTS, replace(SEARCH, prune=()), redrawn=1.0)
    with pytest.raises(ValueError, match="another winner in each draw"):
        cheaper_version(whole, {"winner": True}, images_of())
    made, seeds = cheaper_version(whole, {"restarts": 2}, images_of()), draw_seeds(0, range(6), 0)
    assert made.randomised
    assert torch.equal(made.starts_of(seeds), whole.starts_of(seeds)[:, :2])


@pytest.mark.parametrize("method", ["defense_gan", "cowboy"])
def test_the_gradient_of_a_searchs_end_is_that_of_further_steps_from_there(method: str) -> None:
    whole, images = of_method(method), images_of()
    made = cheaper_version(whole, {"end_steps": 2}, images)
    given = images.clone().requires_grad_()
    assert torch.equal(made(given), whole(images))
    assert torch.equal(made(images), whole(images))
    codes = whole.search(images).latents
    size, objective = whole.settings.step_size, whole.settings.objective

    def written_out(given: Tensor) -> Tensor:
        moved = codes
        for _ in range(2):
            moved = moved.detach().requires_grad_() if moved is codes else moved
            error = objective(GENERATOR(moved), given).sum()
            (slope,) = torch.autograd.grad(error, moved, create_graph=True)
            moved = moved - size * slope
        return GENERATOR(moved)

    expected = gradient(written_out, images)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient(made, images), expected, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(gradient(whole, images), expected, atol=1e-4)
    short = cheaper_version(whole, {"end_steps": 2, "steps": 3, "restarts": 2}, images)
    own = of_method(method, replace(SEARCH, steps=3, prune=()), STARTS[:2])
    assert torch.equal(short(given), own(images))


def test_a_searchs_end_is_that_of_the_starts_of_its_seeds() -> None:
    whole = DefenseGAN(GENERATOR, STARTS, replace(SEARCH, prune=()), redrawn=1.0)
    made, seeds = cheaper_version(whole, {"end_steps": 1}, images_of()), draw_seeds(0, range(6), 0)
    assert made.randomised
    given = images_of().requires_grad_()
    assert torch.equal(made(given, seeds), whole(images_of(), seeds))
    assert gradient(lambda images: made(images, seeds), images_of()).abs().min() > 0


def test_a_searchs_end_has_no_known_winner() -> None:
    whole = of_method("defense_gan", replace(SEARCH, prune=()))
    with pytest.raises(ValueError, match="either winner or end_steps"):
        cheaper_version(whole, {"winner": True, "end_steps": 2}, images_of())


def test_a_search_from_an_encoder_without_its_search_is_one_pass() -> None:
    images = images_of()
    settings = SearchSettings(6, 3.0, 0.0, doubling=2)
    one_pass = EncoderSearch(ENCODER, GENERATOR, None, indicator="l1")
    for threshold in (None, one_pass.score(images).median().item()):
        whole = EncoderSearch(ENCODER, GENERATOR, settings, threshold, "l1")
        once = cheaper_version(whole, {"steps": 0}, images)

        def passed(given: Tensor) -> Tensor:
            return GENERATOR(ENCODER(given))

        assert torch.equal(once(images), passed(images))
        assert torch.equal(gradient(once, images), gradient(passed, images))
        short = cheaper_version(whole, {"steps": 3}, images)
        own = EncoderSearch(ENCODER, GENERATOR, replace(settings, steps=3), threshold, "l1")
        assert torch.equal(gradient(short, images), gradient(own, images))
        for other in (once, short):
            assert not torch.allclose(gradient(other, images), gradient(whole, images), atol=1e-5)
    searched = whole.reconstruct(images).searched
    assert 0 < int(searched.sum()) < COUNT
    assert torch.equal(short.reconstruct(images).searched, searched)


class Flipped(Purifier):
    """Turns images round; its cheaper version leaves them."""

    CHEAPER: ClassVar[dict[str, str]] = {"flips": "boolean = False: whether it turns them, too"}

    def __init__(self, flips: bool = True, made: Any = None) -> None:
        super().__init__()
        self.flips, self.made, self.told = flips, made, [""]

    def forward(self, images: Tensor) -> Tensor:
        return images.flip(-1) if self.flips else images * 1.0

    def cheaper(self, images: Tensor, *, flips: bool = False) -> Any:
        self.told.append(str(tuple(images.shape)))
        return self.made or Flipped(flips)


def test_a_users_own_stands_behind_the_wall() -> None:
    images, network = images_of(), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    own = Flipped()
    guest = GuestPurifier(own, "my_lab:Flipped")
    model = surrogate_model(guest, network, {"flips": False}, images)
    assert isinstance(model, Defended)
    assert isinstance(model.purifier, GuestPurifier)
    assert model.purifier.place == "my_lab:Flipped.cheaper"
    assert torch.equal(model(images), network(images))
    assert own.told[1:] == ["(6, 1, 4, 4)"]
    with pytest.raises(GuestError, match=r"my_lab:Flipped\.cheaper returned a str, expected"):
        cheaper_version(GuestPurifier(Flipped(made="x"), "my_lab:Flipped"), {}, images)
    for purifier in (GuestPurifier(nn.Identity(), "my_lab:Same"), nn.Identity()):
        with pytest.raises(ValueError, match="has no cheaper version: no method `cheaper`"):
            cheaper_version(purifier, {}, images)
    assert not hasattr(MagNet, "cheaper")


def test_what_classes_state_is_what_their_method_takes() -> None:
    stated = {n: f for n, f in built_in("purifiers").items() if f.cheaper and "method" in f.stated}
    assert {*stated} >= {"DefenseGAN", "Cowboy", "EncoderSearch"}
    for facts in stated.values():
        taken = inspect.signature(purifier_class(facts.stated["method"]).cheaper).parameters
        if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            continue
        named = {name for name, one in taken.items() if one.kind is one.KEYWORD_ONLY}
        assert named == {*facts.cheaper}
        for name, form in facts.cheaper.items():
            default = taken[name].default
            assert form.get("default", taken[name].empty) == default


def test_every_search_works_in_inference_mode_and_refuses_transforms_by_name() -> None:
    """Also where a step's gradient is autograd's, as with a generator or an objective of one's own;
    the same numbers to the bit."""
    images, network = images_of(), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    descent, plain = SearchSettings(4, 1.0, 0.0), replace(SEARCH, prune=())
    threshold = EncoderSearch(ENCODER, GENERATOR, None).score(images).median().item()
    known = of_method("defense_gan", plain)
    searches = {
        "cowboy": of_method("cowboy"),
        "defense_gan": of_method("defense_gan"),
        "lbfgs": of_method("defense_gan", SearchSettings(4, 1.0, 0.0, optimizer="lbfgs")),
        "redrawn": DefenseGAN(GENERATOR, STARTS, plain, redrawn=1.0),
        "searched": EncoderSearch(ENCODER, GENERATOR, descent),
        "by the rule": EncoderSearch(ENCODER, GENERATOR, descent, threshold),
        "known winner": cheaper_version(known, {"winner": True}, images),
        "end": cheaper_version(known, {"end_steps": 2}, images),
    }
    for name, purifier in searches.items():
        model = Defended(purifier, network)
        seeds = (draw_seeds(0, range(COUNT), 0),) if name == "redrawn" else ()
        with torch.inference_mode():
            found = model(images * 1.0, *seeds)
        assert torch.equal(found, model(images, *seeds).detach()), name

        def score(image: Tensor, model: nn.Module = model) -> Tensor:
            return model(image[None])[0, 0]

        with pytest.raises(NotImplementedError, match=r"torch\.func"):
            torch.func.vmap(torch.func.grad(score))(images)
