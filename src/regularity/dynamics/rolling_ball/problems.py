"""Functions of one variable with wrinkles, and small classifiers of images."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.choices import choose

# --- Functions of one variable -----------------------------------------------------------------------------------


def rough_sum(x: Float[Tensor, "*shape"], n_terms: int = 100) -> Float[Tensor, "*shape"]:
    """Sum of sin(k²x)/k², k from 1: Riemann's function, which has wrinkles at every scale down to 1/n_terms²."""
    check_at_least("n_terms", n_terms, 1)
    (x,) = as_floats(x=x, integers=torch.float64)
    squares = torch.arange(1, n_terms + 1, dtype=x.dtype, device=x.device).square()
    return (torch.sin(x[..., None] * squares) / squares).sum(dim=-1)


def two_waves(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sin x + ½ sin(7x + 1): a valley with seven sharp minima."""
    (x,) = as_floats(x=x, integers=torch.float64)
    return torch.sin(x) + 0.5 * torch.sin(7 * x + 1)


def wave_bound(period: float, radius: float, slope: float = 0.0) -> float:
    """Bound on the oscillation of the offset surface of a periodic function plus a straight line.

    The highest points lie on a line, period·s apart with s = √(1 + slope²). A ball that rests on nothing else is
    highest over one of them and lowest between two, by s(ρ − √(ρ² − (period·s/2)²)), about period²s³/(8ρ). Infinite
    for a ball that falls through between them.
    """
    steepness = math.sqrt(1 + slope**2)
    half = period * steepness / 2
    return steepness * (radius - math.sqrt(radius**2 - half**2)) if half <= radius else math.inf


# --- Classifiers -------------------------------------------------------------------------------------------------


def _perceptron(shape: tuple[int, ...], n_classes: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, n_classes))


def _vgg9(shape: tuple[int, ...], n_classes: int, width: int) -> nn.Module:
    layers, n_in = [nn.Unflatten(-1, shape)], shape[0]
    for n_out in (width, 2 * width, 4 * width):
        for _ in range(2):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.GroupNorm(8, n_out), nn.ReLU()]
            n_in = n_out
        layers.append(nn.MaxPool2d(2))
    n_features = n_in * (shape[1] // 8) * (shape[2] // 8)
    hidden = [nn.Linear(n_features, 4 * width), nn.ReLU(), nn.Linear(4 * width, 4 * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(-3), *hidden, nn.Linear(4 * width, n_classes))


NETWORKS = {"perceptron": _perceptron, "vgg9": _vgg9}


def build_network(
    name: str, shape: tuple[int, ...], n_classes: int, *, width: int, generator: torch.Generator
) -> nn.Module:
    """Make a classifier of flat images, its weights drawn by He's rule from the generator, its biases zero.

    "perceptron" has one hidden layer. "vgg9" is convolutional, with group norm in the place of batch norm, which
    would let the loss of an image depend on the rest of the batch.
    """
    network = choose("name", name, NETWORKS)(shape, n_classes, width)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return network
