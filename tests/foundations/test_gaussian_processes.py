"""Gaussian processes against scikit-learn's, determinants, central differences, scalings and limits."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from regularity.foundations.gaussian_processes import (
    KernelParameters,
    condition,
    confidence_bound,
    fit_gaussian_process,
    log_marginal_likelihood,
    predict,
    sample_jointly,
)


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(batch=(), d=3, seed=0, noise=1e-3):
    """Kernels of a batch, all different."""
    lengthscale = 0.2 + uniform(*batch, d, seed=seed)
    return KernelParameters(
        lengthscale, 0.5 + uniform(*batch, seed=seed + 1), noise * (1 + uniform(*batch, seed=seed + 2))
    )


def at(kernel, *index):
    """One kernel of a batch."""
    return KernelParameters(kernel.lengthscale[index], kernel.variance[index], kernel.noise[index])


def data(batch=(), n=12, d=3, seed=10):
    inputs = uniform(*batch, n, d, seed=seed)
    return inputs, torch.sin(5 * inputs.sum(dim=-1)) + 0.1 * uniform(*batch, n, seed=seed + 1)


def peer_kernel(kernel):
    return ConstantKernel(kernel.variance.item()) * Matern(kernel.lengthscale.numpy(), nu=2.5)


def peer(inputs, targets, kernel):
    """Scikit-learn's process with the same kernel, conditioned on the same data."""
    process = GaussianProcessRegressor(peer_kernel(kernel), alpha=kernel.noise.item(), optimizer=None)
    return process.fit(inputs.numpy(), targets.numpy())


