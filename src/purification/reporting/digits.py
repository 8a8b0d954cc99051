"""How many digits of a share are shown, by the number of images that it is of."""

import math

FEW = 100
"""Images up to which a share has two digits: one image more is 0.01 or more there."""


def digits_of(n: int) -> int:
    """Digits after the point of a share of n images: 2 up to 100 of them, else 3.

    Of 500 images 0.446 is 223 of them, which two digits would not tell from 222. Of 10,000 the
    fourth digit is a hundredth of the 95 % interval's width, which is 0.02 at an accuracy of 0.5.
    """
    return 2 if n <= FEW else 3


def share_text(share: float, n: int) -> str:
    """A share of n images, such as "0.58"; "" for none."""
    return "" if math.isnan(share) else f"{share:.{digits_of(n)}f}"


def interval_text(low: float, high: float, n: int) -> str:
    """An interval of a share in short form, such as "[.48, .67]"; "" for none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{_bound(low, n)}, {_bound(high, n)}]"


def _bound(value: float, n: int) -> str:
    """Without the 0 before the point; 0 and 1 alone."""
    text = f"{value:.{digits_of(n)}f}"
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    if not text.strip("0."):
        return "0"
    return sign + (text.rstrip("0").rstrip(".") if float(text) == 1 else text.removeprefix("0"))


def difference_text(difference: float, n: int) -> str:
    """A difference of two shares of the same n images, such as "+0.13"."""
    text = f"{difference:+.{digits_of(n)}f}"
    return text if text.strip("+-0.") else text.lstrip("+-")
