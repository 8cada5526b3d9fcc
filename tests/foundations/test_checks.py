"""The checks of arguments: what they let pass, and how they name what they refuse."""

import math

import pytest
import torch

from regularity.foundations.checks import (
    as_floats,
    as_unit_interval,
    check_at_least,
    check_finite,
    check_floating,
    check_positive,
    check_squares,
)


def test_what_is_allowed_passes():
    for value in (1, 1e-300, torch.tensor([0.5, 2.0]), torch.tensor(3)):
        check_positive("scale", value)
    for value in (2, 2.5, math.inf):
        check_at_least("n_folds", value, 2)
    check_finite("noisy", torch.tensor([-1e30, 0.0, 3.0]))
    check_finite("noisy", torch.empty(0))
    check_finite("weight", 0.5)
    check_floating("field", torch.zeros(1, dtype=torch.float16))


WHOLE, SINGLE, DOUBLE = torch.tensor([1, 2]), torch.tensor([0.1, 0.9]), torch.tensor([0.25]).double()


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ((WHOLE,), torch.float32),
        ((WHOLE.bool(),), torch.float32),
        ((WHOLE.to(torch.uint8), WHOLE), torch.float32),
        ((WHOLE, SINGLE), torch.float32),
        ((WHOLE, DOUBLE), torch.float64),
        ((SINGLE, DOUBLE), torch.float64),
        ((SINGLE, DOUBLE[0]), torch.float32),  # as SINGLE * DOUBLE[0] is
        ((WHOLE, DOUBLE[0]), torch.float64),
    ],
)
def test_tensors_come_to_one_floating_type(given, dtype):
    names = "abc"[: len(given)]
    got = as_floats(**dict(zip(names, given, strict=True)))
    for before, after in zip(given, got, strict=True):
        assert after.dtype == dtype
        assert after.tolist() == pytest.approx(before.double().tolist())  # 0.9 stays 0.9


def test_numbers_and_missing_arguments_come_back_as_they_are():
    count, std, value = as_floats(integers=torch.float64, count=WHOLE, std=0.9, value=None)
    assert (count.dtype, std, value) == (torch.float64, 0.9, None)
    same = torch.zeros(3, requires_grad=True)
    assert as_floats(same=same)[0] is same


def test_the_unit_interval_allows_for_rounding():
    """1/49·49 is not 1 in floating point; a coordinate that scaling rounds up is no error."""
    inside = torch.tensor([0.0, 0.3, 1.0]).double()
    assert as_unit_interval("points", inside) is inside
    rounded = torch.tensor([-1e-17, 1 + 2.3e-16]).double()
    assert as_unit_interval("points", rounded).tolist() == [0, 1]
    assert as_unit_interval("points", torch.tensor([0, 1])).dtype == torch.float32


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


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([1.0], TypeError, "noisy must be a tensor; got list"),
        (torch.zeros(2).numpy(), TypeError, "noisy must be a tensor; got ndarray"),
        (torch.zeros(2, dtype=torch.complex64), TypeError, "noisy must be real; got torch.complex64"),
        (torch.zeros(0, 3), ValueError, "noisy must have at least one entry; got shape (0, 3)"),
        (torch.tensor([0, math.nan]), ValueError, "noisy must be finite; got NaN or infinity"),
        (math.inf, ValueError, "noisy must be finite; got NaN or infinity"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_named(bad, error, message):
    with pytest.raises(error) as caught:
        as_floats(truth=torch.ones(2), noisy=bad)
    assert str(caught.value) == message


@pytest.mark.bad_input
def test_what_may_pass_passes():
    (values,) = as_floats(finite=False, empty=True, values=torch.tensor([math.nan]))
    assert values.isnan().all()
    assert as_floats(empty=True, values=torch.empty(0))[0].numel() == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("bad", "got"),
    [
        ([0.5, 1.000001], "a range of [0.5, 1.000001]"),
        ([-0.25, 1.0], "a range of [-0.25, 1.0]"),
        ([0.5, math.nan], "NaN"),
        ([0.0, 255.0], "a range of [0.0, 255.0]"),
    ],
)
def test_what_is_outside_the_unit_interval_is_shown_with_its_digits(bad, got):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        as_unit_interval("points", torch.tensor(bad))
    assert str(caught.value) == f"points must be in [0, 1]; got {got}"


@pytest.mark.bad_input
@pytest.mark.parametrize(("dtype", "shown"), [(torch.float32, r"5e\+17"), (torch.float64, r"4e\+152")])
def test_what_is_let_pass_has_squares(dtype, shown):
    """Just below the bound the sum of squares is finite; above it the argument is named."""
    bound = (torch.finfo(dtype).max / 12) ** 0.5 / 10
    values = torch.full((3, 4), 0.99 * bound, dtype=dtype)
    check_squares("targets", values)
    assert torch.isfinite(values.square().sum())
    with pytest.raises(ValueError, match=f"targets must be below {shown}, or its squares overflow; got"):
        check_squares("targets", 1.02 * values)


@pytest.mark.bad_input
def test_whole_numbers_are_refused_where_a_conversion_would_cost():
    with pytest.raises(TypeError, match=r"field must be of a floating type; got torch\.int64"):
        check_floating("field", WHOLE)
