"""Hierarchical polynomials h = g(p(x)) of normal inputs, and what is known of the default one in closed form."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.choices import choose
from regularity.foundations.polynomials import hermite_basis


def _powers(points: Tensor, degree: int) -> Tensor:
    return hermite_basis(points, degree)[..., degree]


def _products(points: Tensor, degree: int) -> Tensor:
    return points.reshape(len(points), -1, degree).prod(dim=2)


TERMS = {"powers": _powers, "products": _products}


class Samples(NamedTuple):
    """Inputs, their labels h(x), and the hidden values p(x), which no method sees."""

    inputs: Float[Tensor, "n d"]
    labels: Float[Tensor, " n"]
    hidden: Float[Tensor, " n"]


@dataclass(frozen=True)
class HierarchicalPolynomial:
    """h = g(p(x)) with E p = 0, E p² = 1.

    Attributes
    ----------
    dimension
        d; even, and a multiple of the degree for products.
    degree
        k.
    terms
        "powers": p = d^(-1/2) Σ_j ± h_k(x_j). "products": p = (k/d)^(1/2) Σ ± x_1⋯x_k over blocks of k coordinates.
        Signs alternate.
    link
        Coefficients of g in h_0, h_1, ..., brought to a sum of squares of one. The second, E g', must not be zero if
        the feature is to be found.
    """

    dimension: int
    degree: int = 2
    terms: str = "powers"
    link: tuple[float, ...] = (0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        choose("terms", self.terms, TERMS)
        check_at_least("degree", self.degree, 1)
        check_at_least("dimension", self.dimension, 2)
        block = self.degree if self.terms == "products" else 1
        if self.dimension % block or self.dimension // block % 2:
            raise ValueError(f"dimension must be a multiple of {2 * block}; got {self.dimension}")
        if not any(self.link):
            raise ValueError(f"link must not be zero; got {self.link}")

    def feature(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Compute p."""
        (points,) = as_floats(points=points)
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise ValueError(f"points must be (n, {self.dimension}); got {tuple(points.shape)}")
        terms = TERMS[self.terms](points, self.degree)
        return (terms[:, ::2] - terms[:, 1::2]).sum(dim=1) / terms.shape[1] ** 0.5

    def apply_link(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Compute g."""
        weights = torch.tensor(self.link).to(values)
        return hermite_basis(values, len(self.link) - 1) @ (weights / weights.norm())

    def draw(self, n: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Samples:
        """Draw samples in single precision; their labels are computed in double."""
        inputs = torch.randn(n, self.dimension, generator=generator).to(device)
        hidden = self.feature(inputs.double())
        return Samples(inputs, self.apply_link(hidden).float(), hidden.float())


def best_quadratic(dimension: int) -> tuple[float, float]:
    """Describe the best quadratic fit of the default h, with infinitely many samples.

    Returns
    -------
    correlation, error
        The fit's correlation with p, and its mean squared error in units of the variance of h: what a method reaches
        that sees no more of h than its part of degree 2.

    Notes
    -----
    E[h h_2(x_j)] = ±1/√(2d) + √2/d. The second part is the shadow of p² on the radius. The variance is 1 + 3/d.
    """
    d = dimension
    return (1 + 4 / d) ** -0.5, 1 - (1 / 2 + 2 / d) / (1 + 3 / d)
