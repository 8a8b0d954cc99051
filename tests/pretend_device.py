"""A GPU that is not there: device mistakes are found on a machine without one.

Inside `pretended_gpu()` tensors are CPU tensors with CPU values, but each has a place, the CPU or
"cuda:0". The place is kept at the tensor's storage, so that views share it. Two modes of torch do
the work. The function mode sees what Python calls: it answers `x.device`, moves tensors, and keeps
a `device=` from torch, which would look for a driver. The dispatch mode sees every operation below
autograd, those of backward passes too: it refuses what mixes places as CUDA refuses it, and hands
the place on to the results. Autograd, modules and optimizers are torch's own.

Stubbed in `torch.cuda`, because they need a driver: whether there is a device, its name, its free
memory (`free`) and the memory that was needed (`peak`), waiting, streams and graphs. A pretended
graph records operations and repeats them with the same tensors, as a real one; while it records,
what waits for the device fails. The device has random numbers of its own; `torch.manual_seed` seeds
them as on CUDA. `torch.autocast("cuda")` is the CPU's autocast for tensors of the device.

What it cannot see: kernels (rounding, determinism, TF32, which operations CUDA lacks or runs in
another precision under autocast), memory, concurrent streams, more than one GPU, gradients that a
custom backward returns in the wrong place until something uses them, and what Python code inside
torch asks of a tensor's device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Self
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")

aten = torch.ops.aten
_INDEXED = {
    *("aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_"),
    *("aten::_unsafe_index_put", "aten::_index_put_impl_"),
}
_ANY_PLACES = {"aten::copy_", "aten::is_same_size"}
_TAKE_SCALARS = {"aten::fill_", "aten::fill", "aten::masked_fill", "aten::masked_fill_"}
_WAITS = {
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2", "aten::masked_select"),
    *("aten::unique_dim", "aten::equal"),
}
_MATRIX_PRODUCTS = {
    *("aten::mm", "aten::addmm", "aten::bmm", "aten::convolution", "aten::convolution_backward"),
}
_Generator, _autocast = torch.Generator, torch.autocast


def is_on_gpu(tensor: Tensor) -> bool:
    """Whether the tensor was put on the pretended device."""
    with torch._C.DisableTorchFunction():
        return getattr(tensor.untyped_storage(), "on_pretended_gpu", False)


@contextmanager
def pretended_gpu(free: int = 2**34) -> Iterator["PretendedGpu"]:
    """Inside, `torch.device("cuda")` works, whether there is a GPU or not; see the module.

    `free`: bytes of memory that `torch.cuda.mem_get_info` tells of.
    """
    gpu = PretendedGpu(free)
    stubs = {name: getattr(gpu, name) for name in PretendedGpu.STUBS}
    with ExitStack() as stack:
        stack.enter_context(
            patch.multiple(torch.cuda, **stubs, CUDAGraph=gpu.graph, Stream=_Stream)
        )
        # Optimizers and fork_rng would ask it for a stream; without one they take CUDA.
        stack.enter_context(patch("torch.accelerator.current_accelerator", lambda *_, **__: None))
        stack.enter_context(patch("torch.Generator", _PlacedGenerator))
        stack.enter_context(patch("torch.autocast", gpu.autocast))
        # Python code of a backward pass (custom functions) runs inside torch's own, where the
        # function mode rests.
        run = torch.autograd._engine_run_backward
        stack.enter_context(patch("torch.autograd._engine_run_backward", gpu.watched(run)))
        stack.enter_context(gpu.operations)
        stack.enter_context(gpu.functions)
        yield gpu


class PretendedGpu:
    """The state of the device, and what `torch.cuda` answers."""

    STUBS = (
        *("is_available", "is_initialized", "init", "device_count", "current_device"),
        *("get_device_name", "synchronize", "empty_cache", "mem_get_info", "memory_allocated"),
        *("max_memory_allocated", "reset_peak_memory_stats", "get_rng_state", "set_rng_state"),
        *("manual_seed", "manual_seed_all", "current_stream", "stream"),
        *("is_current_stream_capturing", "_is_in_bad_fork", "device"),
        *("get_sync_debug_mode", "set_sync_debug_mode"),
    )

    def __init__(self, free: int) -> None:
        self.free = free
        self.peak = 0
        """Bytes that `max_memory_allocated` tells of, over `memory_allocated`, which is 0."""
        self.matrix_products = {"cuda": 0, "cpu": 0}
        """How many ran where, convolutions among them: what forgets the device runs on the CPU."""
        self.random = _Generator().get_state()
        self.initialized = False
        self.sync_debug_mode = 0
        self.recorded: list[_Recorded] | None = None
        self.invalid = self.broken = False
        """Whether the capture that runs has failed; whether an older one did."""
        self.selected: list[torch.device] = []
        """What `torch.cuda.device` was given."""
        self.waited: list[tuple[_Stream, _Stream]] = []
        """(stream, the one it waited for), in order."""
        self.default_stream = _Stream(gpu=self)
        self.autocast_of: str | None = None
        self.operations = _Operations(self)
        self.functions = _Functions(self)

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.initialized

    def _is_in_bad_fork(self) -> bool:
        return False

    def init(self) -> None:
        self.initialized = True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_device_name(self, device: Any = None) -> str:
        return "pretended GPU"

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.selected.append(device)
        yield

    def synchronize(self, device: Any = None) -> None:
        self.refuse_in_capture("synchronize")

    def empty_cache(self) -> None:
        # As torch before pytorch #180395.
        if self.broken:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return self.free, self.free

    def memory_allocated(self, device: Any = None) -> int:
        return 0

    def max_memory_allocated(self, device: Any = None) -> int:
        return self.peak

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        pass

    def get_rng_state(self, device: Any = "cuda") -> Tensor:
        self.init()
        return self.random.clone()

    def set_rng_state(self, state: Tensor, device: Any = "cuda") -> None:
        self.init()
        self.random = state.clone()

    def manual_seed(self, seed: int) -> None:
        self.random = _Generator().manual_seed(seed).get_state()

    def manual_seed_all(self, seed: int) -> None:
        self.manual_seed(seed)

    def current_stream(self, device: Any = None) -> "_Stream":
        return self.default_stream

    def stream(self, stream: "_Stream") -> nullcontext[None]:
        stream.gpu = self
        return nullcontext()

    def is_current_stream_capturing(self) -> bool:
        return self.recorded is not None

    def graph(self) -> "_Graph":
        return _Graph(self)

    def get_sync_debug_mode(self) -> int:
        return self.sync_debug_mode

    def set_sync_debug_mode(self, mode: int | str) -> None:
        names = ("default", "warn", "error")
        self.sync_debug_mode = names.index(mode) if isinstance(mode, str) else mode

    def wait(self, what: str) -> None:
        """For what an operation did."""
        if self.sync_debug_mode == 2:
            raise RuntimeError(f"called a synchronizing CUDA operation ({what})")
        self.refuse_in_capture(what)

    def refuse_in_capture(self, what: str) -> None:
        if self.recorded is not None:
            self.invalid = True
            raise RuntimeError(f"CUDA error: operation not permitted when capturing ({what})")

    @contextmanager
    def autocast(self, device_type: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        """The CPU's autocast, which `_Functions` switches off for tensors of the other place."""
        before, self.autocast_of = self.autocast_of, device_type
        try:
            with _autocast("cpu", *args, **kwargs):
                yield
        finally:
            self.autocast_of = before

    def watched(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_watched(*args: Any, **kwargs: Any) -> Any:
            with self.functions:
                return run(*args, **kwargs)

        return run_watched

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """torch's global random numbers are the device's."""
        before = torch.get_rng_state()
        torch.set_rng_state(self.random)
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(before)


class _PlacedGenerator(_Generator):
    """A generator for one place."""

    def __new__(cls, device: Any = "cpu") -> Self:
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.place


class _Stream:
    def __init__(self, device: Any = None, *, gpu: PretendedGpu | None = None) -> None:
        self.gpu = gpu

    def wait_stream(self, other: "_Stream") -> None:
        gpu = self.gpu or other.gpu
        gpu.waited.append((self, other))

    def synchronize(self) -> None:
        self.gpu.refuse_in_capture("synchronize")


_Recorded = tuple[Callable[..., Any], Sequence[Any], dict[str, Any], Any]


class _Graph:
    def __init__(self, gpu: PretendedGpu) -> None:
        self.gpu = gpu
        self.steps: list[_Recorded] = []

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        self.gpu.recorded = self.steps

    def capture_end(self) -> None:
        self.gpu.recorded = None
        if self.gpu.invalid:
            self.gpu.invalid, self.gpu.broken = False, True
            raise RuntimeError("CUDA error: operation failed due to a previous error in capture")

    def replay(self) -> None:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for operation, args, kwargs, made in self.steps:
                given = {_storage(tensor) for tensor in _tensors((args, kwargs))}
                again = _tensors(operation(*args, **kwargs))
                for old, new in zip(_tensors(made), again, strict=True):
                    if _storage(old) not in given:
                        old.copy_(new)


class _Operations(TorchDispatchMode):
    """Checks the places of each operation's tensors, and places its results."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            given = _tensors((args, kwargs))
            on_gpu = _common_place(func, args, given) if given else self.gpu.functions.on_gpu
            if _name(func) in _MATRIX_PRODUCTS:
                self.gpu.matrix_products["cuda" if on_gpu else "cpu"] += 1
            if on_gpu and _name(func) == "aten::_fused_adam_":
                _check_layouts(*args[:4])
            if on_gpu and _waits(func, args):
                self.gpu.wait(_name(func))
            seeded = torch.Tag.nondeterministic_seeded in func.tags
            own = seeded and on_gpu and not _generators((args, kwargs))
            with self.gpu.own_random() if own else nullcontext():
                made = func(*args, **kwargs)
            if on_gpu:
                self.gpu.init()
                before = {_storage(tensor) for tensor in given}
                for tensor in _tensors(made):
                    if _storage(tensor) not in before:
                        _place(tensor, True)
                if self.gpu.recorded is not None:
                    self.gpu.recorded.append((func, args, kwargs, made))
        return made


class _Functions(TorchFunctionMode):
    """Answers for the tensors' devices, moves tensors, and takes `device=` from torch's functions.

    `on_gpu`: whether the function that runs makes its tensors on the device: it was told to, or is
    given one. What C++ makes on the way, without a tensor at hand, is placed by it.
    """

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu
        self.on_gpu = False
        tensor = torch.Tensor
        self.answers = {
            tensor.device.__get__: _device,
            tensor.is_cuda.__get__: is_on_gpu,
            tensor.is_cpu.__get__: lambda x: not is_on_gpu(x),
            tensor.get_device: lambda x: 0 if is_on_gpu(x) else -1,
            tensor.to: self._to,
            tensor.cpu: lambda x, **options: self._to(x, CPU, **options),
            tensor.cuda: lambda x, device=None, **options: self._to(x, device or GPU, **options),
            tensor.numpy: _on_the_cpu(tensor.numpy, "convert {} to numpy"),
            tensor.__array__: _on_the_cpu(tensor.__array__, "convert {} to numpy"),
            tensor.pin_memory: _on_the_cpu(lambda x, *_: x, "pin {}"),
            tensor.__deepcopy__: _deep_copy,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.answers:
            return self.answers[func](*args, **kwargs)
        if func in (torch.as_tensor, torch.asarray) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return self._to(func(*args, **kwargs), device)
        device = kwargs.pop("device", None)
        given = any(is_on_gpu(tensor) for tensor in _tensors((args, kwargs)))
        before, self.on_gpu = self.on_gpu, _is_gpu(device) if device is not None else given
        try:
            _check_generators((args, kwargs), self.on_gpu)
            with self._autocast(given):
                made = func(*args, **kwargs)
        finally:
            self.on_gpu = before
        if device is not None:
            for tensor in _tensors(made):
                _place(tensor, _is_gpu(device))
        return made

    def _autocast(self, on_gpu: bool) -> Any:
        own = self.gpu.autocast_of in (None, "cuda" if on_gpu else "cpu")
        return nullcontext() if own else _autocast("cpu", enabled=False)

    def _to(self, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        """`Tensor.to` in all its forms."""
        first, *rest = args or (None,)
        names = ("dtype", "non_blocking", "copy")
        if isinstance(first, torch.dtype):
            options["dtype"], names = first, names[1:]
        elif isinstance(first, Tensor):
            options |= {"device": _device(first), "dtype": first.dtype}
            names = names[1:]
        elif first is not None:
            options["device"] = first
        options |= dict(zip(names, rest, strict=False))
        device = options.pop("device", None)
        if device is not None and _is_gpu(device) != is_on_gpu(tensor):
            self.gpu.init()
            self.gpu.wait("a copy from or to the CPU")
            tensor = _Move.apply(tensor, _is_gpu(device))
            options.pop("copy", None)
        return tensor.to(**options) if options else tensor


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to_gpu: bool) -> Tensor:
        ctx.to_gpu = to_gpu
        moved = tensor.detach().clone()
        _place(moved, to_gpu)
        return moved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Move.apply(gradient, not ctx.to_gpu), None


def _common_place(func: Any, args: Sequence[Any], given: list[Tensor]) -> bool:
    """Whether the operation runs on the device; RuntimeError if its tensors are apart."""
    on_gpu = [is_on_gpu(tensor) for tensor in given]
    name = _name(func)
    if all(on_gpu) or not any(on_gpu):
        return on_gpu[0]
    if name in _ANY_PLACES:
        return on_gpu[0]
    if name in _INDEXED:
        place = is_on_gpu(args[0])
        if not place and any(is_on_gpu(index) for index in _tensors(args[1])):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        # Indices for a tensor of the device may be on the CPU, and so may a single value.
        values = [value for value in _tensors(args[2:]) if value.dim() or is_on_gpu(value)]
        if all(is_on_gpu(value) == place for value in values):
            return place
    elif torch.Tag.pointwise in func.tags or name in _TAKE_SCALARS:
        # A number on the CPU goes along, but does not receive a result of the device.
        apart = [tensor for tensor, placed in zip(given, on_gpu, strict=True) if not placed]
        if all(tensor.dim() == 0 for tensor in apart) and not any(_is(apart, _written(func, args))):
            return True
    raise RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
        f"cpu! ({name})"
    )


def _waits(func: Any, args: Sequence[Any]) -> bool:
    """Whether the operation needs a number from the device, or from the CPU, to go on."""
    if _name(func) not in _INDEXED:
        return _name(func) in _WAITS
    # Of a mask the places are looked for; an index on the CPU is copied.
    return any(x.dtype == torch.bool or not is_on_gpu(x) for x in _tensors(args[1]))


def _written(func: Any, args: Sequence[Any]) -> list[Tensor]:
    """The arguments that an operation in place changes."""
    return _tensors(args[:1]) if _name(func).endswith("_") else []


def _is(some: list[Tensor], others: list[Tensor]) -> Iterator[bool]:
    return (one is other for one in some for other in others)


def _check_generators(arguments: Any, on_gpu: bool) -> None:
    for generator in _generators(arguments):
        place = generator.device.type
        if (place == "cuda") != on_gpu:
            expected = "cuda" if on_gpu else "cpu"
            raise RuntimeError(
                f"Expected a '{expected}' device type for generator but found '{place}'"
            )


def _check_layouts(*lists: Sequence[Tensor]) -> None:
    """CUDA's fused Adam, unlike the CPU's, takes weights, gradients and moments in one order."""
    for one in zip(*lists, strict=True):
        if len({_order(tensor) for tensor in one}) > 1:
            raise RuntimeError("params, grads, exp_avgs must have same dtype, device, and layout")


def _order(tensor: Tensor) -> tuple[Any, ...]:
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.dtype, *(stride for side, stride in strides if side > 1)


def _on_the_cpu(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    def checked(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if is_on_gpu(tensor):
            raise TypeError(f"can't {what.format('cuda:0 device type tensor')}. Use Tensor.cpu()")
        return function(tensor, *args, **kwargs)

    return checked


def _deep_copy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    made = torch.Tensor.__deepcopy__(tensor, memo)
    _place(made, is_on_gpu(tensor))
    return made


def _device(tensor: Tensor) -> torch.device:
    return GPU if is_on_gpu(tensor) else CPU


def _is_gpu(device: Any) -> bool:
    return isinstance(device, int) or torch.device(device).type == "cuda"


def _place(tensor: Tensor, on_gpu: bool) -> None:
    tensor.untyped_storage().on_pretended_gpu = on_gpu


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _name(func: Any) -> str:
    return func._schema.name


def _tensors(tree: Any) -> list[Tensor]:
    return _leaves(tree, Tensor)


def _generators(tree: Any) -> list[torch.Generator]:
    return _leaves(tree, _Generator)


def _leaves(tree: Any, kind: type) -> list[Any]:
    found: list[Any] = []
    _gather((tree,), kind, found)
    return found


def _gather(branch: Iterable[Any], kind: type, found: list[Any]) -> None:
    # Every operation comes by here, more than once: what is no container is not called for.
    for leaf in branch:
        if isinstance(leaf, kind):
            found.append(leaf)
        elif isinstance(leaf, list | tuple):
            _gather(leaf, kind, found)
        elif isinstance(leaf, dict):
            _gather(leaf.values(), kind, found)
