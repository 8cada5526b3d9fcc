"""Teachers: networks with random weights that label random inputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_at_least, check_not_negative
from regularity.theory.extensive_width.checks import as_moderate
from regularity.theory.extensive_width.method import network_labels, network_matrix


@dataclass(frozen=True)
class Samples:
    """What a teacher has labelled, and the teacher.

    Attributes
    ----------
    inputs, labels
        The samples.
    weights, matrix
        Its weights, and S = WᵀW/√(md).
    """

    inputs: Float[Tensor, "n d"]
    labels: Float[Tensor, " n"]
    weights: Float[Tensor, "m d"]
    matrix: Float[Tensor, "d d"]


def label_variance(neuron_noise: float) -> float:
    """Variance Δ = 2δ(2 + δ) on the labels from noise of variance δ within each neuron, as the width grows."""
    check_not_negative("neuron_noise", neuron_noise)
    return 2 * neuron_noise * (2 + neuron_noise)


def label(
    inputs: Float[Tensor, "n d"],
    weights: Float[Tensor, "m d"],
    neuron_noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Label inputs with y = Σ_k [(w_k·x/√d + √δ z_k)² − δ]/√m, with a new z_k for each sample and neuron."""
    inputs, weights = as_moderate(inputs=inputs, weights=weights)
    check_not_negative("neuron_noise", neuron_noise)
    labels, neurons = network_labels(inputs, weights)
    if neuron_noise > 0:
        noise = torch.randn(neurons.shape, generator=generator, dtype=inputs.dtype)
        neurons = neurons + neuron_noise**0.5 * noise.to(neurons.device)
        labels = (neurons.square() - neuron_noise).sum(dim=0) / len(weights) ** 0.5
    return Samples(inputs, labels, weights, network_matrix(weights))


def draw_samples(
    d: int,
    width_ratio: float,
    sampling_ratio: float,
    neuron_noise: float = 0.0,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Samples:
    """Draw a teacher of κd neurons, and αd² samples of it: standard normal weights and inputs."""
    m, n = round(width_ratio * d), round(sampling_ratio * d**2)
    check_at_least("width_ratio times d", m, 1)
    check_at_least("sampling_ratio times the square of d", n, 2)
    draw = {"generator": generator, "dtype": torch.float64}
    weights, inputs = torch.randn(m, d, **draw).to(device), torch.randn(n, d, **draw).to(device)
    return label(inputs, weights, neuron_noise, generator)
