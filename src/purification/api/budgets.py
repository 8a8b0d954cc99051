"""The cascades of `evaluate`: that of the default config, shorter or longer, in any ball.

`standard` is the cascade `standard` of the default config (`config/config.yaml`), in which each
attack is chosen; lengths, which are in proportion to its epsilon, are scaled to the ball that is
asked for. The others are made of it by what stands here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from purification.api.configs import setup_of
from purification.experiments import Catalogue
from purification.experiments.protocols import JUDGED_DRAWS, SELECTION_DRAWS
from purification.guesses import did_you_mean

CASCADE = "standard"
"""The cascade of the default config."""
PREFIX = "cascade_"
"""How the names of its attacks begin, in the config alone."""
_IN_L2 = {"pgd": "pgd_l2", "apgd": "apgd_l2", "square": "square_l2"}
"""Attacks of the l-inf ball, and what they are in the l2 ball; the others are left out there."""
Spec = tuple[dict[str, Any], str, bool]
"""An attack as `evaluation.cascade.Stage` has it, its threat model, and whether it `goes_on`."""


@dataclass(frozen=True)
class Budget:
    """How a cascade differs from `standard`.

    Attributes:
        about: in a line.
        only: the stages that it has, as attack and threat model; None: all.
        factors: by which settings are multiplied, where an attack has them; at least 1 is left.
        settings: of attacks, by their names, which replace the others.
        further: stages at the end, each an attack of `standard` with a name and settings of its
            own, in the white box.
        selection_draws: by which the attacker of a randomised model selects; None: as `standard`.
    """

    about: str
    only: frozenset[tuple[str, str]] | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    further: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    selection_draws: int | None = None


_STEPS = ("gray_box", "white_box", "white_box_bpda")
BUDGETS: Mapping[str, Budget] = {
    "quick": Budget(
        "four or five attacks with 0.4 of the iterations: a first look",
        only=frozenset(
            {
                *(("cascade_pgd_margin", box) for box in _STEPS),
                *(("cascade_pgd_eot", box) for box in _STEPS),
                ("cascade_apgd", "white_box"),
                ("cascade_square", "white_box"),
                ("cascade_square_eot", "white_box"),
            }
        ),
        factors={"iterations": 0.4, "queries": 1 / 3},
    ),
    "standard": Budget("the cascade of the leaderboard"),
    "full": Budget(
        "twice the iterations, restarts, all targets, 2,000 queries: before you publish",
        factors={"iterations": 2, "expectation": 2},
        settings={
            "cascade_pgd_margin": {"restarts": 3},
            "cascade_pgd_log_odds": {"restarts": 3},
            "cascade_pgd_targeted": {"restarts": 9},
            "cascade_apgd": {"restarts": 2},
            "cascade_square": {"queries": 2000},
            "cascade_square_eot": {"queries": 500},
        },
        further={
            "cascade_apgd_targeted": ("cascade_apgd", {"loss": "targeted_dlr", "targets": 9}),
        },
        selection_draws=20,
    ),
}


def budget_of(name: str) -> Budget:
    """Raises ValueError for an unknown one, with what there is."""
    if name not in BUDGETS:
        known = "; ".join(f"{key!r}, {one.about}" for key, one in BUDGETS.items())
        raise ValueError(f"no budget {name!r}{did_you_mean(name, BUDGETS)}; there are {known}")
    return BUDGETS[name]


def stages_of(
    budget: str, norm: str, epsilon: float, *, purifies: bool, drawn: bool
) -> Iterator[Spec]:
    """The stages of a budget in a ball of that norm ("linf" or "l2") and radius.

    A model that purifies nothing has neither a gray box nor another backward pass: its attackers
    have all of it, and each attack stands once. `drawn`: it is randomised.
    """
    from purification.attacks.registry import ATTACKS  # brings torch

    wanted, catalogue = budget_of(budget), _catalogue()
    given = _cascade()
    stages = given["randomised"]["stages"] if drawn else given["stages"]
    factor = epsilon / given["epsilon"]
    seen: set[tuple[str, str, bool]] = set()
    boxes = [(stage["attack"], stage["threat_model"], "begin" in stage) for stage in stages]
    further = [] if drawn else [(name, "white_box", False) for name in wanted.further]
    for name, box, goes_on in (*boxes, *further):
        if wanted.only is not None and (name, box) not in wanted.only:
            continue
        base, changed = wanted.further.get(name, (name, wanted.settings.get(name, {})))
        recipe = catalogue.attack(base, draws=drawn and box != "gray_box").recipe
        method = recipe["method"] if norm == "linf" else _IN_L2.get(recipe["method"], "")
        threat_model = box if purifies else "white_box"
        # What climbs no gradient has the same images with another backward pass.
        same = method in ATTACKS and not ATTACKS[method].gradient_based and box != "gray_box"
        attacked = "white_box" if same else threat_model
        # Without a purifier there is no other backward pass, and of a randomised model no part that
        # is deterministic.
        pointless = not purifies and (box == "white_box_bpda" or (drawn and box == "gray_box"))
        goes_on = goes_on and bool(seen)
        if not method or pointless or (name, attacked, goes_on) in seen:
            continue
        seen.add((name, attacked, goes_on))
        settings = _scaled(recipe["settings"], wanted.factors) | changed
        lengths = {
            key: factor * settings[key] for key in ATTACKS[method].lengths if key in settings
        }
        settings |= lengths | {"epsilon": epsilon}
        yield {"name": name, "method": method, "settings": settings}, threat_model, goes_on


def _scaled(settings: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any]:
    numbers = {key: by * settings[key] for key, by in factors.items() if key in settings}
    return {**settings, **{key: max(round(number), 1) for key, number in numbers.items()}}


def selection_draws(budget: str) -> int:
    """Draws by which the attacker of a randomised model selects."""
    own = budget_of(budget).selection_draws
    return own or int(_cascade()["randomised"].get("selection_draws", SELECTION_DRAWS))


def judged_draws() -> int:
    """Draws on which a randomised model is judged: as the workflow's, if a config says nothing."""
    return JUDGED_DRAWS


@cache
def _cascade() -> Mapping[str, Any]:
    return _catalogue().cascade_settings(CASCADE)


def _catalogue() -> Catalogue:
    return setup_of(None, None).catalogue
