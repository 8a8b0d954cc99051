"""The nearest point of a hyperplane within the box of images."""

import math

import torch
from torch import Tensor

_TINY = 1e-30


def to_plane(points: Tensor, values: Tensor, slopes: Tensor, order: float) -> Tensor:
    """The shortest steps (n, C, H, W), in the norm of this order (inf or 2), from points in [0, 1]
    to where a linear function is zero, within the box.

    values (n,) and slopes (n, C, H, W) are the function's at the points. Where the box has no such
    point, the step goes to its corner that is nearest to one.

    The step of pixel i is min(t s[i], room[i]): it goes at the speed s[i] (1, or |slope| for the l2
    norm) until it meets the box, and t is the time when the gains |slope| * step add up to |value|.
    That sum is piecewise linear in t, with a break where a pixel stops, so that sorting the breaks
    gives t. It is the projection that FAB takes (Croce and Hein 2020, "Minimally distorted
    adversarial examples with a fast adaptive boundary attack", sec. 2).
    """
    shape, points, slopes = points.shape, points.flatten(1), slopes.flatten(1)
    direction = -values.sign()[:, None] * slopes.sign()
    room = torch.where(direction > 0, 1 - points, points) * direction.abs()
    gain = slopes.abs()
    speed = gain if order == 2 else gain.sign()
    breaks, by_time = torch.where(speed > 0, room / speed, 0).sort(dim=1)
    stopped = (gain * room).gather(1, by_time).cumsum(dim=1)
    rates = (gain * speed).gather(1, by_time)
    # Summed from the end: a difference of sums would have nothing but rounding in the last ones.
    moving = rates.flip(1).cumsum(dim=1).flip(1)
    needed = values.abs()[:, None]
    # The gain when the k-th pixel stops: of those before it, and of it and those that go on.
    before = stopped - (gain * room).gather(1, by_time)
    stops = ((before + breaks * moving) < needed).sum(dim=1, keepdim=True)
    last = stops.clamp(max=breaks.shape[1] - 1)
    time = (needed - before.gather(1, last)) / moving.gather(1, last).clamp(min=_TINY)
    time = torch.where(stops < breaks.shape[1], time.clamp(min=0), math.inf)
    step = torch.where(speed > 0, torch.minimum(time * speed, room), 0)
    return (direction * step).view(shape)
