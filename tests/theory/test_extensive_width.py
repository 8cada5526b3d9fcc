"""Extensive width against closed forms, limits, Gaussian processes, autograd, exact posteriors and invariances."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from regularity.foundations.spectra import denoising_error, semicircle_law, wishart_law
from regularity.theory import extensive_width as wide
from regularity.theory.extensive_width import experiment
from tests.draws import random, seeded

LAW = wishart_law(0.5)


def samples(d=40, sampling_ratio=0.3, neuron_noise=0.0, seed=0, width_ratio=0.5):
    return wide.draw_samples(d, width_ratio, sampling_ratio, neuron_noise, generator=seeded(seed))


# --- The least error ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling_ratio", [0.1, 0.3, 0.45])
@pytest.mark.parametrize("label_noise", [0.0, 0.25])
def test_a_very_wide_network_is_as_hard_as_a_gaussian_one(sampling_ratio, label_noise):
    """As κ grows the Wishart law becomes a semicircle, for which the error solves a quadratic equation."""
    noise = np.roots([4 * sampling_ratio, 4 * sampling_ratio - label_noise - 2, -label_noise]).max()
    error = noise / (1 + noise)
    assert wide.bayes_optimal_error(1e4, sampling_ratio, label_noise) == pytest.approx(error, rel=1e-3)
    assert wide.kernel_error(sampling_ratio, label_noise) == pytest.approx(error)
    if label_noise == 0:
        assert error == pytest.approx(1 - 2 * sampling_ratio)


@pytest.mark.parametrize(("width_ratio", "threshold"), [(0.1, 0.095), (0.5, 0.375), (1.0, 0.5), (3.0, 0.5)])
def test_recovery_begins_where_samples_count_the_degrees_of_freedom(width_ratio, threshold):
    assert wide.recovery_threshold(width_ratio) == pytest.approx(threshold)
    assert 0 < wide.bayes_optimal_error(width_ratio, threshold - 1e-4) < 0.01
    assert wide.bayes_optimal_error(width_ratio, threshold + 1e-9) == 0
    assert wide.bayes_optimal_error(width_ratio, 0.6) == 0


def test_many_samples_with_noise_leave_what_least_squares_leaves():
    """As α grows E ~ α_PR Δ/(2(α − α_PR)): the degrees of freedom, each with its share of the noise."""
    expected = 0.375 * 0.25 / (2 * (20 - 0.375))
    assert wide.bayes_optimal_error(0.5, 20.0, 0.25) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("label_noise", [0.0, 0.25])
def test_the_curve_the_equation_and_state_evolution_agree(label_noise):
    ratios, errors = wide.learning_curve(0.5, torch.tensor([3.0, 0.8]), label_noise)
    for ratio, error in zip(ratios.tolist(), errors.tolist(), strict=True):
        assert wide.bayes_optimal_error(0.5, ratio, label_noise) == pytest.approx(error, abs=1e-8)
        steps = wide.state_evolution(LAW, ratio, label_noise, n_steps=40)
        assert steps[-1].item() == pytest.approx(error, abs=1e-4)
        assert (steps.diff() < 1e-12).all()


def test_the_first_step_of_state_evolution_denoises_what_the_prior_mean_leaves():
    assert wide.state_evolution(LAW, 0.25, 0.5, 1).item() == pytest.approx(denoising_error(LAW, 2.5))


# --- Teachers -----------------------------------------------------------------------------------------------------


def test_noise_within_neurons_is_noise_of_the_stated_variance_on_labels():
    weights, inputs = random(100, 200, seed=1), random(1500, 200, seed=2)
    clean, noisy = wide.label(inputs, weights), wide.label(inputs, weights, 0.3, seeded(3))
    noise = (noisy.labels - clean.labels).numpy()
    assert kstest(noise / wide.label_variance(0.3) ** 0.5, "norm").pvalue > 0.01
    torch.testing.assert_close(
        clean.labels, ((inputs @ weights.T) ** 2).sum(1) / 200 / 100**0.5, atol=1e-9, rtol=0
    )


def test_half_the_mean_squared_error_of_labels_is_the_matrix_error():
    truth, other = samples(seed=1).matrix, samples(seed=2).matrix
    inputs = random(50_000, 40, seed=3)
    gaps = wide.quadratic_forms(inputs, truth) - wide.quadratic_forms(inputs, other)
    assert gaps.square().mean().item() / 2 == pytest.approx(wide.matrix_error(other, truth).item(), rel=0.02)


def test_the_adjoint_is_one():
    inputs, weights, matrix = random(30, 7), random(30, seed=1), random(7, 7, seed=2)
    forms = wide.quadratic_forms(inputs, matrix)
    adjoint = wide.quadratic_adjoint(inputs, weights)
    assert (forms @ weights).item() == pytest.approx((matrix * adjoint).sum().item())
    torch.testing.assert_close(
        forms, torch.func.vmap(lambda x: x @ matrix @ x)(inputs) / 7**0.5, atol=9, rtol=9
    )
    assert forms.mean().abs() < 1e-12


# --- GAMP-RIE -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling_ratio", "neuron_noise", "low", "high"),
    [(0.25, 0.0, 0.95, 1.25), (0.25, 0.0625, 0.95, 1.15), (0.45, 0.0625, 0.95, 1.15)],
)
def test_gamp_reaches_the_least_error(sampling_ratio, neuron_noise, low, high):
    label_noise = wide.label_variance(neuron_noise)
    errors = []
    for seed in range(3):
        drawn = samples(50, sampling_ratio, neuron_noise, seed)
        found = wide.gamp_rie(drawn.inputs, drawn.labels, LAW, label_noise)
        errors.append(wide.matrix_error(found.estimate, drawn.matrix).item())
    ratio = np.mean(errors) / wide.bayes_optimal_error(0.5, sampling_ratio, label_noise)
    assert low < ratio < high


def test_gamp_recovers_above_the_threshold_and_not_below():
    errors = {}
    for ratio in (0.33, 0.45):
        drawn = samples(50, ratio)
        found = wide.gamp_rie(drawn.inputs, drawn.labels, LAW)
        errors[ratio] = wide.matrix_error(found.estimate, drawn.matrix).item()
    assert errors[0.45] < 2e-3
    assert errors[0.33] > 0.03


def test_undamped_iterates_follow_state_evolution():
    drawn = samples(120, 0.35, seed=1)
    found = wide.gamp_rie(drawn.inputs, drawn.labels, LAW, damping=0.0, n_steps=5, tolerance=0.0)
    ratios = wide.matrix_error(found.history, drawn.matrix) / wide.state_evolution(LAW, 0.35, n_steps=5)
    assert ratios.log().abs().max() < 0.2


def test_what_gamp_denoises_is_the_signal_with_the_noise_that_it_says():
    drawn = samples(80, 0.3, 0.0625)
    found = wide.gamp_rie(drawn.inputs, drawn.labels, LAW, wide.label_variance(0.0625), n_steps=60)
    noise = (found.noisy - drawn.matrix).square().sum().item() / 80
    assert noise == pytest.approx(found.noise, rel=0.07)


def test_gamp_with_a_gaussian_law_is_regression_on_products():
    """With a linear denoiser the fixed point is the ridge solution, up to what d = 80 leaves."""
    drawn = samples(80, 0.3, 0.0625)
    options = (wide.label_variance(0.0625),)
    shift = 0.5**0.5 * torch.eye(80).double()
    labels = drawn.labels - wide.quadratic_forms(drawn.inputs, shift)
    found = wide.gamp_rie(drawn.inputs, labels, semicircle_law(), *options).estimate + shift
    ridge = wide.regress_on_products(drawn.inputs, drawn.labels, 0.5**0.5, *options)
    assert wide.matrix_error(found, ridge) < 0.01 * wide.matrix_error(ridge, drawn.matrix)


def test_gamp_turns_with_the_inputs_and_needs_no_offset():
    drawn = samples(30)
    turn = torch.linalg.qr(random(30, 30, seed=5)).Q
    plain = wide.gamp_rie(drawn.inputs, drawn.labels, LAW, n_steps=10)
    turned = wide.gamp_rie(drawn.inputs @ turn, drawn.labels + 7, LAW, n_steps=10)
    torch.testing.assert_close(turned.estimate, turn.T @ plain.estimate @ turn)


# --- Rivals -------------------------------------------------------------------------------------------------------


def test_regression_on_products_is_a_gaussian_process():
    """Beside scikit-learn's, whose squared dot product has the same kernel up to what centring removes."""
    d, noise = 8, 0.5
    drawn = samples(d, 0.8, 0.1)
    fit = wide.regress_on_products(drawn.inputs, drawn.labels, 0.5**0.5, noise)
    centred = random(400, d, seed=9)
    # An unknown offset, a wide prior on it, is what centring assumes.
    base = DotProduct(0.0, "fixed") ** 2
    scaled = (2 / d**2) * base + 1e6
    prior = 0.5**0.5 * drawn.inputs.square().sum(1) / d**0.5
    peer = GaussianProcessRegressor(scaled, alpha=noise, optimizer=None).fit(
        drawn.inputs, drawn.labels - prior
    )
    predicted = torch.as_tensor(peer.predict(centred)) + 0.5**0.5 * centred.square().sum(1) / d**0.5
    ours = wide.quadratic_forms(centred, fit)
    torch.testing.assert_close(ours, predicted - predicted.mean(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("sampling_ratio", [0.1, 0.3])
def test_regression_on_products_has_the_error_of_its_theory(sampling_ratio):
    errors = []
    for seed in range(4):
        drawn = samples(40, sampling_ratio, seed=seed)
        fit = wide.regress_on_products(drawn.inputs, drawn.labels, 0.5**0.5)
        errors.append(wide.matrix_error(fit, drawn.matrix).item())
    assert np.mean(errors) == pytest.approx(wide.kernel_error(sampling_ratio), rel=0.15)


def test_linear_regression_finds_slopes_where_there_are_some():
    inputs, slopes = random(300, 5), torch.arange(5.0).double()
    labels = inputs @ slopes + inputs.square().sum(1) / 5**0.5
    torch.testing.assert_close(wide.regress_on_inputs(inputs, labels, 1.0), slopes, atol=1e-3, rtol=0)


def test_the_posterior_of_one_weight_is_that_of_quadrature():
    inputs, labels, noise = torch.ones(3, 1).double(), torch.tensor([1.0, 2.0, 1.6]).double(), 1.5
    states, accepted = wide.sample_posterior(
        inputs,
        labels,
        0.3 * random(100, 1, 1),
        noise,
        n_trajectories=150,
        n_leaps=8,
        step=0.2,
        generator=seeded(),
    )
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    energy = grid.square() / 2 + (grid.square()[:, None] - labels).square().sum(1) / (2 * noise)
    density = torch.softmax(-energy, dim=0)
    for power in (2, 4):
        expected = (density * grid.abs() ** power).sum().item()
        assert (states[20:].abs() ** power).mean().item() == pytest.approx(expected, rel=0.03)
    assert 0.7 < accepted < 1


def test_the_posterior_of_a_network_is_where_the_teacher_is_typical():
    """Nishimori: the teacher is one more draw, so that a draw is as far from it as two draws are from each other."""
    gaps, spreads = [], []
    for seed in range(3):
        drawn = samples(16, 0.4, 0.1, seed)
        start = random(8, 8, 16, seed=seed + 50).float()
        inputs, labels = drawn.inputs.float(), drawn.labels.float()
        states, _ = wide.sample_posterior(
            inputs,
            labels,
            start,
            wide.label_variance(0.1),
            n_trajectories=60,
            step=0.06,
            generator=seeded(seed),
        )
        draws = wide.network_matrix(states[20:]).double()
        gaps.append(wide.matrix_error(draws, drawn.matrix).mean().item())
        spreads.append(2 * (draws - draws.mean(dim=(0, 1))).square().sum(dim=(-2, -1)).mean().item() / 16)
    assert np.mean(gaps) == pytest.approx(np.mean(spreads), rel=0.3)


# --- Gradient descent ---------------------------------------------------------------------------------------------


def test_the_gradient_is_autograd_s():
    inputs, labels, weights = random(9, 4), random(9, seed=1), random(3, 2, 4, seed=2).requires_grad_()
    outputs = wide.network_labels(inputs, weights)[0]
    torch.testing.assert_close(
        outputs, torch.func.vmap(lambda w: ((inputs @ w.T) ** 2).sum(1) / (4 * 2**0.5))(weights)
    )
    loss = (outputs - labels).square().sum(dim=-1) / 4
    expected = torch.autograd.grad(loss.sum(), weights)[0]
    found, gradient = wide.network_gradient(inputs, labels, weights.detach())
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(found, loss.detach())


def test_training_fits_and_starts_share_the_samples():
    drawn = samples(20, 0.2)
    start = random(6, 10, 20, seed=1)
    ends, losses = wide.train_networks(drawn.inputs, drawn.labels, start, learning_rate=0.05, n_steps=500)
    assert losses.max() < 1e-3
    alone, _ = wide.train_networks(drawn.inputs, drawn.labels, start[2:3], learning_rate=0.05, n_steps=500)
    torch.testing.assert_close(ends[2:3], alone)
    residuals = wide.network_labels(drawn.inputs, ends)[0] - drawn.labels
    torch.testing.assert_close(losses, residuals.square().mean(dim=1))


def test_a_very_wide_network_trained_from_the_prior_is_a_posterior_draw():
    """Matheron's rule, where S is all but linear in the weights: the mean of many is regression on products."""
    drawn = samples(8, 0.35, width_ratio=40.0)
    start = random(40, 320, 8, seed=1)
    ends, _ = wide.train_networks(drawn.inputs, drawn.labels, start, learning_rate=0.05, n_steps=400)
    mean = wide.network_matrix(ends).mean(dim=0)
    ridge = wide.regress_on_products(drawn.inputs, drawn.labels, 40**0.5)
    prior = 40**0.5 * torch.eye(8).double()
    assert wide.matrix_error(mean, ridge) < 0.1 * wide.matrix_error(prior, ridge)


# --- The chapter's runs -------------------------------------------------------------------------------------------


def test_averages_are_freed_of_the_noise_of_few_networks():
    """Draws of variance v around a point at distance e: single e + v, mean e + v/B, freed e."""
    truth = torch.zeros(5, 5).double()
    draws = 0.3 + random(800, 6, 5, 5)
    found = [experiment.ensemble_errors(one, truth) for one in draws]
    single, averaged = (
        torch.tensor([getattr(f, name) for f in found]).mean() for name in ("single", "averaged")
    )
    assert single.item() == pytest.approx(5 * 1.09, rel=0.02)
    assert averaged.item() == pytest.approx(5 * 0.09, rel=0.06)


def test_descent_begins_at_the_teacher_s_scale():
    """Before it moves, a network is a draw of the prior: twice as far from the teacher as the prior mean is."""
    drawn = samples(30, 0.2)
    found = experiment.descend(drawn, 40, seeded(1), learning_rate=1e-9, n_steps=1)
    prior = wide.matrix_error(LAW.mean * torch.eye(30).double(), drawn.matrix).item()
    assert found.single == pytest.approx(1 + prior, rel=0.1)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_ratios_and_noise_are_checked():
    with pytest.raises(ValueError, match="width_ratio must be positive and finite; got 0"):
        wide.recovery_threshold(0)
    with pytest.raises(ValueError, match=r"sampling_ratio must be positive and finite; got -0\.1"):
        wide.bayes_optimal_error(0.5, -0.1)
    with pytest.raises(ValueError, match="label_noise must not be negative; got -1"):
        wide.bayes_optimal_error(0.5, 0.1, -1.0)
    with pytest.raises(ValueError, match="width_ratio times d must be at least 1; got 0"):
        wide.draw_samples(10, 0.01, 0.1)
    with pytest.raises(ValueError, match="sampling_ratio times the square of d must be at least 2; got 0"):
        wide.draw_samples(10, 0.5, 0.001)


@pytest.mark.bad_input
def test_samples_and_options_are_checked():
    drawn = samples(10)
    with pytest.raises(
        ValueError, match=r"labels must have one entry a row of inputs; got \(29,\) for \(30, 10\)"
    ):
        wide.gamp_rie(drawn.inputs, drawn.labels[:29], LAW)
    with pytest.raises(ValueError, match="labels must not all be the same; got 1 30 times"):
        wide.gamp_rie(drawn.inputs, torch.ones(30).double(), LAW)
    with pytest.raises(ValueError, match="labels must be finite; got NaN"):
        wide.gamp_rie(drawn.inputs, drawn.labels * math.nan, LAW)
    with pytest.raises(ValueError, match=r"damping must be in \[0, 1\); got 1"):
        wide.gamp_rie(drawn.inputs, drawn.labels, LAW, damping=1)
    with pytest.raises(ValueError, match="learning_rate must be smaller: the descent diverges at 50"):
        wide.train_networks(drawn.inputs, drawn.labels, random(2, 5, 10), learning_rate=50.0)
