"""The noise models against the moments of their laws, and the transforms against exact expectations."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from regularity.foundations.noise import (
    ADD_NOISE,
    add_gamma_noise,
    add_gaussian_noise,
    add_poisson_noise,
    stabilise_variance,
    standard_normal_like,
    undo_stabilisation,
)
from tests.draws import seeded

LAWS = {
    "gaussian": lambda x, p: stats.norm(x, p),
    "gamma": lambda x, p: stats.gamma(p, scale=x / p),
}


@pytest.mark.parametrize(("family", "parameter"), [("gaussian", 0.1), ("gamma", 30.0)])
def test_continuous_noise_follows_its_law(family, parameter):
    clean = torch.full((20_000,), 0.6, dtype=torch.float64)
    noisy = ADD_NOISE[family](clean, parameter, seeded()).numpy()
    assert stats.kstest(noisy, LAWS[family](0.6, parameter).cdf).pvalue > 0.01


def test_poisson_noise_follows_its_law():
    gain, intensity = 0.02, 0.1
    noisy = add_poisson_noise(torch.full((50_000,), intensity, dtype=torch.float64), gain, seeded())
    counts = (noisy / gain).round().long()
    torch.testing.assert_close(counts.double() * gain, noisy)  # on the lattice
    observed = np.bincount(counts.clamp_max(12).numpy(), minlength=13)
    law = stats.poisson(intensity / gain)
    expected = np.append(law.pmf(range(12)), law.sf(11)) * len(noisy)
    assert stats.chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize(("family", "parameter"), [("gaussian", 0.1), ("poisson", 0.02), ("gamma", 30.0)])
def test_same_generator_same_noise(family, parameter):
    clean = torch.linspace(0.1, 0.9, 50)
    first, again, other = (ADD_NOISE[family](clean, parameter, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("family", "parameter", "tolerance"),
    [("gaussian", 1e-8, 1e-6), ("poisson", 1e-10, 1e-4), ("gamma", 1e12, 1e-5)],
)
def test_noise_vanishes_in_its_limit(family, parameter, tolerance):
    clean = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)
    assert (ADD_NOISE[family](clean, parameter, seeded()) - clean).abs().max() < tolerance


def test_standard_normal_takes_type_and_shape_of_its_reference():
    reference = torch.zeros(3, 4, dtype=torch.float64)
    drawn = standard_normal_like(reference, seeded(1))
    expected = torch.randn(3, 4, dtype=torch.float64, generator=seeded(1))
    assert torch.equal(drawn, expected)


@pytest.mark.parametrize("mean_count", [4, 10, 50])
def test_anscombe_has_unit_variance_and_its_inverse_is_unbiased(mean_count):
    counts = torch.arange(400, dtype=torch.float64)
    weights = torch.as_tensor(stats.poisson(mean_count).pmf(counts.numpy()))
    gain = 0.01
    values, noise_std = stabilise_variance(gain * counts, "poisson", gain)
    mean = (weights * values).sum()
    variance = (weights * (values - mean) ** 2).sum()
    assert abs(variance / noise_std**2 - 1) < 0.06
    # Exact mean of the transform in, mean intensity out.
    assert undo_stabilisation(mean[None], "poisson", gain).item() == pytest.approx(
        gain * mean_count, rel=0.003
    )


def test_logarithm_has_the_variance_of_log_gamma_and_its_inverse_is_unbiased():
    shape, intensity = 20.0, 0.4
    law = stats.loggamma(shape)  # log of Gamma(shape, 1)
    _, noise_std = stabilise_variance(torch.tensor([0.5], dtype=torch.float64), "gamma", shape)
    assert noise_std == pytest.approx(law.std(), rel=1e-10)
    mean_of_log = torch.tensor([law.mean() - math.log(shape) + math.log(intensity)], dtype=torch.float64)
    assert undo_stabilisation(mean_of_log, "gamma", shape).item() == pytest.approx(intensity, rel=1e-12)


def test_gaussian_noise_is_left_alone():
    noisy = torch.tensor([-0.2, 1.3])
    values, noise_std = stabilise_variance(noisy, "gaussian", 0.1)
    assert torch.equal(values, noisy)
    assert noise_std == 0.1
    assert torch.equal(undo_stabilisation(values, "gaussian", 0.1), noisy)


@pytest.mark.bad_input
@pytest.mark.parametrize("family", ADD_NOISE)
def test_whole_numbers_get_the_noise_of_real_ones(family):
    """Black and white as integers: noise in the integers' type would be 0 or 1."""
    board = torch.tensor([0, 1, 1, 1, 0])
    noisy = ADD_NOISE[family](board, 0.3, seeded())
    assert torch.equal(noisy, ADD_NOISE[family](board.float(), 0.3, seeded()))
    assert ((noisy[1:4] - noisy[1:4].round()).abs() > 1e-3).any()


@pytest.mark.bad_input
def test_a_family_is_chosen_by_its_name():
    for call in (stabilise_variance, undo_stabilisation):
        with pytest.raises(
            ValueError, match=r"family must be one of .*; got 'Poisson'; did you mean 'poisson'\?"
        ):
            call(torch.ones(2), "Poisson", 0.1)
    for family in ("poisson", "gamma"):
        with pytest.raises(ValueError, match=r"noisy must not be negative; got -0\.5"):
            stabilise_variance(torch.tensor([0.5, -0.5]), family, 0.1)


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("add", "name"),
    [(add_gaussian_noise, "noise_std"), (add_poisson_noise, "gain"), (add_gamma_noise, "shape")],
)
def test_parameter_must_be_positive(add, name, bad):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite; got {bad}"):
        add(torch.full((3,), 0.5), bad)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (torch.tensor([0.0, 128.0]), r"clean must be in \[0, 1\]; got a range of \[0.0, 128.0\]"),
        (torch.tensor([-0.5, 0.5]), r"clean must be in \[0, 1\]; got a range of \[-0.5, 0.5\]"),
        (torch.tensor([float("nan")]), r"clean must be in \[0, 1\]; got NaN"),
    ],
)
def test_intensities_must_be_in_the_unit_interval(clean, message):
    with pytest.raises(ValueError, match=message):
        add_gaussian_noise(clean, 0.1)
