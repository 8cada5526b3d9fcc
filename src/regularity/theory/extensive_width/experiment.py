"""The chapter's runs: errors of every method on drawn teachers, by name, one entry a draw."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.randomness import Stream
from regularity.foundations.spectra import (
    SpectralLaw,
    denoise_symmetric,
    truncate_symmetric,
    wishart_law,
)
from regularity.theory.extensive_width.method import (
    gamp_rie,
    matrix_error,
    network_matrix,
    state_evolution,
    train_networks,
)
from regularity.theory.extensive_width.problems import Samples, draw_samples, label
from regularity.theory.extensive_width.rivals import regress_on_inputs, regress_on_products, sample_posterior

# --- Denoising ---------------------------------------------------------------------------------------------------


def noisy_matrix(
    d: int, width_ratio: float, noise: float, generator: torch.Generator
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """A network's matrix, and the same under noise."""
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    truth = network_matrix(draw(round(width_ratio * d), d))
    entries = draw(d, d)
    return truth, truth + noise**0.5 * (entries + entries.T) / (2 * d) ** 0.5


def denoising_errors(
    d: int, width_ratio: float, noise: float, generator: torch.Generator
) -> dict[str, float]:
    """Errors of three denoisers on one matrix: the best, the best linear one, truncation to the true rank."""
    law = wishart_law(width_ratio)
    truth, noisy = noisy_matrix(d, width_ratio, noise, generator)
    shift = law.mean * torch.eye(d, dtype=truth.dtype)
    estimates = {
        "shrinkage": denoise_symmetric(noisy, law, noise),
        "linear shrinkage": shift + (noisy - shift) / (1 + noise),
        "truncation": truncate_symmetric(noisy, round(width_ratio * d)),
    }
    return {name: matrix_error(estimate, truth).item() for name, estimate in estimates.items()}


# --- GAMP-RIE and regression -------------------------------------------------------------------------------------


def gamp_error(drawn: Samples, law: SpectralLaw, label_noise: float, n_steps: int = 80) -> float:
    """Error of the algorithm's last iterate, in single precision."""
    fit = gamp_rie(drawn.inputs.float(), drawn.labels.float(), law, label_noise, n_steps=n_steps)
    return matrix_error(fit.estimate, drawn.matrix).item()


def product_error(drawn: Samples, law: SpectralLaw, label_noise: float) -> float:
    """Error of regression on all products of two coordinates."""
    return matrix_error(
        regress_on_products(drawn.inputs, drawn.labels, law.mean, label_noise), drawn.matrix
    ).item()


def linear_error(drawn: Samples, law: SpectralLaw) -> float:
    """Error of linear regression: half the mean squared error of what it predicts."""
    slopes = regress_on_inputs(drawn.inputs, drawn.labels, law.mean)
    prior = law.mean * torch.eye(len(slopes)).to(slopes)
    return matrix_error(prior, drawn.matrix).item() + slopes.square().sum().item() / 2


def deviations(
    d: int,
    width_ratio: float,
    sampling_ratio: float,
    stream: Stream,
    *,
    n_steps: int,
    n_draws: int,
    device: torch.device | str = "cpu",
) -> tuple[Float[Tensor, "n t"], Float[Tensor, " n"]]:
    """Errors of undamped iterates on noiseless labels, and how far their mean |log ratio| to state evolution is."""
    law = wishart_law(width_ratio)
    theory = state_evolution(law, sampling_ratio, n_steps=n_steps)
    errors = []
    for k in range(n_draws):
        drawn = draw_samples(d, width_ratio, sampling_ratio, generator=stream(d, k), device=device)
        inputs, labels = drawn.inputs.float(), drawn.labels.float()
        fit = gamp_rie(inputs, labels, law, n_steps=n_steps, damping=0.0, tolerance=0.0)
        errors.append(matrix_error(fit.history, drawn.matrix).cpu())
    errors = torch.stack(errors)
    return errors, (errors / theory).log().abs().mean(dim=1)


def uneven_inputs(
    d: int, width_ratio: float, sampling_ratio: float, exponent: float, generator: torch.Generator
) -> Samples:
    """A teacher's labels of inputs whose k-th coordinate has a variance like k to minus an exponent, of mean 1."""
    drawn = draw_samples(d, width_ratio, sampling_ratio, generator=generator)
    variances = torch.arange(1, d + 1, dtype=torch.float64) ** -exponent
    return label(drawn.inputs * (variances / variances.mean()).sqrt(), drawn.weights)


def iterate_errors(drawn: Samples, law: SpectralLaw, n_steps: int) -> Float[Tensor, " t"]:
    """Errors of the algorithm's iterates on labels without noise."""
    fit = gamp_rie(drawn.inputs, drawn.labels, law, n_steps=n_steps, tolerance=0.0)
    return matrix_error(fit.history, drawn.matrix)


# --- Ensembles ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EnsembleErrors:
    """Errors of several estimates of one matrix.

    Attributes
    ----------
    single
        Mean error of one of them.
    averaged
        Error of the mean of infinitely many: that of theirs, less its share of their spread.
    loss
        Largest mean squared error on the samples, as a share of the labels' variance.
    """

    single: float
    averaged: float
    loss: float = 0.0


def ensemble_errors(
    draws: Float[Tensor, "b d d"], truth: Float[Tensor, "d d"], loss: float = 0.0
) -> EnsembleErrors:
    """Errors of several estimates, and of their mean as if there were infinitely many."""
    n = len(draws)
    single = matrix_error(draws, truth).mean().item()
    of_mean = matrix_error(draws.mean(dim=0), truth).item()
    return EnsembleErrors(single, of_mean - (single - of_mean) / (n - 1), loss)


def descend(
    drawn: Samples,
    n_networks: int,
    generator: torch.Generator,
    *,
    learning_rate: float,
    n_steps: int,
    start_scale: float = 1.0,
) -> EnsembleErrors:
    """Gradient descent from several starts on the same samples, in single precision."""
    inputs, labels = drawn.inputs.float(), drawn.labels.float()
    start = torch.randn(n_networks, *drawn.weights.shape, generator=generator).to(inputs)
    weights, losses = train_networks(
        inputs, labels, start_scale * start, learning_rate=learning_rate, n_steps=n_steps
    )
    loss = (losses.max() / labels.var()).item()
    return ensemble_errors(network_matrix(weights).to(drawn.matrix), drawn.matrix, loss)


def sample(
    drawn: Samples,
    label_noise: float,
    n_chains: int,
    generator: torch.Generator,
    *,
    n_trajectories: int,
    **options: float,
) -> EnsembleErrors:
    """Draws from the posterior: the last two thirds of several chains from the prior, in single precision."""
    inputs, labels = drawn.inputs.float(), drawn.labels.float()
    start = torch.randn(n_chains, *drawn.weights.shape, generator=generator).to(inputs)
    states, _ = sample_posterior(
        inputs, labels, start, label_noise, n_trajectories=n_trajectories, generator=generator, **options
    )
    means = network_matrix(states[n_trajectories // 3 :]).to(drawn.matrix)
    single = matrix_error(means, drawn.matrix).mean().item()
    # Chains are independent, states of one chain are not: the spread that counts is that of the chains' means.
    return EnsembleErrors(single, ensemble_errors(means.mean(dim=0), drawn.matrix).averaged)
