"""Divergences and Stein's unbiased risk estimate against algebra, a large sample and a peer."""

import math

import pytest
import torch

from regularity.foundations.risk import exact_divergence, monte_carlo_divergence, sure_gaussian
from tests.draws import seeded
from tests.peers import import_deepinv

deepinv = import_deepinv()


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_exact_divergence_is_the_trace_of_a_matrix():
    matrix = torch.randn(5, 5, generator=seeded(), dtype=torch.float64)
    rows = torch.randn(7, 5, generator=seeded(1), dtype=torch.float64)
    divergence = exact_divergence(lambda points: points @ matrix.T, rows)
    torch.testing.assert_close(divergence, matrix.trace().expand(7))


def test_exact_divergence_of_a_curved_map():
    rows = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(exact_divergence(torch.sin, rows), torch.cos(rows).sum(dim=1))


@pytest.mark.parametrize("forward", [False, True])
def test_monte_carlo_divergence_is_unbiased(forward):
    matrix = torch.randn(6, 6, generator=seeded(), dtype=torch.float64)
    rows = torch.zeros(40_000, 6, dtype=torch.float64)
    value = torch.zeros_like(rows) if forward else None
    estimates = monte_carlo_divergence(
        lambda points: points @ matrix.T, rows, value=value, generator=seeded(1)
    )
    standard_error = estimates.std() / math.sqrt(len(rows))
    assert (estimates.mean() - matrix.trace()).abs() < 4 * standard_error


def test_monte_carlo_divergence_converges_in_its_step():
    """Along the same directions the central difference errs with the square of the step, the forward one with it."""
    rows = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]

    def error(step, forward):
        value = torch.exp(rows) if forward else None
        got = monte_carlo_divergence(torch.exp, rows, step=step, value=value, generator=seeded())
        direction = torch.randn(30, 1, generator=seeded(), dtype=torch.float64)
        return (got - (direction**2 * torch.exp(rows)).sum(dim=1)).abs().max().item()

    assert error(0.02, forward=False) / error(0.01, forward=False) == pytest.approx(4, rel=0.02)
    assert error(0.02, forward=True) / error(0.01, forward=True) == pytest.approx(2, rel=0.05)


def test_sure_is_unbiased_for_soft_thresholding():
    """The mean of SURE over the noise is the true risk; both by a large sample, for a map with kinks."""
    noise_std, threshold, d = 0.7, 0.9, 4
    truth = tensor(0.0, 0.5, 1.5, -3.0)
    noisy = truth + noise_std * torch.randn(100_000, d, generator=seeded(), dtype=torch.float64)

    def shrink(points):
        return torch.sign(points) * (points.abs() - threshold).clamp_min(0)

    divergence = (noisy.abs() > threshold).sum(dim=1).double()
    torch.testing.assert_close(exact_divergence(shrink, noisy[:50]), divergence[:50])
    estimated = sure_gaussian(shrink(noisy), noisy, noise_std, divergence)
    true = (shrink(noisy) - truth).square().sum(dim=1)
    difference = estimated - true
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(len(difference))


def test_sure_takes_a_level_for_each_row():
    noisy = torch.randn(3, 2, 2, generator=seeded(), dtype=torch.float64)
    levels = tensor(0.1, 0.2, 0.3)
    risk = sure_gaussian(torch.zeros_like(noisy), noisy, levels, torch.zeros(3, dtype=torch.float64))
    expected = noisy.square().sum(dim=(1, 2)) - 4 * levels**2
    torch.testing.assert_close(risk, expected)


def test_sure_agrees_with_deepinv():
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        network.weight.copy_(torch.randn(1, 1, 3, 3, generator=seeded()) / 5)
        network.bias.zero_()
    noisy = torch.randn(400, 1, 6, 6, generator=seeded(1))
    denoised = network(noisy).detach()
    divergence = exact_divergence(
        lambda rows: network(rows.view(-1, 1, 6, 6)).flatten(1), noisy.flatten(1)
    ).detach()
    ours = sure_gaussian(denoised, noisy, 0.5, divergence).mean() / 36
    peer = deepinv.loss.SureGaussianLoss(sigma=0.5, tau=1e-2, rng=seeded(2))
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.5))
    theirs = peer(y=noisy, x_net=denoised, physics=physics, model=lambda y, _: network(y)).detach()
    # The peer draws one random direction an image: agreement up to that sampling error.
    assert theirs.mean().item() == pytest.approx(ours.item(), abs=5 * theirs.std().item() / 20 + 1e-3)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_noise_level_and_step_must_be_positive(bad):
    rows = torch.full((2, 3), 0.5)
    with pytest.raises(ValueError, match="noise_std must be positive and finite; got"):
        sure_gaussian(rows, torch.zeros(2, 3), bad, torch.zeros(2))
    with pytest.raises(ValueError, match="step must be positive and finite; got"):
        monte_carlo_divergence(torch.sin, rows, step=bad)
