"""Points of figures of randomised defences: accuracy under N of the judged draws."""

import itertools

import numpy as np
import pytest

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.protocol_points import under_evaluations
from purification.evaluation.protocols import EVALUATIONS, ONE_SHOT, share_under


def test_under_n_evaluations_it_is_the_mean_over_all_choices_of_n_draws() -> None:
    right = np.random.default_rng(0).random((7, 5)) < 0.7
    for number in range(1, 6):
        chosen = itertools.combinations(range(5), number)
        expected = np.mean([right[:, list(draws)].all(axis=1).mean() for draws in chosen])
        made = under_evaluations(right, number)
        assert made["accuracy"] == pytest.approx(expected)
        assert (made["ci_low"], made["ci_high"]) == wilson_interval(made["accuracy"] * 7, 7)
        assert made["n"] == 7
    # At both ends it is what the tables have.
    for protocol, number in ((ONE_SHOT, 1), (EVALUATIONS, 5)):
        expected = share_under(protocol, number, right)["accuracy"]
        assert under_evaluations(right, number)["accuracy"] == pytest.approx(expected)
