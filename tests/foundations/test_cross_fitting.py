"""Cross-fitting: every unit predicted once, in its place, from the others alone."""

import pytest
import torch

from regularity.foundations.cross_fitting import cross_fit
from tests.draws import seeded


@pytest.mark.parametrize(("n_units", "n_folds"), [(10, 5), (11, 5), (7, 7), (9, 2)])
def test_every_unit_is_held_out_once_and_trained_on_otherwise(n_units, n_folds):
    folds = []

    def predict(train, held_out):
        assert sorted(train.tolist() + held_out.tolist()) == list(range(n_units))
        folds.append(held_out.tolist())
        return held_out.double()

    predicted = cross_fit(predict, n_units, n_folds=n_folds, generator=seeded())
    assert predicted.tolist() == list(range(n_units))  # each in its own place
    assert len(folds) == n_folds
    assert sorted(unit for fold in folds for unit in fold) == list(range(n_units))
    assert {len(fold) for fold in folds} <= {n_units // n_folds, -(-n_units // n_folds)}


def test_several_draws_at_a_time():
    heights = torch.rand(4, 12, generator=seeded(), dtype=torch.float64)

    def mean_of(rows):
        return lambda train, held_out: (
            rows[..., train].mean(dim=-1, keepdim=True).expand(*rows.shape[:-1], len(held_out))
        )

    together = cross_fit(mean_of(heights), 12, n_folds=3, generator=seeded(1))
    alone = cross_fit(mean_of(heights[2]), 12, n_folds=3, generator=seeded(1))
    torch.testing.assert_close(together[2], alone)


def test_leave_one_out_is_the_mean_of_the_others():
    heights = torch.rand(6, generator=seeded(), dtype=torch.float64)
    predicted = cross_fit(lambda train, held_out: heights[train].mean().expand(len(held_out)), 6, n_folds=6)
    torch.testing.assert_close(predicted, (heights.sum() - heights) / 5)


def test_the_folds_come_from_the_generator():
    def folds(seed):
        seen = []
        cross_fit(
            lambda train, held_out: seen.append(held_out.tolist()) or held_out.double(),
            20,
            generator=seeded(seed),
        )
        return seen

    assert folds(3) == folds(3)
    assert folds(3) != folds(4)


@pytest.mark.bad_input
def test_folds_are_checked():
    with pytest.raises(ValueError, match="n_folds must be at least 2; got 1"):
        cross_fit(lambda train, held_out: held_out, 10, n_folds=1)
    with pytest.raises(ValueError, match="n_units must be at least n_folds=5; got 4"):
        cross_fit(lambda train, held_out: held_out, 4)
