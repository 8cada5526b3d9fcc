"""Tweedie's formulas against conjugate priors, limits, scalings and a peer."""

import math
import warnings

import pytest
import torch
from scipy import integrate, stats
from torch.special import digamma

from regularity.foundations.tweedie import TWEEDIE, tweedie_gamma, tweedie_gaussian, tweedie_poisson
from tests.draws import seeded
from tests.peers import import_deepinv

deepinv = import_deepinv()


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- Conjugate priors ---------------------------------------------------------------------------------------------


def test_gaussian_prior_gives_the_posterior_mean():
    mean, variance, noise_std = 0.4, 0.09, 0.2
    noisy = tensor(-0.3, 0.1, 0.9, 1.7)
    score = -(noisy - mean) / (variance + noise_std**2)
    expected = (variance * noisy + noise_std**2 * mean) / (variance + noise_std**2)
    torch.testing.assert_close(tweedie_gaussian(noisy, score, noise_std), expected, rtol=0, atol=1e-14)
    assert expected[2].item() == pytest.approx(0.7461538462, abs=1e-10)


def test_gaussian_noise_with_a_level_for_each_image():
    noisy, score = torch.randn(2, 1, 3, 3, generator=seeded()), torch.randn(2, 1, 3, 3, generator=seeded(1))
    levels = torch.tensor([0.1, 0.3])[:, None, None, None]
    together = tweedie_gaussian(noisy, score, levels)
    one_by_one = [tweedie_gaussian(noisy[i], score[i], level) for i, level in enumerate((0.1, 0.3))]
    torch.testing.assert_close(together, torch.stack(one_by_one))


def test_gamma_prior_on_counts_gives_the_geometric_mean():
    shape, rate = 3.0, 0.25
    counts = torch.arange(5, 60, dtype=torch.float64)
    score = digamma(counts + shape) - digamma(counts + 1) - math.log(1 + rate)
    geometric = torch.exp(digamma(counts + shape)) / (1 + rate)
    estimate = tweedie_poisson(counts, score, 1.0)
    assert ((estimate - geometric) / geometric).abs().max() < 2e-3
    assert (estimate < (counts + shape) / (1 + rate)).all()  # below the arithmetic posterior mean
    assert estimate[0].item() == pytest.approx(5.996214482, abs=1e-9)
    assert geometric[0].item() == pytest.approx(6.0044323808, abs=1e-10)


def test_inverse_gamma_prior_gives_the_harmonic_mean():
    noise_shape, shape, rate = 20.0, 4.0, 1.5
    noisy = tensor(0.1, 0.5, 1.2)
    score = (noise_shape - 1) / noisy - (shape + noise_shape) * noise_shape / (rate + noise_shape * noisy)
    estimate = tweedie_gamma(noisy, score, noise_shape)
    harmonic = (rate + noise_shape * noisy) / (shape + noise_shape)
    torch.testing.assert_close(estimate, harmonic, rtol=0, atol=1e-13)
    assert score[1].item() == pytest.approx(-3.7391304348, abs=1e-10)
    assert estimate[1].item() == pytest.approx(0.4791666667, abs=1e-10)


def test_harmonic_mean_of_a_two_point_prior_by_quadrature():
    """The exact score of the marginal density, differentiated by hand; the posterior by Bayes."""
    shape, points = 8.0, (0.3, 0.8)
    noisy = 0.45

    def density(y, x):
        return stats.gamma(shape, scale=x / shape).pdf(y)

    marginal = sum(density(noisy, x) for x in points)
    slope = sum(density(noisy, x) * ((shape - 1) / noisy - shape / x) for x in points)
    assert integrate.quad(lambda y: sum(density(y, x) for x in points), 0, 5)[0] == pytest.approx(2, rel=1e-6)
    posterior = [density(noisy, x) / marginal for x in points]
    harmonic = 1 / sum(p / x for p, x in zip(posterior, points, strict=True))
    estimate = tweedie_gamma(tensor(noisy), tensor(slope / marginal), shape)
    assert estimate.item() == pytest.approx(harmonic, rel=1e-12)


def test_robbins_formula_is_the_poisson_estimate_without_interpolation():
    """E[x | z] = (z + 1) p(z + 1) / p(z) in counts; exp of the score is p(z + 1) / p(z) for a slow density."""
    shape, rate = 200.0, 2.0
    counts = torch.arange(60, 140, dtype=torch.float64)
    law = stats.nbinom(shape, rate / (1 + rate))
    robbins = (counts + 1) * torch.as_tensor(law.pmf(counts.numpy() + 1) / law.pmf(counts.numpy()))
    score = digamma(counts + shape) - digamma(counts + 1) - math.log(1 + rate)
    torch.testing.assert_close(tweedie_poisson(counts, score, 1.0), robbins, rtol=0.006, atol=0)


