"""Small networks without batch normalisation, and random matrices whose noise is what the laws assume."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.checks import as_floats, check_at_least, check_not_negative

# --- Networks ----------------------------------------------------------------------------------------------------


def perceptron(n_inputs: int, width: int, n_classes: int = 10) -> nn.Module:
    """One hidden layer of tanh units."""
    return nn.Sequential(nn.Linear(n_inputs, width), nn.Tanh(), nn.Linear(width, n_classes))


def convolutional(n_inputs: int, width: int, n_classes: int = 10) -> nn.Module:
    """A small network in the manner of VGG, without batch normalisation: three times convolve, convolve, pool."""
    side, layers, channels = round(n_inputs**0.5), [], 1
    for n_channels in (width, 2 * width, 4 * width):
        for n_in in (channels, n_channels):
            layers += [nn.Conv2d(n_in, n_channels, 3, padding=1), nn.ReLU()]
        layers, channels, side = [*layers, nn.AvgPool2d(2)], n_channels, side // 2
    unflatten = nn.Unflatten(1, (1, round(n_inputs**0.5), round(n_inputs**0.5)))
    return nn.Sequential(unflatten, *layers, nn.Flatten(), nn.Linear(channels * side**2, n_classes))


NETWORKS = {"perceptron": perceptron, "convolutional": convolutional}


def first_points(network: nn.Module, n_runs: int, generator: torch.Generator) -> Float[Tensor, "runs d"]:
    """First parameters of several runs: weights normal with variance 1/fan-in (2 in front of ReLU), biases zero."""
    check_at_least("n_runs", n_runs, 1)
    gain = 2**0.5 if any(isinstance(layer, nn.ReLU) for layer in network.modules()) else 1.0
    runs = []
    for _ in range(n_runs):
        pieces = []
        for weights in network.parameters():
            drawn = torch.randn(weights.shape, generator=generator)
            scale = gain / weights[0].numel() ** 0.5 if weights.ndim > 1 else 0.0
            pieces.append((scale * drawn).flatten())
        runs.append(torch.cat(pieces))
    return torch.stack(runs)


# --- Random matrices ---------------------------------------------------------------------------------------------


def additive_spectrum(
    eigenvalues: Float[Tensor, " d"],
    noise: float,
    size: int | float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " d"]:
    """Eigenvalues of diag(eigenvalues) plus a symmetric matrix of independent entries of variance noise/(d·size)."""
    (eigenvalues,) = as_floats(eigenvalues=eigenvalues)
    check_not_negative("noise", noise)
    d = len(eigenvalues)
    drawn = torch.randn(d, d, generator=generator, dtype=torch.float64)
    wigner = (drawn + drawn.T) / 2**0.5 * (noise / (d * size)) ** 0.5
    return torch.linalg.eigvalsh(eigenvalues.double().diag() + wigner).to(eigenvalues)


def multiplicative_spectrum(
    eigenvalues: Float[Tensor, " d"], size: int, generator: torch.Generator | None = None
) -> Float[Tensor, " m"]:
    """The min(d, size) largest eigenvalues of the mean of xxᵀ over `size` vectors x ~ N(0, diag(eigenvalues))."""
    (eigenvalues,) = as_floats(eigenvalues=eigenvalues)
    check_not_negative("eigenvalues", eigenvalues)
    check_at_least("size", size, 1)
    scales = eigenvalues.double().sqrt() / size**0.5
    samples = torch.randn(size, len(eigenvalues), generator=generator, dtype=torch.float64) * scales
    smaller = samples @ samples.T if size < len(eigenvalues) else samples.T @ samples
    return torch.linalg.eigvalsh(smaller).clamp_min(0).to(eigenvalues)
