"""What attacks climb: losses of the logits that grow as an image leaves its label.

Each takes logits (N, K) and int64 labels (N,), a targeted one also the targets (N,), and returns
(N,), row i of row i alone. K is at least 2.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

# Below this a scale of the DLR is taken for it: logits that are all equal have none.
_SMALLEST_SCALE = 1e-12


def log_odds_against(logits: Tensor, labels: Tensor) -> Tensor:
    """log((1 - p) / p) of each label's probability p: logits (N, K), int64 labels (N,) -> (N,).

    Cross-entropy is log(1 + exp(log-odds)), so their gradients are parallel: that of cross-entropy
    is (1 - p) times this one. In float32 a confident classifier's p rounds to 1, and then
    cross-entropy has no gradient, or one whose signs are noise, where this still has the true one.
    """
    return _others(logits, labels).logsumexp(dim=1) - _of(logits, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit minus the label's: above 0 where another class wins.

    Carlini and Wagner 2017, sec. V, f_6 without its bound, for an attack without a target.
    """
    return _others(logits, labels).max(dim=1).values - _of(logits, labels)


def log_error(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 - p) of each label's probability p; of logits (N, D, K) of D draws of a randomised
    model the mean over the draws.

    Its gradient is p times that of the log-odds: a draw that errs pulls no further, so that a step
    goes to the draws that are right, or nearly so. The log-odds or the margin of the mean of a
    look's logits can be gained where nothing is left to gain, in draws that err already.
    """
    if logits.dim() == 2:
        return functional.logsigmoid(log_odds_against(logits, labels))
    draws = logits.shape[1]
    each = log_error(logits.flatten(0, 1), labels.repeat_interleave(draws))
    return each.view(-1, draws).mean(dim=1)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """`margin` over z_1 - z_3, the largest logit minus the third largest: the difference of logits
    ratio.

    Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", eq. 6. It is the same for logits that are shifted or scaled. Of two
    classes there is no third logit, and a scale of z_1 - z_2 would make it constant: there it is
    the margin itself.
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    top, classes = logits.topk(3, dim=1)
    # In a tie of second and third the other class must not be the third: it would have no slope.
    other = torch.where(classes[:, 0] == labels, top[:, 1], top[:, 0])
    return (other - _of(logits, labels)) / (top[:, 0] - top[:, 2]).clamp(min=_SMALLEST_SCALE)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the label's. Above 0 the label is left, be it for another class."""
    return _of(logits, targets) - _of(logits, labels)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """`targeted_margin` over z_1 - (z_3 + z_4) / 2, of the logits in falling order.

    Croce and Hein 2020, eq. 7. Of three classes there is no fourth logit, and with z_1 - z_3 as the
    scale it would be constant towards the least likely class; of two there is no third. For fewer
    than four classes it is the targeted margin itself.
    """
    towards = targeted_margin(logits, labels, targets)
    if logits.shape[1] < 4:
        return towards
    top = logits.topk(4, dim=1).values
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return towards / scale.clamp(min=_SMALLEST_SCALE)


def likeliest_others(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` classes beside the label that have the largest logits, the likeliest first, int64
    (N, count); all, if there are fewer."""
    return _others(logits, labels).topk(min(count, logits.shape[1] - 1), dim=1).indices


def left(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the predicted class is another than the label, bool (N,)."""
    return logits.argmax(dim=1) != labels


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with the label's at minus infinity."""
    is_label = functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(is_label, -math.inf)
