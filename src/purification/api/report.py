"""What `evaluate` returns: numbers, a table, a picture."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from purification.api.budgets import PREFIX
from purification.evaluation.accuracy import share
from purification.evaluation.cascade import CLEAN, LEFT, Found
from purification.evaluation.checks import CHECK_COLUMNS, DOUBLED, check_columns
from purification.evaluation.flags import FLAGS, MEANINGS
from purification.evaluation.protocols import ONE_SHOT
from purification.storage import ImageSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_COLUMNS = (
    *("attack", "threat_model", "asked", "broken", "outside", "left", "accuracy"),
    *("passes", "seconds", "refused"),
)
"""Columns of `Report.frame`."""


@dataclass(frozen=True)
class Report:
    """What is left of a model under a cascade of attacks. In a notebook it shows itself.

    Attributes:
        n: images that were attacked.
        clean_accuracy: the share of them that is right without attack.
        accuracy: that which is right under every attack, the worst case; of a randomised model the
            mean over fresh draws.
        ci_low, ci_high: its 95 % interval (Wilson).
        spread: of a randomised model, the sample standard deviation over the draws; else None.
        flags: signs that the attacks, not the model, explain the accuracy; `flag_meanings` says
            what each means.
        checks: what the checks measured, by the names of `evaluation.checks.CHECK_COLUMNS`.
        frame: a row for the images as they are and for each attack, in their order, at the end the
            strongest one by gradients with twice the iterations ("doubled"): `asked`, images that
            it attacked, those right under all before it; `broken`, those that it broke within
            the ball; `outside`, those on whose image the model errs outside of it; `left` and
            `accuracy`, images that are right after it, and their share; `passes` of an image
            through the model; `seconds`; and why it was `refused`, or None. Of a randomised model
            these are by the draws by which its attacker selects: the attacker's opinion.
        protocols: of a randomised model, a row for each protocol by which it was judged
            (`evaluation.protocols`); empty else.
        images: float32 (N, C, H, W) in [0, 1], the strongest image found of each; the image itself
            where nothing is stronger.
        broken: bool (N,), whether the model errs on it: without attack, or within the ball. Of a
            randomised model on any of the draws by which its attacker selects.
        norm, epsilon, budget, seed: as they were given.
    """

    n: int
    clean_accuracy: float
    accuracy: float
    ci_low: float
    ci_high: float
    spread: float | None
    flags: tuple[str, ...]
    checks: Mapping[str, Any]
    frame: pd.DataFrame = field(repr=False)
    protocols: pd.DataFrame = field(repr=False)
    images: Tensor = field(repr=False)
    broken: Tensor = field(repr=False)
    norm: str
    epsilon: float
    budget: str
    seed: int

    @property
    def flag_meanings(self) -> dict[str, str]:
        """The flags raised, each in words."""
        return {flag: MEANINGS[flag] for flag in self.flags}

    def markdown(self) -> str:
        """The report as GitHub's Markdown: the worst case, flags, and a table of the attacks."""
        from purification.reporting.markdown_tables import grid

        spread = "" if self.spread is None else f" ± {self.spread:.3f}"
        parts = [
            f"**Worst-case accuracy {self.accuracy:.3f}**{spread} "
            f"[{self.ci_low:.3f}, {self.ci_high:.3f}] within {self._ball}; "
            f"{self.clean_accuracy:.3f} without attack ({self.n} images, budget {self.budget})."
        ]
        if len(self.protocols):
            header = ["judged", "draws", "clean", "under attack", "95 % interval"]
            rows = [_judged(row) for row in self.protocols.to_dict("records")]
            parts += [
                "The model draws random numbers, so that it is judged on fresh draws, which no "
                "attack saw. The second table is the attacker's opinion on its own draws.",
                grid(header, rows),
            ]
        rows = [_line(row) for row in self.frame.to_dict("records")]
        header = ["attack", "attacker", "attacked", "broken", "left", "accuracy", "refused"]
        parts.append(grid(header, rows, filled=True))
        lines = [f"- `{flag}`: {text}" for flag, text in self.flag_meanings.items()]
        parts.append("\n".join(["Flags:", *lines]) if lines else "Flags: none.")
        return "\n\n".join(parts) + "\n"

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """A bar for the images as they are and for each attack: the accuracy that is left after it.

        Draws on `axes`, or on new ones of a pyplot figure, and returns them.
        """
        import matplotlib.pyplot as plt  # with the user's own style and backend

        frame = self.frame[self.frame["refused"].isna()]
        names = [_called(row) for row in frame.to_dict("records")]
        if axes is None:
            size = (6.0, 1.2 + 0.3 * (len(names) + 1))
            _, axes = plt.subplots(figsize=size, layout="constrained")
        shares = [*frame["accuracy"], self.accuracy]
        places = range(len(shares))
        colours = ["#9a9a9a", *["#4c78a8"] * (len(names) - 1), "#b2182b"]
        axes.barh(places, shares, color=colours, height=0.7)
        error = [[self.accuracy - self.ci_low], [self.ci_high - self.accuracy]]
        axes.errorbar(self.accuracy, len(names), xerr=error, color="black", capsize=3)
        for place, value in zip(places, shares, strict=True):
            last = place == len(names)
            axes.text((self.ci_high if last else value) + 0.015, place, f"{value:.2f}", va="center")
        axes.set_yticks(places, [*names, "worst case"])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.set_xlabel(f"accuracy left, {self.n} images, {self._ball}")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if self.flags:
            axes.set_title(f"flags: {', '.join(self.flags)}", fontsize="small", loc="left")
        return axes

    def __str__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return self.markdown()

    @property
    def _ball(self) -> str:
        norm = {"linf": "l-inf", "l2": "l2"}[self.norm]
        return f"{norm} {self.epsilon:.4g}"


