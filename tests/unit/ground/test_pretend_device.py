"""The pretended GPU refuses what CUDA refuses, and lets right code have the CPU's values."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pretend_device import GPU, pretended_gpu
from torch import Tensor, nn
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
CUDA = torch.device("cuda")  # without a number, as `runtime.start` returns it


MISTAKES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda there, here: there + here,
    "in place": lambda there, here: here.add_(there),
    "result in a number's place": lambda there, here: torch.zeros(()).add_(there.sum()),
    "number of the device": lambda there, here: here * there.sum(),
    "product": lambda there, here: there @ here.T,
    "linear layer": lambda there, here: functional.linear(there, here),
    "layer that was not moved": lambda there, here: nn.Linear(3, 2)(there),
    "convolution": lambda there, here: functional.conv1d(there, here[:, None, :1].expand(2, 2, 1)),
    "side by side": lambda there, here: torch.cat([there, here]),
    "stacked numbers": lambda there, here: torch.stack([there.sum(), here.sum()]),
    "choice": lambda there, here: torch.where(here > 0, there, here),
    "index on the device": lambda there, here: here[torch.tensor([0], device=CUDA)],
    "mask on the device": lambda there, here: here[there > 0],
    "index of gather": lambda there, here: there.gather(1, here.long()),
    "values at an index": lambda there, here: there.index_put((torch.tensor([0]),), here[:1]),
    "labels": lambda there, here: functional.cross_entropy(there, here[:, 0].long()),
    "numbers of the CPU": lambda there, here: torch.rand(
        3, generator=torch.Generator(), device=CUDA
    ),
    "numbers of the CPU in place": lambda there, here: there.normal_(generator=torch.Generator()),
    "numbers of the device": lambda there, here: torch.rand(3, generator=torch.Generator(CUDA)),
}
"""What CUDA refuses, of a tensor of the device and one of the CPU, both (2, 3) and of ones."""


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_mistakes_are_refused(mistake: str) -> None:
    with pretended_gpu():
        there, here = torch.ones(2, 3, device=CUDA), torch.ones(2, 3)
        with pytest.raises(RuntimeError, match=r"same device|for generator|indices should be"):
            MISTAKES[mistake](there, here)


@pytest.mark.parametrize("asked", [Tensor.numpy, np.asarray, Tensor.pin_memory])
def test_memory_of_the_device_is_none_of_the_cpu(asked: Callable[[Tensor], object]) -> None:
    with pretended_gpu():
        with pytest.raises(TypeError, match="cuda:0 device type tensor"):
            asked(torch.ones(3).cuda())
        asked(torch.ones(3).cuda().cpu())


def test_mistakes_in_a_backward_pass_are_refused() -> None:
    class Wrong(torch.autograd.Function):
        """Its gradient is computed with a constant that stayed on the CPU."""

        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
            assert gradient.device == GPU and gradient.is_cuda
            return gradient * torch.full((3,), 2.0)

    with pretended_gpu():
        x = torch.ones(3, device=CUDA, requires_grad=True)
        with pytest.raises(RuntimeError, match="same device"):
            Wrong.apply(x).sum().backward()


def test_an_optimizer_with_state_on_the_cpu_is_refused() -> None:
    with pretended_gpu():
        layer = nn.Linear(3, 2).to(CUDA)
        optimizer = torch.optim.Adam(layer.parameters(), fused=True)
        layer(torch.ones(1, 3, device=CUDA)).sum().backward()
        optimizer.step()
        for moments in optimizer.state.values():
            assert moments["step"].device == GPU
            moments["step"] = moments["step"].cpu()
        with pytest.raises(RuntimeError, match="same device"):
            optimizer.step()


def test_an_optimizer_with_state_in_another_order_is_refused() -> None:
    with pretended_gpu():
        layer = nn.Conv2d(2, 3, 2).to(CUDA, memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(layer.parameters(), fused=True)
        layer(torch.ones(1, 2, 2, 2, device=CUDA)).sum().backward()
        optimizer.step()
        moments = optimizer.state[layer.weight]
        moments["exp_avg"] = moments["exp_avg"].contiguous()
        with pytest.raises(RuntimeError, match="same dtype, device, and layout"):
            optimizer.step()


def test_what_cuda_allows_has_the_cpus_values() -> None:
    here = torch.arange(6.0).view(2, 3)
    with pretended_gpu():
        there = here.to(CUDA)
        made = {
            "number of the CPU": there * torch.tensor(2.0),
            "index on the CPU": there[torch.tensor([1])],
            "view": there.T[1:],
            "like it": torch.ones_like(there),
            "new": there.new_full((2,), 3.0),
            "with a device": torch.arange(3, device=CUDA),
            "of another": torch.zeros(2).to(there),
            "one hot": functional.one_hot(torch.tensor([1, 2], device=CUDA), 3),
            "copied": torch.empty(2, 3, device=CUDA).copy_(here),
            "set": there.clone().index_put((torch.tensor([0]),), torch.tensor(9.0)),
        }
        made["moved layer"] = nn.Linear(3, 2).cuda().weight
        assert {name: x.device for name, x in made.items()} == dict.fromkeys(made, GPU)
        assert {x.device.type for x in (here, there.cpu(), torch.ones(3))} == {"cpu"}
        assert torch.zeros_like(there, device="cpu").device.type == "cpu"
        assert there.is_cuda and not here.is_cuda and there.get_device() == 0
        assert (there[1, 2].item(), bool((there > 4).any()), len(there)) == (5.0, True, 2)
        assert there.device != CUDA, "a device without a number is another one, as in torch"
        made["set"] = made["set"].cpu()
    torch.testing.assert_close(made["number of the CPU"], 2 * here)
    torch.testing.assert_close(made["set"], torch.tensor([[9.0, 9, 9], [3, 4, 5]]))


def test_moved_networks_train_as_on_the_cpu() -> None:
    """Gradients pass the border back to where they came from; copies stay where they are."""

    def trained(device: torch.device) -> tuple[list[Tensor], Tensor]:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5))
        network = copy.deepcopy(nn.Sequential(layers, nn.Linear(8, 2)).to(device))
        places = {x.device.type for x in (*network.parameters(), *network.buffers())}
        assert places == {device.type}
        optimizer = torch.optim.Adam(network.parameters(), 0.1, fused=True)
        images = torch.rand(4, 1, 4, 4, requires_grad=True)
        torch.manual_seed(1)  # the dropout's numbers are the device's own from here
        for _ in range(2):
            optimizer.zero_grad()
            network(images.to(device)).square().sum().backward()
            optimizer.step()
        assert images.grad.device.type == "cpu"
        return [p.detach().cpu() for p in network.parameters()], images.grad

    expected = trained(torch.device("cpu"))
    with pretended_gpu() as gpu:
        found = trained(CUDA)
    assert gpu.matrix_products["cuda"] > 0 and gpu.matrix_products["cpu"] == 0
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_device_has_random_numbers_of_its_own() -> None:
    with pretended_gpu():
        torch.manual_seed(3)
        here = torch.rand(2)
        assert torch.equal(torch.rand(2, device=CUDA).cpu(), here), "seeded with the CPU's"
        state = torch.cuda.get_rng_state()
        before = torch.get_rng_state()
        first = functional.dropout(torch.ones(9, device=CUDA))
        assert torch.equal(torch.get_rng_state(), before)
        torch.cuda.set_rng_state(state)
        assert torch.equal(functional.dropout(torch.ones(9, device=CUDA)), first)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_autocast_is_for_one_place(kind: str) -> None:
    with pretended_gpu(), torch.autocast(kind, torch.bfloat16):
        products = {x.device.type: x @ x for x in (torch.eye(2), torch.eye(2, device=CUDA))}
        assert {place: made.dtype for place, made in products.items()} == {
            place: torch.bfloat16 if place == kind else torch.float32 for place in products
        }


def test_a_graph_repeats_its_operations() -> None:
    with pretended_gpu():
        graph, x, factor = torch.cuda.CUDAGraph(), torch.ones(2, device=CUDA), 2
        graph.capture_begin()
        made = x * factor
        x.add_(made.sum())
        graph.capture_end()
        factor = 100  # a number keeps its value in the graph
        assert x.tolist() == [5, 5]
        graph.replay()
        assert (made.tolist(), x.tolist()) == ([10, 10], [25, 25])


WAITS: dict[str, Callable[[Tensor], object]] = {
    "value": lambda x: x.sum().item(),
    "choice": lambda x: bool(x.any()),
    "mask": lambda x: x[x > 0],
    "index on the CPU": lambda x: x[torch.tensor([0])],
    "copy": Tensor.cpu,
}


@pytest.mark.parametrize("name", WAITS)
def test_nothing_waits_in_a_capture(name: str) -> None:
    with pretended_gpu():
        graph, x = torch.cuda.CUDAGraph(), torch.ones(2, device=CUDA)
        torch.cuda.set_sync_debug_mode("error")
        with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
            WAITS[name](x)
        torch.cuda.set_sync_debug_mode(0)
        torch.cuda.empty_cache()
        graph.capture_begin()
        with pytest.raises(RuntimeError, match="not permitted when capturing"):
            WAITS[name](x)
        with pytest.raises(RuntimeError, match="previous error in capture"):
            graph.capture_end()
        with pytest.raises(RuntimeError, match="captures_underway"):
            torch.cuda.empty_cache()


def test_all_is_as_before_outside() -> None:
    before = (torch.cuda.is_available, torch.Generator, torch.autocast)
    with pretended_gpu():
        assert torch.cuda.is_available()
        there = torch.ones(2, device=CUDA)
    assert (torch.cuda.is_available, torch.Generator, torch.autocast) == before
    assert there.device.type == "cpu" and (there + torch.ones(2)).tolist() == [2, 2]
