"""Flags of measurements: signs that the attack, not the defence, may explain an accuracy.

Of a row of a long table:

- `above_clean`: higher than the same model's accuracy without attack. On fewer images (n) than
  there, the choice of images may explain it, too.
- `zero_gradient`: the gradient of at least one image is exactly zero: the attack cannot move it
  (gradient masking; Papernot et al. 2017, "Practical black-box attacks against machine learning").
- `low_success`: success on under 5 % of the images: robust, or an attack that fails. The limit is
  ours: a classifier's error without attack alone is often of that size.
- `weaker_than_gray_box`: white box or BPDA leaves more than the gray box of the same model, attack
  and strength, and their 95 % intervals do not overlap: the gradient is blocked or the attack badly
  tuned (Athalye et al. 2018, "Obfuscated gradients give a false sense of security", section 3.1).

- `randomised`: the defence draws anew in each evaluation, so that one evaluation, and an attack by
  gradients of single draws, may say little of others (the same, section 4.2).
- `larger_epsilon_leaves_more`: the same attack with a smaller `epsilon`, on as many images, leaves
  less, by more than `BEATS`: a larger ball holds the smaller one (Athalye et al. 2018, section 3.1;
  Carlini et al. 2019, "On evaluating adversarial robustness").

Of a cascade there are, besides `randomised`, `zero_gradient` and `larger_epsilon_leaves_more`
(`evaluation.checks` says how each is measured):

- `optimises_in_forward`: the defence optimises while it classifies, through which a gradient is
  long, or left out (Croce et al. 2022, "Evaluating the adversarial robustness of adaptive test-time
  defenses"; RobustBench, Croce et al. 2021, does not admit it, nor `randomised`, `zero_gradient`).
- `queries_beat_gradients`: attacks by scores or decisions break more than `BEATS` of the images
  that no gradient attack breaks (AutoAttack's own warning, Croce and Hein 2020).
- `transfer_beats_white_box`: the same of images made on another model (Athalye et al. 2018).
- `not_converged`: twice the iterations break more than a point that was left.

Of a randomised defence accuracies are compared under the same number of evaluations, and those of
known draws with one-shot ones.

Success and zero gradients are against the model that the attack was made on.
"""

import pandas as pd

RANDOMISED, ZERO_GRADIENT, OPTIMISES = "randomised", "zero_gradient", "optimises_in_forward"
QUERIES, TRANSFER = "queries_beat_gradients", "transfer_beats_white_box"
NOT_CONVERGED, LARGER_EPSILON = "not_converged", "larger_epsilon_leaves_more"
BEATS = 0.002
"""The share of the images by more than which one attack must beat another: AutoAttack's."""
FLAGS = "flags"
"""The column of the long tables: the names of a row's flags in this order, joined by `;`."""
_MODEL = ("dataset", "seed", "classifier", "defense", "variant", "iterations_L", "restarts_R")
_LIKE = ("attack", "threat_model", "substitute", "oracle", "protocol", "quirks", "n")
"""With the model, what rows have in common that are compared over epsilon."""
_ROUNDING = 1e-9
_PROTOCOL = ("evaluations", "deployed")
"""Of randomised defences: an accuracy under N evaluations is compared with others under N. And of
what hangs on quirks of published code: only with what has the same ones, but for the attack's."""
_OF_ATTACKS = "no_gradient|predicted_labels"
_FRESH = ("white_box", "white_box_bpda")
_KNOWN = tuple(f"{name}_fixed" for name in _FRESH)


def flagged(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each flag in turn, in their order, the label of each in the column `row`.

    `rows`: of a long table, or with their seeds pooled and without `seed`. Beside what was compared
    stand `accuracy_clean` and `n_clean`; `accuracy_gray` and `ci_high_gray`; or `epsilon_smaller`
    and `accuracy_smaller`, of the smaller epsilon that leaves least.
    """
    rows = rows.assign(row=rows.index, strength=rows["epsilon"].round(6))
    if "quirks" in rows:
        others = rows["quirks"].fillna("").str.replace(_OF_ATTACKS, "", regex=True)
        rows = rows.assign(deployed=others.str.strip(";"))
    drawn = rows.iloc[:0]
    if "protocol" in rows:
        drawn = rows[(rows["attack"] != "none") & (rows["protocol"].fillna("") != "")]
        # Known draws beside a draw that is not known. (What was made for a known draw and is judged
        # on others is no attack on those.)
        known = rows["threat_model"].isin(_KNOWN)
        rows = rows[~known | (rows["protocol"] == "fixed")]
    attacked = rows[rows["attack"] != "none"]
    model = [name for name in (*_MODEL, *_PROTOCOL) if name in rows]
    same = [*model, "attack", "strength"]
    clean = rows.loc[rows["attack"] == "none", [*model, "accuracy", "n"]]
    clean = attacked.merge(clean, on=model, suffixes=("", "_clean"))
    gray = rows.loc[rows["threat_model"] == "gray_box", [*same, "accuracy", "ci_high"]]
    white = attacked[attacked["threat_model"].isin((*_FRESH, *_KNOWN))]
    gray = white.merge(gray, on=same, suffixes=("", "_gray"))
    return {
        "above_clean": clean[clean["accuracy"] > clean["accuracy_clean"]],
        RANDOMISED: drawn,
        ZERO_GRADIENT: attacked[attacked["zero_gradient_share"] > 0],
        "low_success": attacked[attacked["success_rate"] < 0.05],
        "weaker_than_gray_box": gray[gray["ci_low"] > gray["ci_high_gray"]],
        LARGER_EPSILON: _above_smaller(attacked[attacked["strength"].notna()], model),
    }


def _above_smaller(rows: pd.DataFrame, model: list[str]) -> pd.DataFrame:
    """The rows of which a smaller epsilon leaves less."""
    same = [*model, *(name for name in _LIKE if name in rows)]
    smaller = rows[[*same, "epsilon", "strength", "accuracy"]]
    pairs = rows.merge(smaller, on=same, suffixes=("", "_smaller"))
    more = pairs["accuracy"] - pairs["accuracy_smaller"] > BEATS + _ROUNDING
    found = pairs[more & (pairs["strength_smaller"] < pairs["strength"])]
    return found.loc[found.groupby("row", sort=False)["accuracy_smaller"].idxmin()]


def flag_column(rows: pd.DataFrame) -> list[str]:
    """The column `FLAGS` of `rows`, which are as for `flagged`; empty text for no flag."""
    found = {name: set(those["row"]) for name, those in flagged(rows).items()}
    return [";".join(name for name in found if row in found[name]) for row in rows.index]


MEANINGS = {
    "above_clean": "accuracy above the same model's without attack",
    "zero_gradient": "images whose gradient is exactly zero: the attack cannot move them",
    "low_success": "success on under 5 % of the images: robust, or an attack that fails",
    "weaker_than_gray_box": "white box or BPDA leaves more than the gray box, beyond intervals",
    "randomised": "the defense draws anew in each evaluation: one says little of others",
    "larger_epsilon_leaves_more": "the same attack leaves more in a larger ball",
    "optimises_in_forward": "the defense optimises while it classifies",
    "queries_beat_gradients": "attacks by scores or decisions break what no gradient attack does",
    "transfer_beats_white_box": "images made on another model break what no gradient attack does",
    "not_converged": "twice the iterations break more than a point of what was left",
}
"""What a page says of each flag."""
