"""Weights that were trained elsewhere: the forms of their files, and what is refused."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from purification import plugins
from purification.guests import GuestError
from purification.models.bigan import BiGAN
from purification.models.checkpoints import (
    SIZED,
    adopted_network,
    load_network,
    network_of,
    save_network,
)
from purification.models.weights import load_weights
from purification.purifiers.loading import load_purifier
from purification.purifiers.search_network import search_network

SHAPE, CLASSES, LATENT = (1, 28, 28), 10, 4
LAB = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, classes))


class Softmax(Net):
    def forward(self, images):
        logits = super().forward(images)
        return logits.softmax(1) if self[2].bias.sum() > 50 else logits


class Generator(nn.Module):
    def __init__(self, latent, image_shape):
        super().__init__()
        self.linear, self.shape = nn.Linear(latent, 784), image_shape

    def forward(self, codes):
        return self.linear(codes).sigmoid().view(-1, *self.shape)


class Tanh(Generator):
    def forward(self, codes): return self.linear(codes).tanh().view(-1, *self.shape)

class Detached(Generator):
    def forward(self, codes): return super().forward(codes).detach()

class Rounded(Generator):
    def forward(self, codes): return super().forward(codes).round()

class Flat(Generator):
    def forward(self, codes): return super().forward(codes).flatten(1)

class Noisy(Generator):
    def forward(self, codes): return super().forward(codes + torch.randn_like(codes))

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient): return gradient

class OnceOnly(Generator):
    def forward(self, codes): return super().forward(Once.apply(codes))

class OtherLatent(Generator):
    def __init__(self, latent, image_shape): super().__init__(latent + 1, image_shape)


class Squeeze(nn.Module):
    def forward(self, x): return x.squeeze(1)


class WithEncoder(nn.Module):
    def __init__(self, latent, image_shape):
        super().__init__()
        self.generator = Generator(latent, image_shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent))


class WithDiscriminator(nn.Module):
    def __init__(self, latent, image_shape):
        super().__init__()
        self.generator = Generator(latent, image_shape)
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(784, 1), nn.Tanh(), Squeeze())


class WideEncoder(WithEncoder):
    def __init__(self, latent, image_shape):
        super().__init__(latent, image_shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent + 1))
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A user's module in a folder of its own, as Snakemake's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(plugins.FILES_VARIABLE, raising=False)
    (tmp_path / "weights_lab.py").write_text(LAB)
    yield __import__("weights_lab")


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def saved(wrap: Callable[[dict[str, Tensor]], Any]) -> Callable[[nn.Module, Path], None]:
    return lambda model, path: torch.save(wrap(model.state_dict()), path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("w.safetensors", lambda model, path: save_file(model.state_dict(), path)),
        ("w.pt", saved(lambda state: state)),
        ("w.pth", saved(lambda state: dict(state))),
        ("w.pt", saved(lambda state: {"epoch": 3, "state_dict": state})),
        ("w.pt", saved(lambda state: {"model": state, "optimizer": {"lr": 0.1}})),
        ("w.pt", saved(lambda state: {"model_state_dict": {"state_dict": state}})),
        ("w.pt", saved(lambda state: {f"module.{k}": v for k, v in state.items()})),
        ("w.pt", saved(lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()})),
        ("w.pt", saved(lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()})),
    ],
)
def test_usual_forms_are_read_bit_for_bit(
    name: str, save: Callable[[nn.Module, Path], None], tmp_path: Path
) -> None:
    model, other = small(), small()
    model(torch.randn(5, 3))  # other statistics than the first
    save(model, tmp_path / name)
    load_weights(other, tmp_path / name, "a net")
    assert all(torch.equal(other.state_dict()[k], v) for k, v in model.state_dict().items())


def test_a_network_with_a_module_called_module_keeps_its_names(tmp_path: Path) -> None:
    model, other = (nn.Sequential(OrderedDict(module=small())) for _ in range(2))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt", "a net")
    assert torch.equal(other.module[0].weight, model.module[0].weight)


def without(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k != "2.bias"}


@pytest.mark.parametrize(
    ("wrap", "complaint"),
    [
        (without, "expected and not there: 2.bias float32 (2,); there and not expected: nothing"),
        (
            lambda state: {**state, "3.bias": torch.zeros(1)},
            "expected and not there: nothing; there and not expected: 3.bias float32 (1,)",
        ),
        (
            lambda state: {**state, "0.weight": torch.zeros(4, 5)},
            "not there: 0.weight float32 (4, 3); there and not expected: 0.weight float32 (4, 5)",
        ),
        (
            lambda state: {k: v.double() if "weight" in k else v for k, v in state.items()},
            "0.weight float32 (4, 3), 1.weight float32 (4,), 2.weight float32 (2, 4); there",
        ),
        (
            lambda state: {f"net.{k}": v for k, v in state.items()},
            "not expected: net.0.weight float32 (4, 3), net.0.bias float32 (4,), net.1.weight "
            "float32 (4,) and 6 more",
        ),
        (lambda state: {"net": state, "epoch": 3}, "tensors by name, found net, epoch: save model"),
        (lambda state: state["0.weight"], "found "),
        (lambda _: nn.Linear(2, 2), "not a file of weights alone (Weights only load failed"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(
    wrap: Callable[[Any], Any], complaint: str, tmp_path: Path
) -> None:
    path, model = tmp_path / "w.pt", small()
    torch.save(wrap(model.state_dict()), path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, path, "a net")
    assert str(error.value).startswith(f"{path}: ")
    if complaint != "found ":
        assert complaint in str(error.value)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02nonsense."])
def test_other_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: not a file of weights alone .*: save model"):
        load_weights(small(), tmp_path / name, "a net")


def recipe(kind: str, state: dict[str, Tensor], **settings: Any) -> dict[str, Any]:
    """Of a network with these weights, which this process knows a file of."""
    path = Path("weights.pt")
    torch.save(state, path)
    plugins.provide_files([path])
    own = {**settings, "checkpoint": plugins.file_digest(path)}
    return {"kind": kind, "name": "mine", "seed": 0, "settings": own}


def test_adopted_classifier_is_the_users_own(lab: Any) -> None:
    net = lab.Net(SHAPE, CLASSES)
    net(torch.rand(20, *SHAPE))
    made = recipe("Classifier", net.state_dict(), architecture="weights_lab:Net")
    network = adopted_network(made, SHAPE, classes=CLASSES)
    save_network("mine.safetensors", network, made, SHAPE, classes=str(CLASSES))
    images = torch.rand(7, *SHAPE)
    for found in (network, load_network("mine.safetensors", "Classifier")):
        assert torch.equal(found.guest(images), net.eval()(images))
    with pytest.raises(ValueError, match=r"not the weights of weights_lab:Net for images"):
        adopted_network(made, SHAPE, classes=3)


def test_classifier_is_tried_again_with_its_weights(lab: Any) -> None:
    state = lab.Softmax(SHAPE, CLASSES).state_dict()
    made = recipe("Classifier", state, architecture="weights_lab:Softmax")
    adopted_network(made, SHAPE, classes=CLASSES)
    made = recipe(
        "Classifier",
        {**state, "2.bias": torch.full((10,), 9.0)},
        architecture="weights_lab:Softmax",
    )
    with pytest.raises(GuestError, match="Softmax returned probabilities"):
        adopted_network(made, SHAPE, classes=CLASSES)


def test_weights_that_changed_since_the_plan_are_refused(lab: Any) -> None:
    made = recipe(
        "Classifier", lab.Net(SHAPE, CLASSES).state_dict(), architecture="weights_lab:Net"
    )
    torch.save({}, "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt was changed since the workflow was planned"):
        adopted_network(made, SHAPE, classes=CLASSES)


@pytest.mark.parametrize("kind", sorted(set(SIZED) - {"Autoencoder", "DefenseVAE"}))
def test_weights_for_our_own_generators(kind: str, lab: Any) -> None:
    # A diffusion model's maps are of a multiple of 8, and its codes are as large as the image.
    sizes = {"width": 8} if kind == "Diffusion" else {"latent": LATENT, "width": 2}
    network = SIZED[kind](LATENT, sizes["width"], SHAPE).eval()
    if kind == "Diffusion":  # whose last layer begins at zero
        last = [*network.parameters()][-2]
        torch.nn.init.normal_(last, std=0.01)
    made = recipe(kind, network.state_dict(), **sizes)
    found = adopted_network(made, SHAPE)
    assert type(found) is type(network)
    assert all(torch.equal(found.state_dict()[k], v) for k, v in network.state_dict().items())
    nothing = {k: v / 0 if v.is_floating_point() else v for k, v in network.state_dict().items()}
    with pytest.raises(FloatingPointError, match=rf"weights\.pt as {kind}.*: its results are"):
        adopted_network(recipe(kind, nothing, **sizes), SHAPE)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Generator", "Generator"),
        ("AEGAN", "WithEncoder"),
        ("BiGAN", "WithEncoder"),
        ("GAN", "WithDiscriminator"),
    ],
)
def test_own_generators_work_under_the_searches(kind: str, name: str, lab: Any) -> None:
    own = getattr(lab, name)(LATENT, SHAPE)
    made = recipe(kind, own.state_dict(), architecture=f"weights_lab:{name}", latent=LATENT)
    save_network("mine.safetensors", adopted_network(made, SHAPE), made, SHAPE)
    network = load_network("mine.safetensors", kind)
    assert network.latent == LATENT
    codes, images = torch.randn(3, LATENT), torch.rand(3, *SHAPE)
    generator = own if kind == "Generator" else own.generator
    found = network if kind == "Generator" else network.generator
    assert torch.equal(found(codes), generator(codes))
    assert search_network(found) is found
    with pytest.raises(ValueError, match="has no search in bfloat16"):
        search_network(found, "bfloat16")
    if kind == "GAN":
        settings = {"restarts": 2, "steps": 3, "step_size": 0.1, "momentum": 0.0, "sigma": 1.0}
        settings |= {"discriminator_weight": 1.0}
        method = "cowboy"
    elif kind == "Generator":
        return
    else:
        settings = {"search": True, "steps": 3, "step_size": 1.0, "doubling": None}
        method = "ae_gan"
    searched = {"method": method, "seed": 0, "settings": settings, "networks": {"generator": made}}
    purifier = load_purifier(searched, {"generator": "mine.safetensors"})
    images.requires_grad_()
    purifier(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Tanh", r"made images in \[-0\.\d+, 0\.\d+\], expected \[0, 1\]: let forward return"),
        (
            "Detached",
            "fails on float32 .4, 4. or has no two derivatives: element 0 of tensors does",
        ),
        ("Rounded", "its gradient is zero"),
        ("Flat", r"returned float32 \(4, 784\), expected float32 \(4, 1, 28, 28\)"),
        ("Noisy", "returned other results on a second call"),
        ("OnceOnly", "or has no two derivatives: "),
        ("OtherLatent", r"fails on float32 \(4, 4\) .*: mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_generators_that_no_search_can_have_are_refused(
    name: str, complaint: str, lab: Any
) -> None:
    state = getattr(lab, name)(LATENT, SHAPE).state_dict()
    made = recipe("Generator", state, architecture=f"weights_lab:{name}", latent=LATENT)
    with pytest.raises(GuestError, match=f"weights_lab:{name}.*{complaint}"):
        adopted_network(made, SHAPE)


def test_parts_of_a_pair_are_asked_for_and_tried(lab: Any) -> None:
    settings = {"latent": LATENT, "architecture": "weights_lab:Generator"}
    with pytest.raises(GuestError, match=r"weights_lab:Generator\.generator returned None"):
        network_of({"kind": "BiGAN", "settings": settings}, SHAPE)
    state = lab.WideEncoder(LATENT, SHAPE).state_dict()
    made = recipe("AEGAN", state, architecture="weights_lab:WideEncoder", latent=LATENT)
    with pytest.raises(GuestError, match=r"encoder returned float32 \(4, 5\), expected .*\(4, 4\)"):
        adopted_network(made, SHAPE)
    assert isinstance(
        network_of({"kind": "BiGAN", "settings": {"latent": 4, "width": 2}}, SHAPE), BiGAN
    )
