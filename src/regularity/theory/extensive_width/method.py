"""Learn a wide network with quadratic neurons from quadratically many samples, as well as anything can.

The network is a matrix, S = WᵀW/√(md), and the error of an estimate is ‖Ŝ − S‖²/d throughout: 1 for the prior mean
√κ I. `bayes_optimal_error` is the least error as d grows, `gamp_rie` the algorithm that reaches it, `state_evolution`
what the errors of its iterates must be. `train_networks` is plain gradient descent from many random initialisations.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from regularity.foundations.checks import check_at_least, check_not_negative, check_positive
from regularity.foundations.spectra import SpectralLaw, denoise_symmetric, denoising_error, wishart_law
from regularity.theory.extensive_width.checks import as_moderate, check_axis, check_samples

# --- The least error ---------------------------------------------------------------------------------------------


def recovery_threshold(width_ratio: float) -> float:
    """Samples over d² from which a network without noise can be recovered.

    The degrees of freedom of a positive semidefinite matrix of rank κd, over d²: κ − κ²/2, or ½ for κ of at least 1.
    """
    check_positive("width_ratio", width_ratio)
    narrow = min(float(width_ratio), 1.0)
    return narrow - narrow**2 / 2


def bayes_optimal_error(width_ratio: float, sampling_ratio: float, label_noise: float = 0.0) -> float:
    """Least error of any estimate of the network from n = αd² samples, as d grows.

    Parameters
    ----------
    width_ratio
        κ = m/d.
    sampling_ratio
        α = n/d², positive.
    label_noise
        Δ, the variance of the noise on the labels; those of a network without noise have variance 2(1 + κ).

    Returns
    -------
    The E that solves E = F(q), q = (Δ + 2E)/(4α); exactly 0 from the threshold on where there is no noise.

    Raises
    ------
    ValueError
        If a ratio is not positive, or the noise negative.
    """
    check_positive("sampling_ratio", sampling_ratio)
    check_not_negative("label_noise", label_noise)
    if label_noise == 0 and sampling_ratio >= recovery_threshold(width_ratio):
        return 0.0
    law = wishart_law(width_ratio)

    def excess(log_noise: float) -> float:  # F(q)/q falls with q, so that there is one root
        noise = math.exp(log_noise)
        return (label_noise + 2 * denoising_error(law, noise)) / (4 * sampling_ratio * noise) - 1

    # E <= 1 bounds q from above, E >= 0 from below.
    highest = (label_noise + 2) / (4 * sampling_ratio)
    lowest = label_noise / (4 * sampling_ratio) or 1e-12
    root = brentq(excess, math.log(lowest) - 1e-3, math.log(highest) + 1e-3, xtol=1e-12)
    return denoising_error(law, math.exp(root))


def learning_curve(
    width_ratio: float, noises: Float[Tensor, " k"], label_noise: float = 0.0
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """The curve of the least error, without solving anything: α = (Δ + 2F(q))/(4q) and E = F(q) at each q."""
    (noises,) = as_moderate(noises=noises)
    check_positive("noises", noises)
    check_not_negative("label_noise", label_noise)
    law = wishart_law(width_ratio)
    errors = torch.tensor([denoising_error(law, noise) for noise in noises.tolist()], dtype=torch.float64)
    return (label_noise + 2 * errors) / (4 * noises.double()), errors


# --- GAMP-RIE ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GampFit:
    """What the algorithm found, and its way there.

    Attributes
    ----------
    estimate
        Ŝ.
    noisy, noise
        The last matrix that was denoised, and its noise q: S + √(q/d) Z, if all is well.
    history
        Estimates after each iteration.
    """

    estimate: Float[Tensor, "d d"]
    noisy: Float[Tensor, "d d"]
    noise: float
    history: Float[Tensor, "t d d"]


def gamp_rie(
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    law: SpectralLaw,
    label_noise: float = 0.0,
    *,
    n_steps: int = 100,
    damping: float = 0.5,
    tolerance: float = 1e-5,
) -> GampFit:
    """Generalised approximate message passing whose denoiser is the best rotationally invariant one.

    Parameters
    ----------
    inputs
        Independent standard normal numbers.
    labels
        y = xᵀSx/√d + noise, up to a constant that need not be known.
    law
        Of the eigenvalues of S.
    label_noise
        Δ, the variance of the noise.
    n_steps
        Most iterations.
    damping
        How much of the old ω and V is kept, at least 0 and below 1.
    tolerance
        End when ‖Ŝ − Ŝ_old‖²/d is below.

    Returns
    -------
    The estimate of S, and the iterates.

    Raises
    ------
    ValueError
        If sizes differ, an entry is not finite or too large, all labels are the same, or an option is out of range.
    """
    inputs, labels = check_samples(inputs, labels)
    check_not_negative("label_noise", label_noise)
    check_at_least("n_steps", n_steps, 1)
    if not 0 <= damping < 1:
        raise ValueError(f"damping must be in [0, 1); got {damping}")
    n, d = inputs.shape
    labels = labels - labels.mean()
    estimate = law.mean * torch.eye(d).to(inputs)
    omega, variance, history = quadratic_forms(inputs, estimate), 2.0, []
    for _ in range(n_steps):
        # Residuals, and from their size the noise of the matrix that they point to.
        score = (labels - omega) / (label_noise + variance)
        precision = 2 * n / d**2 * score.square().mean().item()
        noise = 1 / (2 * precision) + 1e-9
        noisy = estimate + _adjoint(inputs, score) / (precision * d)
        # Denoise, with the error that this must leave.
        previous, estimate = estimate, denoise_symmetric(noisy, law, noise)
        new_variance = 2 * denoising_error(law, noise)
        # Predict the labels, less what they have said of themselves (Onsager's term).
        new_omega = _forms(inputs, estimate) - new_variance * score
        omega = damping * omega + (1 - damping) * new_omega
        variance = damping * variance + (1 - damping) * new_variance
        history.append(estimate)
        if (estimate - previous).square().sum() / d < tolerance:
            break
    return GampFit(estimate, noisy, noise, torch.stack(history))


def quadratic_forms(inputs: Float[Tensor, "n d"], matrix: Float[Tensor, "d d"]) -> Float[Tensor, " n"]:
    """xᵀSx/√d for each sample, less their mean: what S says of centred labels."""
    inputs, matrix = as_moderate(inputs=inputs, matrix=matrix)
    check_axis("matrix", matrix, -2, inputs.shape[-1])
    return _forms(inputs, matrix)


def _forms(inputs: Tensor, matrix: Tensor) -> Tensor:
    forms = ((inputs @ matrix) * inputs).sum(dim=1) / inputs.shape[1] ** 0.5
    return forms - forms.mean()


def quadratic_adjoint(inputs: Float[Tensor, "n d"], weights: Float[Tensor, " n"]) -> Float[Tensor, "d d"]:
    """Adjoint of `quadratic_forms`: a weighted sum of xxᵀ/√d, less its mean."""
    inputs, weights = as_moderate(inputs=inputs, weights=weights)
    return _adjoint(inputs, weights)


def _adjoint(inputs: Tensor, weights: Tensor) -> Tensor:
    centred = weights - weights.mean()
    total = inputs.T @ (centred[:, None] * inputs) / inputs.shape[1] ** 0.5
    return (total + total.T) / 2


def state_evolution(
    law: SpectralLaw, sampling_ratio: float, label_noise: float = 0.0, n_steps: int = 20
) -> Float[Tensor, " t"]:
    """Errors of the undamped iterates as d grows: E ← F((Δ + 2E)/(4α)), from E = 1 of the prior mean."""
    check_positive("sampling_ratio", sampling_ratio)
    check_not_negative("label_noise", label_noise)
    error, errors = 1.0, []
    for _ in range(n_steps):
        error = denoising_error(law, (label_noise + 2 * error) / (4 * sampling_ratio) + 1e-9)
        errors.append(error)
    return torch.tensor(errors, dtype=torch.float64)


def matrix_error(
    estimate: Float[Tensor, "*batch d d"], truth: Float[Tensor, "d d"]
) -> Float[Tensor, "*batch"]:
    """‖Ŝ − S‖²/d, half the mean squared error of the predicted labels."""
    estimate, truth = as_moderate(estimate=estimate, truth=truth)
    return (estimate - truth).square().sum(dim=(-2, -1)) / truth.shape[-1]


# --- Gradient descent --------------------------------------------------------------------------------------------


def network_labels(
    inputs: Float[Tensor, "n d"], weights: Float[Tensor, "*batch m d"]
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch m n"]]:
    """Outputs Σ_k (w_k·x/√d)²/√m of networks, and w_k·x/√d of their neurons."""
    inputs, weights = as_moderate(inputs=inputs, weights=weights)
    check_axis("weights", weights, -1, inputs.shape[-1])
    return _outputs(inputs, weights)


def _outputs(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    neurons = weights @ inputs.T / inputs.shape[1] ** 0.5
    return neurons.square().sum(dim=-2) / weights.shape[-2] ** 0.5, neurons


def network_gradient(
    inputs: Float[Tensor, "n d"], labels: Float[Tensor, " n"], weights: Float[Tensor, "*batch m d"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch m d"]]:
    """Loss Σ_i (f(x_i) − y_i)²/4 of networks, and its gradient in their weights."""
    inputs, labels, weights = as_moderate(inputs=inputs, labels=labels, weights=weights)
    check_axis("weights", weights, -1, inputs.shape[-1])
    return _gradient(inputs, labels, weights)


def _gradient(inputs: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    outputs, neurons = _outputs(inputs, weights)
    residuals = outputs - labels
    slopes = neurons.mul_(residuals[..., None, :]) @ inputs
    return residuals.square().sum(dim=-1) / 4, slopes / (weights.shape[-2] * inputs.shape[1]) ** 0.5


def train_networks(
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    start: Float[Tensor, "b m d"],
    *,
    learning_rate: float = 0.1,
    n_steps: int = 1000,
) -> tuple[Float[Tensor, "b m d"], Float[Tensor, " b"]]:
    """Gradient descent on all samples at once, without regularisation, from each of several starts.

    Parameters
    ----------
    inputs, labels
        The samples, the same for all.
    start
        Initial weights of b networks.
    learning_rate
        Of steps on Σ_i (f(x_i) − y_i)²/4.
    n_steps
        Steps of each.

    Returns
    -------
    weights
        Where they end.
    losses
        Mean squared errors on the samples.

    Raises
    ------
    ValueError
        If sizes differ, an entry is not finite, an option is out of range, or the descent diverges.
    """
    inputs, labels = check_samples(inputs, labels)
    inputs, labels, start = as_moderate(inputs=inputs, labels=labels, start=start)
    check_axis("start", start, -1, inputs.shape[-1])
    check_positive("learning_rate", learning_rate)
    weights = start
    for _ in range(n_steps):
        weights = weights - learning_rate * _gradient(inputs, labels, weights)[1]
    if not bool(weights.isfinite().all()):
        raise ValueError(f"learning_rate must be smaller: the descent diverges at {learning_rate}")
    losses = 4 * _gradient(inputs, labels, weights)[0] / len(labels)
    return weights, losses


def network_matrix(weights: Float[Tensor, "*batch m d"]) -> Float[Tensor, "*batch d d"]:
    """S = WᵀW/√(md), all that the outputs depend on."""
    (weights,) = as_moderate(weights=weights)
    m, d = weights.shape[-2:]
    return weights.mT @ weights / (m * d) ** 0.5
