"""What one would do without the paper: linear regression, regression on products, and sampling the posterior."""

import torch
from jaxtyping import Float
from sklearn.linear_model import RidgeCV
from torch import Tensor

from regularity.foundations.checks import check_not_negative, check_positive
from regularity.theory.extensive_width.checks import as_moderate, check_axis, check_samples
from regularity.theory.extensive_width.method import (
    _adjoint,
    _gradient,
    quadratic_forms,
)


def kernel_error(sampling_ratio: float, label_noise: float = 0.0) -> float:
    """Error of `regress_on_products` as d grows: 1 − 2α without noise.

    For a semicircle F(q) = q/(1 + q), and the state equation is a quadratic one.
    """
    linear = 4 * sampling_ratio - label_noise - 2
    noise = (-linear + (linear**2 + 16 * sampling_ratio * label_noise) ** 0.5) / (8 * sampling_ratio)
    return noise / (1 + noise)


def regress_on_products(
    inputs: Float[Tensor, "n d"], labels: Float[Tensor, " n"], prior_mean: float, label_noise: float = 0.0
) -> Float[Tensor, "d d"]:
    """Regression on all products of two coordinates: the best estimate of S that is linear in the labels.

    It is the posterior mean of a Gaussian process with kernel 2((x·x')² − |x|² − |x'|² + d)/d², which has the mean
    and the covariance of the true prior and nothing else of it.
    """
    given, labels = check_samples(inputs, labels)
    check_not_negative("label_noise", label_noise)
    inputs, labels, d = given.double(), labels.double(), given.shape[1]
    mean = prior_mean * torch.eye(d).to(inputs)
    kernel = 2 * (inputs @ inputs.T).square() / d**2
    kernel = kernel - kernel.mean(dim=0)  # the labels' mean is not known, and their variation is what counts
    kernel = kernel - kernel.mean(dim=1, keepdim=True)
    kernel.diagonal().add_(max(label_noise, 1e-9 * kernel.diagonal().mean().item()))
    residuals = labels - labels.mean() - quadratic_forms(inputs, mean)
    weights = torch.cholesky_solve(residuals[:, None], torch.linalg.cholesky(kernel))[:, 0]
    return (mean + 2 / d * _adjoint(inputs, weights)).to(given.dtype)


def regress_on_inputs(
    inputs: Float[Tensor, "n d"], labels: Float[Tensor, " n"], prior_mean: float
) -> Float[Tensor, " d"]:
    """Slopes of linear regression after the prior mean √κ|x|²/√d, with a ridge chosen by leaving one out."""
    inputs, labels = check_samples(inputs, labels)
    d = inputs.shape[1]
    residuals = labels - prior_mean * inputs.square().sum(dim=1) / d**0.5
    penalties = torch.logspace(-2, 6, 33, dtype=torch.float64).numpy()
    fit = RidgeCV(penalties).fit(inputs.cpu().numpy(), residuals.cpu().numpy())
    return torch.as_tensor(fit.coef_).to(inputs)


def sample_posterior(
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    start: Float[Tensor, "b m d"],
    label_noise: float,
    *,
    n_trajectories: int,
    n_leaps: int = 15,
    step: float = 0.05,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "t b m d"], float]:
    """Hamiltonian Monte Carlo over the weights, given labels with Gaussian noise: states, and how many were accepted.

    Several chains at once, one a start. The energy is |W|²/2 + Σ_i (f(x_i) − y_i)²/(2Δ).
    """
    inputs, labels, start = as_moderate(inputs=inputs, labels=labels, start=start)
    check_axis("start", start, -1, inputs.shape[-1])
    check_positive("label_noise", label_noise)

    def energy(weights: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = _gradient(inputs, labels, weights)
        return 2 * loss / label_noise + weights.square().sum(
            dim=(-2, -1)
        ) / 2, 2 / label_noise * gradient + weights

    def draw(sampler: str, shape: torch.Size) -> Tensor:
        return getattr(torch, sampler)(shape, generator=generator, dtype=start.dtype).to(start.device)

    weights, states, n_accepted = start, [], 0.0
    height, slope = energy(weights)
    for _ in range(n_trajectories):
        position, momentum = weights, draw("randn", weights.shape)
        total, new_slope = height + momentum.square().sum(dim=(-2, -1)) / 2, slope
        for _ in range(n_leaps):
            momentum = momentum - step / 2 * new_slope
            position = position + step * momentum
            new_height, new_slope = energy(position)
            momentum = momentum - step / 2 * new_slope
        change = total - new_height - momentum.square().sum(dim=(-2, -1)) / 2
        accept = draw("rand", change.shape).log() < change
        n_accepted += accept.float().mean().item()
        height = torch.where(accept, new_height, height)
        accept = accept[:, None, None]
        weights, slope = torch.where(accept, position, weights), torch.where(accept, new_slope, slope)
        states.append(weights)
    return torch.stack(states), n_accepted / n_trajectories
