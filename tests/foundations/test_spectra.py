"""Spectra against closed forms, subordination, quadrature, and matrices that are drawn and denoised."""

import numpy as np
import pytest
import torch

from regularity.foundations.spectra import (
    denoise_symmetric,
    denoising_error,
    noisy_density,
    noisy_support,
    semicircle_law,
    shrink_eigenvalues,
    truncate_symmetric,
    wishart_law,
)
from tests.draws import random

D, NOISE = 400, 0.6
LAWS = [(0.1, 0.01), (0.5, 0.6), (0.5, 0.02), (1.0, 0.1), (5.0, 2.0)]


def wishart(ratio: float, d: int = D, seed: int = 0) -> torch.Tensor:
    weights = random(round(ratio * d), d, seed=seed)
    return weights.T @ weights / (len(weights) * d) ** 0.5


def wigner(d: int = D, seed: int = 1) -> torch.Tensor:
    entries = random(d, d, seed=seed)
    return (entries + entries.T) / (2 * d) ** 0.5


def integrate(law, noise: float, function, n: int = 4000) -> float:
    """Mean of a function under the noisy law, by the midpoint rule in the angle, an interval at a time."""
    angles, total = (torch.arange(n, dtype=torch.float64) + 0.5) * np.pi / n, 0.0
    for low, high in noisy_support(law, noise):
        points = (low + high) / 2 - (high - low) / 2 * angles.cos()
        density, _ = noisy_density(law, noise, points)
        total += (
            (function(points) * density * angles.sin()).sum().item() * np.pi / n * (high - low).item() / 2
        )
    return total


@pytest.mark.parametrize(("ratio", "noise"), LAWS)
def test_moments_of_the_noisy_law_are_sums_of_free_cumulants(ratio, noise):
    law, mean = wishart_law(ratio), ratio**0.5
    moments = [integrate(law, noise, lambda x, k=k: x**k) for k in range(4)]
    # The free cumulants of the signal are √κ, 1, 1/√κ, ...
    third = ratio**-0.5 + 3 * (1 + noise) * mean + mean**3
    np.testing.assert_allclose(moments, [1, mean, ratio + 1 + noise, third], rtol=1e-6)


@pytest.mark.parametrize(("ratio", "noise"), LAWS)
def test_the_transform_solves_the_subordination_equation(ratio, noise):
    """Biane: g(z) = G(z − q g(z)) with the signal's own transform, here Marchenko and Pastur's closed form."""
    points = torch.linspace(-3, 6, 101, dtype=torch.float64) - 0.013
    density, hilbert = noisy_density(wishart_law(ratio), noise, points)
    g = (hilbert + 1j * np.pi * density).numpy()
    z = (
        (points.numpy() - noise * g) / ratio**0.5 * ratio
    )  # in units in which the law of WᵀW/d has edges (1 ± √κ)²
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    # sqrt(z − a) sqrt(z − b) has its cut on [a, b] alone; from below the axis it is taken at conjugates.
    below = np.conj(z) + 0j
    root = np.conj(np.sqrt(below - low) * np.sqrt(below - high))
    signal = ratio**0.5 * (z + 1 - ratio - root) / (2 * z)
    np.testing.assert_allclose(g, signal, atol=1e-6)


