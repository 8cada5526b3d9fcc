"""Lagrangians with their curvature and growth, and forcings of one Barron norm in every dimension."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_at_least, check_positive
from regularity.foundations.randomness import random_signs
from regularity.theory.barron_pdes.method import Basis, Curvature, Growth, Lagrangian, barron_norm


def _square(vectors: Tensor) -> Tensor:
    return vectors.square().sum(dim=0)


def power_law(power: int, strength: float = 1.0) -> Lagrangian:
    """|∇u|²/2 + u²/2 + κ|u|^{p+1}/(p+1): the equation −Δu + u + κ|u|^{p−1}u = f.

    For even p the last term is κu^p, as the Barron norms need it, where u is not negative.
    """
    check_at_least("power", power, 2)
    check_positive("strength", strength)

    def density(points, u, gradient):
        return (_square(gradient) + u.square()) / 2 + strength * u.abs() ** (power + 1) / (power + 1)

    def curvature(u, gradient):
        return Curvature((1.0, 1.0), (1.0, 1 + strength * power * u.abs().max().item() ** (power - 1)))

    return Lagrangian(density, curvature, Growth(power, 1.0, 1 + strength))


def quartic_gradient(dimension: int, strength: float = 1.0) -> Lagrangian:
    """|∇u|²/2 + κ|∇u|⁴/4 + u²/2: the equation −div((1 + κ|∇u|²)∇u) + u = f, so that p is 3."""
    check_positive("strength", strength)

    def density(points, u, gradient):
        square = _square(gradient)
        return (square + strength * square.square() / 2 + u.square()) / 2

    def curvature(u, gradient):
        return Curvature((1.0, 1 + 3 * strength * _square(gradient).max().item()), (1.0, 1.0))

    return Lagrangian(density, curvature, Growth(3, 1 + strength * dimension, 1.0))


def varying_coefficient(contrast: float = 0.5, frequency: float = 1.0) -> Lagrangian:
    """(1 + c cos(ω x_1))|∇u|²/2 + u²/2: a linear equation, so that p is 1."""

    def density(points, u, gradient):
        coefficient = 1 + contrast * torch.cos(frequency * points[0])
        return (coefficient * _square(gradient) + u.square()) / 2

    def curvature(u, gradient):
        return Curvature((1 - contrast, 1 + contrast), (1.0, 1.0))

    return Lagrangian(density, curvature, Growth(1, 1 + contrast * (1 + frequency), 1.0, frequency))


def stretched_area(strength: float = 2.0) -> Lagrangian:
    """|∇u|²/2 + κ(√(1 + |∇u|²) − 1): bounded curvature, λ = 1 and Λ = 1 + κ, whatever the function."""

    def density(points, u, gradient):
        square = _square(gradient)
        return square / 2 + strength * ((1 + square).sqrt() - 1)

    def curvature(u, gradient):
        return Curvature((1.0, 1 + strength), (0.0, 0.0))

    return Lagrangian(density, curvature)


def draw_forcing(
    basis: Basis,
    dimension: int,
    norm: float,
    generator: torch.Generator | None = None,
    *,
    positive: bool = False,
) -> Float[Tensor, "*modes"]:
    """Draw coefficients of a sum of cos x_i and cos x_i cos x_{i+1}, brought to a Barron norm.

    Parameters
    ----------
    basis
        Of cosines, of two modes or more.
    dimension
        d.
    norm
        The norm, whatever the dimension.
    generator
        Source of the weights, which are uniform up to a random sign, in [½, 1] of one axis and [0, ½] of two.
    positive
        Whether to add a constant that makes it positive.

    Returns
    -------
    The coefficients.
    """
    check_at_least("dimension", dimension, 1)
    check_positive("norm", norm)
    coefficients = torch.zeros(len(basis.frequencies) ** dimension, dtype=torch.float64)
    strides = [len(basis.frequencies) ** axis for axis in range(dimension)]
    sizes = torch.rand(2 * dimension, generator=generator, dtype=torch.float64) / 2
    signs = random_signs(sizes, generator)
    coefficients[strides] = signs[:dimension] * (0.5 + sizes[:dimension])
    pairs = [first + second for first, second in pairwise(strides)]
    coefficients[pairs] = (signs * sizes)[dimension : 2 * dimension - 1]
    if positive:
        coefficients[0] = coefficients.abs().sum()
    coefficients = coefficients.reshape([len(basis.frequencies)] * dimension).to(basis.values)
    return norm * coefficients / barron_norm(coefficients, basis)
