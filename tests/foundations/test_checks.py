"""The checks of arguments: what they let pass, and how they name what they refuse."""

import math

import pytest
import torch

from regularity.foundations.checks import check_at_least, check_finite, check_positive


def test_what_is_allowed_passes():
    for value in (1, 1e-300, torch.tensor([0.5, 2.0]), torch.tensor(3)):
        check_positive("scale", value)
    for value in (2, 2.5, math.inf):
        check_at_least("n_folds", value, 2)
    check_finite("noisy", torch.tensor([-1e30, 0.0, 3.0]))
    check_finite("noisy", torch.empty(0))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("value", "given"),
    [
        (0, "0"),
        (-0.1, "-0.1"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (torch.tensor([1.0, -2.0]), "a tensor with minimum -2"),
        (torch.tensor([1.0, math.nan]), "a tensor with minimum nan"),
    ],
)
def test_a_scale_that_is_not_positive_is_named(value, given):
    with pytest.raises(ValueError, match=f"^scale must be positive and finite; got {given}$"):
        check_positive("scale", value)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [1, 0, -3, 1.999, math.nan])
def test_a_number_that_is_too_small_is_named(value):
    with pytest.raises(ValueError, match=f"^n_folds must be at least 2; got {value}$"):
        check_at_least("n_folds", value, 2)


@pytest.mark.bad_input
@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf])
def test_a_tensor_that_is_not_finite_is_named(entry):
    with pytest.raises(ValueError, match=r"^noisy must be finite; got NaN or infinity$"):
        check_finite("noisy", torch.tensor([[0.0, 1.0], [entry, 2.0]]))
