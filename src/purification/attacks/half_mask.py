"""Images of which half is blocked: no attack on a model, but a corruption to be purified."""

from torch import Tensor, nn

from purification.attacks.contract import attack

HALVES = ("top", "bottom", "left", "right")


@attack(settings={"half": {"enum": HALVES}, "fill": "share"}, model_free=True)
def half_masked(
    model: nn.Module, images: Tensor, labels: Tensor, *, half: str, fill: float
) -> Tensor:
    """The images with one half of their pixels set to `fill`.

    AE-GAN (ICLR 2020 submission), sec. 4.5 and Table 3: "half of the image is blocked". It states
    neither which half nor with what, so both are settings. Of an odd number of rows or columns the
    middle one stays.

    Args:
        half: which one is blocked, one of `HALVES`.
        fill: value of the blocked pixels, in [0, 1]; 0 is black.
    """
    if half not in HALVES or not 0 <= fill <= 1:
        raise ValueError(
            f"half_masked: half must be one of {', '.join(HALVES)}, fill in [0, 1]; got {half!r}, "
            f"{fill}"
        )
    axis = 2 if half in ("top", "bottom") else 3
    size = images.shape[axis]
    start = 0 if half in ("top", "left") else size - size // 2
    masked = images.detach().clone()
    masked.narrow(axis, start, size // 2).fill_(fill)
    return masked