def report_of(
    found: Found, judged: ImageSet | None, *, norm: str, epsilon: float, budget: str, seed: int
) -> Report:
    """The report of a cascade with checks. `judged`: of a randomised model, what `judged_afresh`
    made of the images."""
    costs = [cost for cost in found.costs if cost.get("kind") in (None, DOUBLED)]
    frame = pd.DataFrame(costs)
    doubled = frame["kind"].eq(DOUBLED) if "kind" in frame else pd.Series(False, frame.index)
    frame["attack"] = frame["attack"].str.removeprefix(PREFIX)
    frame.loc[doubled, "attack"] += " (doubled)"
    frame = frame[[*FRAME_COLUMNS]]
    n = len(found.found_by)
    if judged is None:
        worst: dict[str, Any] = {**share((found.found_by == LEFT).numpy()), "spread": None}
        clean = int((found.found_by != CLEAN).sum()) / n
        protocols, broken = pd.DataFrame(), found.found_by != LEFT
    else:
        rows = json.loads(judged.attributes["protocols"])
        protocols, worst = pd.DataFrame(rows), rows[0]
        assert worst["protocol"] == ONE_SHOT
        clean, broken = worst["clean_accuracy"], found.errors > 0
    checks = check_columns(found.checked, n)
    flags = tuple(flag for flag in checks[FLAGS].split(";") if flag)
    return Report(
        n=n,
        clean_accuracy=clean,
        **{name: worst[name] for name in ("accuracy", "ci_low", "ci_high", "spread")},
        flags=flags,
        checks={name: checks[name] for name in CHECK_COLUMNS if name != FLAGS},
        frame=frame,
        protocols=protocols,
        images=found.images,
        broken=broken,
        norm=norm,
        epsilon=epsilon,
        budget=budget,
        seed=seed,
    )


_BOXES = {"white_box": "white box", "gray_box": "gray box", "white_box_bpda": "BPDA", "clean": ""}


def _called(row: Mapping[Any, Any]) -> str:
    box = _BOXES[row["threat_model"]]
    return f"{row['attack']}, {box}" if box else str(row["attack"])


def _line(row: Mapping[Any, Any]) -> list[str]:
    refused = row["refused"] if isinstance(row["refused"], str) else ""
    numbers = [str(row[name]) for name in ("asked", "broken", "left")]
    return [row["attack"], _BOXES[row["threat_model"]], *numbers, f"{row['accuracy']:.3f}", refused]


def _judged(row: Mapping[Any, Any]) -> list[str]:
    draws, one_shot = int(row["draws"]), row["protocol"] == ONE_SHOT
    how = "once, the mean over draws" if one_shot else f"right in all of {draws}"
    interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    numbers = [f"{row[name]:.3f}" for name in ("clean_accuracy", "accuracy")]
    return [how, str(draws), *numbers, interval]