# --- Limits and scalings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "parameter"), [("gaussian", 1e-7), ("poisson", 1e-9), ("gamma", 1e9)])
def test_without_noise_the_estimate_is_the_observation(family, parameter):
    noisy = torch.rand(20, generator=seeded(), dtype=torch.float64)
    score = torch.randn(20, generator=seeded(1), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a random observation is on no lattice
        estimate = TWEEDIE[family](noisy, score, parameter)
    torch.testing.assert_close(estimate, noisy, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize(("family", "degree"), [("gaussian", 1), ("poisson", 1), ("gamma", 0)])
def test_units_of_intensity_do_not_matter(family, degree, scale):
    counts = torch.arange(1, 30, dtype=torch.float64)
    noisy, score = 0.04 * counts, torch.sin(counts) / 3
    parameter = 0.04 if degree else 12.0
    scaled = TWEEDIE[family](scale * noisy, score / scale, parameter * scale**degree)
    torch.testing.assert_close(scaled, scale * TWEEDIE[family](noisy, score, parameter))


# --- The peer -----------------------------------------------------------------------------------------------------


class FixedScoreNetwork(torch.nn.Module):
    """A closed form with one weight, as a network that deepinv's loss can wrap."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, images, sigma=None):
        """Return a smooth map of the images."""
        return -self.slope * torch.tanh(images - 0.4)


def peer_estimate(noise_model, noisy):
    loss = deepinv.loss.ScoreLoss(noise_model, total_batches=1, delta=(0.0, 0.1))
    model = loss.adapt_model(FixedScoreNetwork()).eval()
    physics = deepinv.physics.Denoising(noise_model)
    with torch.no_grad():
        return model(noisy, physics)


def test_gaussian_and_gamma_agree_with_deepinv():
    noisy = torch.rand(2, 1, 8, 8, generator=seeded()) + 0.1
    score = FixedScoreNetwork()(noisy).detach()
    gaussian = peer_estimate(deepinv.physics.GaussianNoise(sigma=0.2), noisy)
    torch.testing.assert_close(tweedie_gaussian(noisy, score, 0.2), gaussian)
    gamma = peer_estimate(deepinv.physics.GammaNoise(l=15.0), noisy)
    torch.testing.assert_close(tweedie_gamma(noisy, score, 15.0), gamma)


def test_poisson_agrees_with_deepinv_to_second_order():
    """The peer's y + γ y S is the first order of (y + γ/2) exp(γ S) apart from the half count."""
    errors = []
    for gain in (0.02, 0.01, 0.005):
        noisy = gain * torch.arange(10, 74, dtype=torch.float32).reshape(1, 1, 8, 8)
        score = FixedScoreNetwork()(noisy).detach()
        peer = peer_estimate(deepinv.physics.PoissonNoise(gain=gain, normalize=True), noisy)
        half_count = gain / 2 * torch.exp(gain * score)
        ours = tweedie_poisson(noisy, score, gain) - half_count
        errors.append(((ours - peer) / noisy).abs().max().item())
        assert errors[-1] < (gain * score.abs().max().item()) ** 2
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


# --- Bad input ----------------------------------------------------------------------------------------------------

GOOD = (torch.full((2, 3), 0.5), torch.zeros(2, 3))


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_noise_level_must_be_positive(bad):
    with pytest.raises(ValueError, match="noise_std must be positive and finite; got"):
        tweedie_gaussian(*GOOD, bad)
    with pytest.raises(ValueError, match="gain must be positive and finite; got"):
        tweedie_poisson(*GOOD, bad)


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [1.0, 0.5, -2.0, float("nan")])
def test_gamma_shape_must_be_above_one(bad):
    with pytest.raises(ValueError, match=f"the Gamma formula needs shape > 1; got {bad:g}"):
        tweedie_gamma(*GOOD, bad)


@pytest.mark.bad_input
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_negative_observations_are_refused(family):
    with pytest.raises(ValueError, match=r"noisy must not be negative; got -0\.5"):
        TWEEDIE[family](-GOOD[0], GOOD[1], 5.0)


@pytest.mark.bad_input
@pytest.mark.parametrize("family", TWEEDIE)
def test_shapes_and_numbers_are_checked(family):
    with pytest.raises(
        ValueError, match=r"score must have the shape of noisy; got \(3, 2\) for noisy \(2, 3\)"
    ):
        TWEEDIE[family](GOOD[0], torch.zeros(3, 2), 5.0)
    with pytest.raises(ValueError, match="score must be finite; got NaN or infinity"):
        TWEEDIE[family](GOOD[0], torch.full((2, 3), torch.nan), 5.0)
    with pytest.raises(ValueError, match="noisy must be finite; got NaN or infinity"):
        TWEEDIE[family](torch.full((2, 3), torch.inf), GOOD[1], 5.0)


@pytest.mark.bad_input
def test_observations_off_the_lattice_are_warned_of():
    with pytest.warns(
        UserWarning, match=r"2 of 3 observations are no multiples of gain; is gain=0.1 wrong\?"
    ):
        tweedie_poisson(torch.tensor([0.2, 0.25, 0.31]), torch.zeros(3), 0.1)
    tweedie_poisson(torch.tensor([0.2, 0.25]), torch.zeros(2), 0.1, check_lattice=False)  # warns of nothing


@pytest.mark.bad_input
def test_denominators_that_are_not_positive_are_clamped_and_counted():
    noisy, score = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 20.0])
    with pytest.warns(UserWarning, match="clamped 1 of 2 denominators"):
        estimate = tweedie_gamma(noisy, score, 5.0)
    torch.testing.assert_close(estimate, torch.tensor([5 * 0.5 / 4, 5 * 0.5 / 0.004]))
    silent = tweedie_gamma(noisy, score, 5.0, check_denominator=False)  # warns of nothing
    torch.testing.assert_close(silent, estimate)
