"""One step of an iteration as a CUDA graph: its kernels are launched as one, not one by one."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

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
    # Streams and graphs are the current device's, and a graph of another one would be empty.
    with torch.cuda.device(state[0].device):
        try:
            return _captured(step)
        except RuntimeError as error:  # also torch.OutOfMemoryError: what is cached cannot be freed
            torch.cuda.empty_cache()
            warnings.warn(
                f"no CUDA graph, each kernel is launched by itself: {error}", stacklevel=2
            )
            return step
        finally:
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(current)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(aside):
            step()  # in which libraries choose kernels and make workspaces
            with _no_waiting():
                step()
            torch.cuda.synchronize()
            # Not `torch.cuda.graph`, which collects garbage first: longer than a whole search.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                step()
            finally:
                graph.capture_end()
    finally:
        # After a failure too: the state that is then put back must not be changed any more.
        current.wait_stream(aside)
    return graph.replay


@contextmanager
def _no_waiting() -> Iterator[None]:
    """What waits for the GPU raises RuntimeError.

    It would in a capture, too; but after a capture that failed older versions of torch cannot free
    memory any more, and `empty_cache` ends in an assertion (pytorch #180395).
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
