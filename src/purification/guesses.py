"""What a wrong name was perhaps meant to be."""

import difflib
import re
from collections.abc import Iterable


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """A guess in brackets, or nothing. Capital letters and what stands between words play no part,
    so that "Defense-GAN" is a guess at "defense_gan"."""
    # Of names that differ in that alone the first.
    known = {_plain(one): one for one in reversed([*allowed])}
    close = difflib.get_close_matches(_plain(name), known, n=1)
    return f" (did you mean '{known[close[0]]}'?)" if close else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
