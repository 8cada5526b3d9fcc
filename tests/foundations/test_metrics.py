"""Image quality against its definition written out, and against cases that can be worked out by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from regularity.foundations.metrics import psnr, ssim


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- Peak signal-to-noise ratio -----------------------------------------------------------------------------------


def test_psnr_by_its_definition():
    """Each image of a batch on its own, all its channels together, with 1 as the peak."""
    estimate, truth = images(4, 3, 5, 7), images(4, 3, 5, 7, seed=1)
    squares = (estimate.double() - truth.double()).square().numpy()
    np.testing.assert_allclose(
        psnr(estimate, truth), [-10 * math.log10(one.mean()) for one in squares], rtol=1e-12
    )


def test_estimates_are_clipped_and_truths_are_not_scaled():
    truth = torch.tensor([0.0, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2)
    estimate = torch.tensor([-3.0, 7.0, 0.5, 0.7]).reshape(1, 1, 2, 2)
    assert psnr(estimate, truth)[0] == pytest.approx(-10 * math.log10(0.2**2 / 4), rel=1e-6)
    # Halving all contrast halves the errors: 20 log₁₀ 2 more, since the peak stays 1.
    assert psnr(estimate.clamp(0, 1) / 2, truth / 2)[0] - psnr(estimate, truth)[0] == pytest.approx(
        6.0206, abs=1e-4
    )


def test_a_perfect_estimate_has_infinite_psnr_without_a_warning():
    truth = images(2, 1, 4, 4)
    estimate = truth.clone()
    estimate[1] += 1e-3
    values = psnr(estimate, truth)
    assert values[0] == math.inf
    assert 0 < values[1] < math.inf


def test_psnr_of_gaussian_noise():
    """Noise of standard deviation 0.1 that no clipping meets: 20 dB, with an error of 4.3 √(2/n) dB."""
    truth = torch.full((1, 1, 200, 200), 0.5)
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    assert psnr(truth + noise.clamp(-0.5, 0.5), truth)[0] == pytest.approx(
        20, abs=4 * 4.343 * math.sqrt(2 / 40_000)
    )


# --- Structural similarity ----------------------------------------------------------------------------------------


def written_out_ssim(first, second):
    """Equation 13 of Wang et al. on 11×11 windows with Gaussian weights of standard deviation 1.5."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2

    def local_mean(values):
        return (sliding_window_view(values, (11, 11)) * weights).sum(axis=(-2, -1))

    mean1, mean2 = local_mean(first), local_mean(second)
    variance1, variance2 = local_mean(first**2) - mean1**2, local_mean(second**2) - mean2**2
    covariance = local_mean(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return (likeness / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))).mean()


def test_ssim_by_its_definition():
    truth = images(2, 3, 20, 17)
    estimate = (truth + 0.2 * (images(2, 3, 20, 17, seed=1) - 0.5)).clamp(0, 1)
    pairs = zip(estimate.double().numpy(), truth.double().numpy(), strict=True)
    expected = [np.mean([written_out_ssim(*layers) for layers in zip(*pair, strict=True)]) for pair in pairs]
    np.testing.assert_allclose(ssim(estimate, truth), expected, rtol=1e-9)


def test_ssim_of_two_flat_images_compares_their_brightness():
    flat = torch.ones(1, 1, 16, 16)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(0.2 * flat, 0.6 * flat)[0] == pytest.approx(expected, rel=1e-6)


def test_ssim_is_one_for_the_truth_and_below_for_all_else():
    truth = images(3, 1, 16, 16)
    np.testing.assert_allclose(ssim(truth, truth), 1.0, rtol=1e-12)
    assert (ssim(truth.flip(0), truth)[[0, 2]] < 0.5).all()
    assert (ssim(1 - truth, truth) < 0).all()  # anticorrelated


def test_ssim_clips_estimates():
    truth = images(1, 1, 16, 16)
    loud = truth + 4 * (images(1, 1, 16, 16, seed=1) - 0.5)
    assert ssim(loud, truth)[0] == ssim(loud.clamp(0, 1), truth)[0]


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_must_agree(measure):
    with pytest.raises(
        ValueError, match=r"estimate must have the shape of truth; got \(1, 1, 16, 16\) for \(2, 1, 16"
    ):
        measure(images(1, 1, 16, 16), images(2, 1, 16, 16))


@pytest.mark.bad_input
def test_images_must_hold_the_window_of_ssim():
    small = images(1, 1, 10, 20)
    with pytest.raises(
        ValueError, match="image sides must be at least 11, the width of the window; got 10 x 20"
    ):
        ssim(small, small)
