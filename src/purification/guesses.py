"""What a wrong name was perhaps meant to be."""

import difflib
import re
from collections.abc import Iterable


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """A guess in brackets, or nothing. Capital letters and what stands between words play no part,
    so that "Defense-GAN" is a guess at "defense_gan", as is "Defense-GAN-Rec", which begins so."""
    # Of names that differ in that alone the first.
    known = {_plain(one): one for one in reversed([*allowed])}
    given = _plain(name)
    # Not a number's first digit.
    words = (one for one in known if len(one) > 2)
    begun = sorted((one for one in words if given.startswith(f"{one}_")), key=len)
    slips = difflib.get_close_matches(given, known, n=1, cutoff=_A_SLIP)
    close = [*slips, *begun[-1:], *difflib.get_close_matches(given, known, n=1)]
    return f" (did you mean '{known[close[0]]}'?)" if given and close else ""


_A_SLIP = 0.9


def _plain(name: object) -> str:
    return re.sub(r"[\W_]+", "_", str(name).casefold()).strip("_")