def test_the_known_edges_of_two_bulks():
    """By hand from the quartic equation, to five digits."""
    expected = torch.tensor([[-0.19008, 0.18937], [1.48313, 5.48091]], dtype=torch.float64)
    torch.testing.assert_close(noisy_support(wishart_law(0.1), 0.01), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("point", [-1.0, 0.8, 1.2, 7.0])
def test_the_transform_outside_the_support_is_the_integral(point):
    law, noise = wishart_law(0.1), 0.01
    expected = integrate(law, noise, lambda x: 1 / (point - x))
    density, hilbert = noisy_density(law, noise, torch.tensor([point], dtype=torch.float64))
    assert density.item() == 0
    assert hilbert.item() == pytest.approx(expected, rel=1e-8)


def test_eigenvalues_of_drawn_matrices_follow_the_density():
    law, noise = wishart_law(0.5), 0.1
    noisy = torch.linalg.eigvalsh(wishart(0.5) + noise**0.5 * wigner())
    for point in (-0.2, 0.3, 1.0, 2.0):
        share = (noisy < point).double().mean().item()
        expected = integrate(law, noise, lambda x, point=point: (x < point).double())
        assert share == pytest.approx(expected, abs=0.01)


def test_shrinkage_of_a_wigner_signal_is_linear():
    variance, points = 1.3, torch.linspace(-2.6, 2.6, 21, dtype=torch.float64)
    law = semicircle_law(variance)
    shrunk = shrink_eigenvalues(points, law, NOISE)
    torch.testing.assert_close(shrunk, points * variance / (variance + NOISE), atol=1e-9, rtol=0)
    assert denoising_error(law, NOISE) == pytest.approx(variance * NOISE / (variance + NOISE), rel=1e-10)
    beyond = torch.tensor([-9.0, 9.0], dtype=torch.float64)
    edge = 2 * variance / (variance + NOISE) ** 0.5
    torch.testing.assert_close(
        shrink_eigenvalues(beyond, law, NOISE), edge * beyond.sign(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("ratio", "limit"), [(0.1, 0.19), (0.5, 0.75), (1.5, 1.0)])
def test_a_little_noise_costs_the_degrees_of_freedom(ratio, limit):
    """A positive semidefinite matrix of rank κd has (2κ − κ²)d²/2 of them."""
    assert denoising_error(wishart_law(ratio), 1e-4) / 1e-4 == pytest.approx(limit, abs=2e-3)


def test_much_noise_leaves_the_prior_variance():
    assert denoising_error(wishart_law(0.5), 1e4) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("ratio", "noise"), [(0.5, NOISE), (0.2, 0.02)])
def test_denoising_drawn_matrices_is_as_good_as_stated_and_as_the_oracle(ratio, noise):
    law, signal = wishart_law(ratio), wishart(ratio)
    noisy = signal + noise**0.5 * wigner()
    estimate = denoise_symmetric(noisy, law, noise)
    error = (estimate - signal).square().sum().item() / D
    assert error == pytest.approx(denoising_error(law, noise), rel=0.04)
    # The best eigenvalues for these eigenvectors, which only the signal tells, are vᵀSv.
    vectors = torch.linalg.eigh(noisy).eigenvectors
    oracle = torch.einsum("ai,ab,bi->i", vectors, signal, vectors)
    best = (signal.square().sum() - oracle.square().sum()).item() / D
    assert best < error < 1.02 * best
    linear = ratio**0.5 * torch.eye(D).double() * noise / (1 + noise) + noisy / (1 + noise)
    for rival in (linear, truncate_symmetric(noisy, round(ratio * D))):
        assert (rival - signal).square().sum().item() / D > error


def test_the_error_is_stein_s():
    """The risk of a spectral denoiser is q times its mean divided difference, when it is the best one."""
    law = wishart_law(0.5)
    values = torch.linalg.eigvalsh(wishart(0.5) + NOISE**0.5 * wigner())
    shrunk = shrink_eigenvalues(values, law, NOISE)
    gaps = values[:, None] - values
    apart = ~torch.eye(D, dtype=torch.bool)
    divergence = ((shrunk[:, None] - shrunk)[apart] / gaps[apart]).mean().item()
    assert NOISE * divergence == pytest.approx(denoising_error(law, NOISE), rel=0.02)


def test_denoising_turns_with_the_matrix():
    noisy, law = wishart(0.5, 30) + wigner(30), wishart_law(0.5)
    turn = torch.linalg.qr(random(30, 30, seed=3)).Q
    turned = denoise_symmetric(turn.T @ noisy @ turn, law, 1.0)
    torch.testing.assert_close(turned, turn.T @ denoise_symmetric(noisy, law, 1.0) @ turn)


def test_truncation_keeps_the_largest_eigenvalues():
    matrix = wigner(12)
    values, vectors = np.linalg.eigh(matrix.numpy())
    kept = (vectors * np.where(np.arange(12) >= 9, values, 0)) @ vectors.T
    np.testing.assert_allclose(truncate_symmetric(matrix, 3), kept, atol=1e-12)
    assert truncate_symmetric(matrix, 0).abs().max() == 0
    torch.testing.assert_close(truncate_symmetric(matrix, 12), matrix)


@pytest.mark.bad_input
def test_bad_input_is_refused_by_name():
    law, eye = wishart_law(0.5), torch.eye(3)
    with pytest.raises(ValueError, match="ratio must be positive and finite; got 0"):
        wishart_law(0)
    with pytest.raises(ValueError, match="variance must be positive and finite; got -1"):
        semicircle_law(-1)
    for function in (lambda q: noisy_density(law, q, eye), lambda q: denoising_error(law, q)):
        with pytest.raises(ValueError, match="noise must be positive and finite; got 0"):
            function(0.0)
    with pytest.raises(ValueError, match="n_nodes must be at least 2; got 1"):
        denoising_error(law, 1.0, 1)
    with pytest.raises(ValueError, match=r"noisy must be square; got shape \(2, 3\)"):
        denoise_symmetric(eye[:2], law, 1.0)
    with pytest.raises(ValueError, match=r"noisy must be symmetric; got entries that differ .* by 1"):
        denoise_symmetric(torch.ones(3, 3).triu(), law, 1.0)
    with pytest.raises(ValueError, match="rank must be between 0 and 3; got 4"):
        truncate_symmetric(eye, 4)
