"""Bandwidths against NumPy's median and units, directions by hand and by the Gaussian that they sample."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from regularity.foundations.particles import median_bandwidth, stein_variational_direction
from tests.draws import seeded


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_bandwidth_is_the_median_of_all_pairs(n):
    rows = torch.randn(3, n, 2, generator=seeded(), dtype=torch.float64)
    squares = torch.cdist(rows, rows).square()
    medians = torch.as_tensor(np.median(squares.flatten(1).numpy(), axis=1))
    torch.testing.assert_close(median_bandwidth(squares), medians / math.log(n))
    doubled = median_bandwidth(squares, scale=2.0, power=2)
    torch.testing.assert_close(doubled, 2 * medians.square() / math.log(n))


def test_the_squared_median_is_no_measure_of_distance():
    """Ten times the units make h a hundred times as large, as squared distances are, and h of power 2 10⁴ times."""
    rows = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    squares = torch.cdist(rows, rows).square()
    for power, factor in ((1, 100), (2, 10_000)):
        ratio = median_bandwidth(100 * squares, power=power) / median_bandwidth(squares, power=power)
        assert ratio.item() == pytest.approx(factor)


def test_bandwidth_of_particles_in_one_place():
    assert median_bandwidth(torch.zeros(4, 4)).item() == pytest.approx(5e-6)
    assert median_bandwidth(torch.zeros(4, 4), floor=0.5).item() == 0.5


def test_stein_variational_gradient_descent_samples_a_gaussian():
    """Particles from far away settle at the mean and the spread of N(1, 2²), by the kernel's two terms alone."""
    particles = torch.linspace(-9, -5, 60, dtype=torch.float64)[:, None]
    for _ in range(400):
        differences = particles - particles.T
        h = median_bandwidth(differences.square())
        kernel = torch.exp(-differences.square() / h)
        repulsions = (2 * kernel / h * differences).sum(dim=1, keepdim=True)  # Σ_j ∂K_ij/∂x_j
        score = (1 - particles) / 4
        particles = particles + 2 * stein_variational_direction(kernel, score, repulsions)
    expected = stats.norm(1, 2).ppf((np.arange(60) + 0.5) / 60)
    assert np.abs(particles[:, 0].sort().values.numpy() - expected)[6:-6].max() < 0.2
    assert particles.mean().item() == pytest.approx(1, abs=0.02)
    assert particles.std().item() == pytest.approx(2, abs=0.15)


def test_direction_of_two_particles_by_hand():
    kernel, drives = tensor(1.0, 0.5, 0.5, 1.0).view(2, 2), tensor(4.0, -2.0)[:, None]
    direction = stein_variational_direction(kernel, drives, tensor(-1.0, 1.0)[:, None])
    torch.testing.assert_close(direction, tensor((4 - 1 - 1) / 2, (2 - 2 + 1) / 2)[:, None])


@pytest.mark.bad_input
def test_bandwidths_need_two_particles_and_positive_numbers():
    with pytest.raises(
        ValueError, match="squared_distances must be of at least 2 particles, as log 1 = 0; got 1"
    ):
        median_bandwidth(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="power must be 1 or 2; got 3"):
        median_bandwidth(torch.zeros(2, 2), power=3)
    with pytest.raises(ValueError, match=r"scale must be positive and finite; got 0\.0"):
        median_bandwidth(torch.zeros(2, 2), scale=0.0)
    with pytest.raises(ValueError, match=r"floor must be positive and finite; got -1\.0"):
        median_bandwidth(torch.zeros(2, 2), floor=-1.0)