# --- The posterior ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [1e-5, 1e-2])
def test_posterior_is_that_of_scikit_learn(noise):
    kernel, (inputs, targets), points = parameters(noise=noise), data(), uniform(9, 3, seed=3)
    mean, std = predict(condition(inputs, targets, kernel), points)
    expected = peer(inputs, targets, kernel).predict(points.numpy(), return_std=True)
    np.testing.assert_allclose(mean, expected[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(std, expected[1], rtol=0, atol=1e-8)


def test_a_batch_is_its_processes_one_by_one():
    """Objectives of a run share their inputs: shapes (runs, 1) and (runs, objectives)."""
    kernel, (inputs, _) = parameters((2, 3)), data((2, 1))
    targets, points = torch.sin(9 * uniform(2, 3, 12, seed=4)), uniform(2, 1, 5, 3, seed=5)
    process = condition(inputs, targets, kernel)
    mean, std = predict(process, points)
    value, gradient = confidence_bound(process, points, -0.3)
    assert mean.shape == std.shape == value.shape == (2, 3, 5)
    assert gradient.shape == (2, 3, 5, 3)
    for run in range(2):
        for k in range(3):
            alone = condition(inputs[run, 0], targets[run, k], at(kernel, run, k))
            expected = peer(inputs[run, 0], targets[run, k], at(kernel, run, k)).predict(
                points[run, 0].numpy()
            )
            np.testing.assert_allclose(mean[run, k], expected, atol=1e-9)
            torch.testing.assert_close(std[run, k], predict(alone, points[run, 0])[1], rtol=0, atol=1e-9)
            torch.testing.assert_close(gradient[run, k], confidence_bound(alone, points[run, 0], -0.3)[1])


def test_with_little_noise_it_interpolates_and_far_away_it_knows_nothing():
    kernel, (inputs, targets) = parameters(noise=1e-9), data()
    process = condition(inputs, targets, kernel)
    mean, std = predict(process, inputs)
    torch.testing.assert_close(mean, targets, rtol=0, atol=1e-5)
    assert std.max() < 1e-4
    mean, std = predict(process, inputs + 100)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
    torch.testing.assert_close(std, kernel.variance.sqrt().expand(12))


def test_units_of_the_targets_do_not_matter():
    kernel, (inputs, targets), points = parameters(), data(), uniform(4, 3, seed=6)
    scaled = KernelParameters(kernel.lengthscale, 49 * kernel.variance, 49 * kernel.noise)
    mean, std = predict(condition(inputs, targets, kernel), points)
    mean_scaled, std_scaled = predict(condition(inputs, 7 * targets, scaled), points)
    torch.testing.assert_close(mean_scaled, 7 * mean)
    torch.testing.assert_close(std_scaled, 7 * std)


# --- Confidence bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [-0.1, 0.0, 2.0])
def test_bounds_are_sums_and_their_gradients_differences(width):
    kernel, (inputs, targets) = parameters(noise=1e-4), data()
    process, points = condition(inputs, targets, kernel), uniform(6, 3, seed=7)
    value, gradient = confidence_bound(process, points, width)
    mean, std = predict(process, points)
    torch.testing.assert_close(value, mean + width * std, rtol=0, atol=1e-12)
    for k in range(3):
        step = 1e-5 * torch.eye(3, dtype=torch.float64)[k]
        ahead, behind = (confidence_bound(process, points + sign * step, width)[0] for sign in (1, -1))
        torch.testing.assert_close(gradient[:, k], (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-6)


# --- The marginal likelihood --------------------------------------------------------------------------------------


def test_marginal_likelihood_by_a_determinant():
    kernel, (inputs, targets) = parameters(), data()
    scaled = inputs.numpy() / kernel.lengthscale.numpy()
    r = math.sqrt(5) * cdist(scaled, scaled)
    matrix = kernel.variance.item() * (1 + r + r**2 / 3) * np.exp(-r) + kernel.noise.item() * np.eye(12)
    sign, log_determinant = np.linalg.slogdet(2 * math.pi * matrix)
    fit = targets.numpy() @ np.linalg.solve(matrix, targets.numpy())
    assert sign == 1
    value, _ = log_marginal_likelihood(inputs, targets, kernel)
    assert value.item() == pytest.approx(-0.5 * (fit + log_determinant), abs=1e-9)


def test_likelihood_and_its_gradient_are_those_of_scikit_learn():
    kernel, (inputs, targets) = parameters(noise=1e-2), data()
    together = peer_kernel(kernel) + WhiteKernel(kernel.noise.item())
    process = GaussianProcessRegressor(together, alpha=0, optimizer=None).fit(inputs.numpy(), targets.numpy())
    expected, slope = process.log_marginal_likelihood(together.theta, eval_gradient=True)  # in log θ
    value, gradient = log_marginal_likelihood(inputs, targets, kernel)
    assert value.item() == pytest.approx(expected, abs=1e-9)
    assert gradient.variance.item() == pytest.approx(slope[0], rel=1e-7)
    np.testing.assert_allclose(gradient.lengthscale, slope[1:4], rtol=1e-7)
    assert gradient.noise.item() == pytest.approx(slope[4], rel=1e-7)


def test_gradient_by_central_differences_in_a_batch():
    kernel, (inputs, targets) = parameters((2,), noise=1e-2), data((2,))
    _, gradient = log_marginal_likelihood(inputs, targets, kernel)

    def slope(change):
        values = [
            log_marginal_likelihood(inputs, targets, change(math.exp(step)))[0] for step in (1e-5, -1e-5)
        ]
        return (values[0] - values[1]) / 2e-5

    by_variance = slope(lambda f: KernelParameters(kernel.lengthscale, f * kernel.variance, kernel.noise))
    by_noise = slope(lambda f: KernelParameters(kernel.lengthscale, kernel.variance, f * kernel.noise))
    torch.testing.assert_close(gradient.variance, by_variance, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradient.noise, by_noise, rtol=1e-6, atol=1e-7)
    for k in range(3):
        unit = torch.eye(3, dtype=torch.float64)[k]
        by_lengthscale = slope(
            lambda f, unit=unit: KernelParameters(kernel.lengthscale * f**unit, kernel.variance, kernel.noise)
        )
        torch.testing.assert_close(gradient.lengthscale[:, k], by_lengthscale, rtol=1e-6, atol=1e-7)


def test_the_fit_reaches_the_likelihood_of_another_optimiser():
    """Adam from our start against L-BFGS from five starts, within the same bounds."""
    inputs, targets = data(n=25, d=2)
    targets = (targets - targets.mean()) / targets.std()
    fitted = fit_gaussian_process(inputs, targets, n_steps=400)
    value, _ = log_marginal_likelihood(inputs, targets, fitted.parameters)
    bounds = (0.03, 30.0)
    kernel = ConstantKernel(1.0, bounds) * Matern([1.0, 1.0], bounds, nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
    rival = GaussianProcessRegressor(kernel, alpha=0, n_restarts_optimizer=4, random_state=0)
    best = rival.fit(inputs.numpy(), targets.numpy()).log_marginal_likelihood_value_
    assert best - 0.1 < value.item() < best + 1e-3
    assert (fitted.parameters.lengthscale >= 0.03).all()
    assert 1e-5 <= fitted.parameters.noise.item() <= 1


def test_a_fit_goes_on_where_the_last_one_ended():
    inputs, targets = data()
    first = fit_gaussian_process(inputs, targets, n_steps=30)
    again = fit_gaussian_process(inputs, targets, start=first.parameters, n_steps=0)
    torch.testing.assert_close(again.parameters.lengthscale, first.parameters.lengthscale)
    torch.testing.assert_close(again.weights, first.weights)
    values = [
        log_marginal_likelihood(inputs, targets, fit_gaussian_process(inputs, targets, n_steps=n).parameters)[
            0
        ]
        for n in (0, 30)
    ]
    assert values[1] > values[0] + 1


# --- Joint samples ------------------------------------------------------------------------------------------------


def test_joint_samples_have_the_posterior_covariance():
    """With the unit vectors for normal variables, the samples are the rows of the covariance's factor."""
    kernel, (inputs, targets), points = parameters(), data(), uniform(6, 3, seed=8)
    process = condition(inputs, targets, kernel)
    samples = sample_jointly(process, points, torch.eye(6, dtype=torch.float64))
    mean, covariance = peer(inputs, targets, kernel).predict(points.numpy(), return_cov=True)
    factor = (samples - torch.as_tensor(mean)).numpy()
    np.testing.assert_allclose(factor.T @ factor, covariance, atol=3e-6 * kernel.variance.item())
    centre = sample_jointly(process, points, torch.zeros(1, 6, dtype=torch.float64))
    np.testing.assert_allclose(centre[0], mean, atol=1e-9)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_repeated_inputs_need_noise():
    inputs, targets = data()
    twice = torch.cat([inputs, inputs]), torch.cat([targets, targets])
    silent = parameters(noise=0.0)
    with pytest.raises(ValueError, match="noise must be larger: the kernel matrix is not positive definite"):
        condition(*twice, silent)
    with pytest.raises(ValueError, match="got a least noise of 0"):
        log_marginal_likelihood(*twice, silent)
    condition(*twice, parameters(noise=1e-6))


@pytest.mark.bad_input
def test_data_must_be_finite_and_of_one_length():
    inputs, targets = data()
    with pytest.raises(ValueError, match="targets must have one entry an input; got 11 for 12 inputs"):
        condition(inputs, targets[:-1], parameters())
    targets[3] = torch.nan
    with pytest.raises(ValueError, match="targets must be finite; got NaN or infinity"):
        fit_gaussian_process(inputs, targets)
    inputs[0, 0] = torch.inf
    with pytest.raises(ValueError, match="inputs must be finite; got NaN or infinity"):
        condition(inputs, torch.zeros(12, dtype=torch.float64), parameters())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite; got 0.0"),
        ({"noise_bounds": (0.0, 1.0)}, "noise_bounds must be positive and finite; got 0.0"),
        ({"scale_bounds": (2.0, 1.0)}, r"scale_bounds must increase; got \(2.0, 1.0\)"),
    ],
)
def test_settings_of_the_fit_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian_process(*data(), **options)
