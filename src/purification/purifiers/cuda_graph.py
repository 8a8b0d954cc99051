"""One step of an iteration as a CUDA graph: its kernels are launched as one, not one by one."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 2  # passes before the capture, in which libraries choose kernels and make workspaces
WORTH_CAPTURE = 20  # repetitions from which the capture, some five passes' time, pays


def repeatable(
    step: Callable[[], None], state: Sequence[Tensor], repetitions: int
) -> Callable[[], None]:
    """`step` to be called `repetitions` times, captured as a CUDA graph where that pays.

    `step` must do the same work each time and keep what it changes in `state`, in place. Where it
    cannot be captured (a generator that waits for the GPU, say) `step` itself is returned, with a
    warning; so it is on the CPU and for few repetitions. `state` is left as it was.
    """
    if not state[0].is_cuda or repetitions < WORTH_CAPTURE:
        return step
    before = [tensor.clone() for tensor in state]
    try:
        return _captured(step)
    except RuntimeError as error:  # also torch.OutOfMemoryError: what is cached cannot be freed
        torch.cuda.empty_cache()
        warnings.warn(f"no CUDA graph, each kernel is launched by itself: {error}", stacklevel=2)
        return step
    finally:
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(current)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            step()
        torch.cuda.synchronize()
        # Not `torch.cuda.graph`, which collects garbage first: longer than a whole search.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            step()
        finally:
            graph.capture_end()
    current.wait_stream(aside)
    return graph.replay
