"""Spaces of polynomials, rows of a table as a space, and functions to approximate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from regularity.foundations.checks import as_floats, check_squares
from regularity.foundations.choices import choose
from regularity.foundations.polynomials import (
    gauss_hermite,
    gauss_legendre,
    hermite_basis,
    legendre_basis,
    product_basis,
    total_degree_indices,
)
from regularity.theory.volume_sampling.method import FeatureSpace, draw_by_rejection, uniform

# --- Squares of orthonormal polynomials as laws -------------------------------------------------------------------


def _legendre_squares(degrees: Tensor, generator: Generator | None) -> Tensor:
    """Draw from φ_j² dx/2 for each degree j, by rejection from the arcsine law, which twice over lies above it."""
    highest = int(degrees.max())

    def propose(waiting: Tensor, n_tries: int) -> tuple[Tensor, Tensor]:
        angle, level = uniform((2, len(waiting), n_tries), generator, degrees.device)
        points = torch.cos(math.pi * angle)
        squares = _of_degree(legendre_basis(points, highest), degrees[waiting, None]).square()
        return points, level < math.pi / 4 * torch.sin(math.pi * angle) * squares

    return draw_by_rejection(len(degrees), 2, propose, degrees.device)


def _hermite_squares(degrees: Tensor, generator: Generator | None) -> Tensor:
    """Draw from h_j² times the normal density, by bisection of its distribution function to the last digits."""
    level, highest = uniform(tuple(degrees.shape), generator, degrees.device), int(degrees.max())
    low = torch.full_like(level, -2 * math.sqrt(highest + 1) - 9)  # what lies beyond has no digit in a double
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        below = _hermite_squares_cdf(middle, highest, degrees) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def _hermite_squares_cdf(points: Tensor, degree: int, degrees: Tensor) -> Tensor:
    """Distribution function of h_j² times the normal density, j = `degrees`: F_j = F_{j−1} − h_{j−1} h_j ρ/√j."""
    bases = hermite_basis(points, degree)
    density = torch.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    steps = bases[:, :-1] * bases[:, 1:] * density[:, None]
    steps = steps / torch.arange(1, degree + 1).to(steps).sqrt()
    ends = torch.cat([torch.special.ndtr(points)[:, None], -steps], dim=1).cumsum(dim=1)
    return _of_degree(ends, degrees)


def _of_degree(values: Tensor, degrees: Tensor) -> Tensor:
    return values.take_along_dim(degrees[..., None], dim=-1)[..., 0]


def _uniform_points(shape: tuple[int, ...], generator: Generator | None, device: torch.device) -> Tensor:
    return 2 * uniform(shape, generator, device) - 1


def _normal_points(shape: tuple[int, ...], generator: Generator | None, device: torch.device) -> Tensor:
    where = "cpu" if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=where).to(device)


# Basis, draws of the measure, draws of the squares.
FAMILIES = {
    "legendre": (legendre_basis, _uniform_points, _legendre_squares),
    "hermite": (hermite_basis, _normal_points, _hermite_squares),
}


# --- Spaces -------------------------------------------------------------------------------------------------------


def polynomial_space(family: str, indices: Int[Tensor, "m d"]) -> FeatureSpace:
    """Products of orthonormal polynomials under a product law.

    Parameters
    ----------
    family
        "legendre", for the uniform law on [−1, 1]ᵈ, or "hermite", for the standard normal law.
    indices
        The degree in each variable, one row a product, on the device where points are to live.

    Returns
    -------
    The space. Its Christoffel law is the mean of the laws φ_j² dμ: draw j, then each variable by itself.

    Raises
    ------
    ValueError
        If there is no such family, or no product, or one twice.
    """
    basis, draw_points, draw_squares = choose("family", family, FAMILIES)
    if indices.is_floating_point() or indices.ndim != 2 or not indices.numel():
        raise ValueError(f"indices must be whole numbers, a row a product; got {tuple(indices.shape)}")
    if len(indices.unique(dim=0)) < len(indices):
        raise ValueError("indices must differ from row to row, or the products are not independent")
    (m, n_variables), degree = indices.shape, int(indices.max())

    def features(points: Tensor) -> Tensor:
        flat = product_basis(basis(points.reshape(-1, n_variables), degree), indices)
        return flat.reshape(*points.shape[:-1], m)

    def draw_christoffel(n: int, generator: Generator | None) -> Tensor:
        chosen = (m * uniform((n,), generator, indices.device)).long()
        return draw_squares(indices[chosen].flatten(), generator).reshape(n, n_variables)

    return FeatureSpace(
        m,
        features,
        lambda n, generator: draw_points((n, n_variables), generator, indices.device),
        draw_christoffel,
        indices.device,
    )


def population_space(rows: Float[Tensor, "n m"]) -> FeatureSpace:
    """Linear functions of the rows of a table, under the uniform law on its rows; a point is the number of a row.

    Parameters
    ----------
    rows
        One row a member of the population. A column of ones gives an intercept.

    Returns
    -------
    The space, with a basis that is orthonormal over the rows, in double precision.

    Raises
    ------
    ValueError
        If the columns are not linearly independent.
    """
    (rows,) = as_floats(rows=rows)
    check_squares("rows", rows)
    rows = rows.double()
    if rows.ndim != 2 or torch.linalg.matrix_rank(rows) < rows.shape[1]:
        raise ValueError(f"rows must have linearly independent columns; got shape {tuple(rows.shape)}")
    basis = torch.linalg.qr(rows)[0] * len(rows) ** 0.5
    ends = basis.square().sum(dim=1).cumsum(dim=0)

    def draw_measure(n: int, generator: Generator | None) -> Tensor:
        return (len(rows) * uniform((n, 1), generator, rows.device)).floor()

    def draw_christoffel(n: int, generator: Generator | None) -> Tensor:
        level = uniform((n, 1), generator, rows.device) * ends[-1]
        return torch.searchsorted(ends, level, right=True).clamp_max(len(rows) - 1).double()

    def features(points: Tensor) -> Tensor:
        return basis[points[..., 0].long()]

    return FeatureSpace(basis.shape[1], features, draw_measure, draw_christoffel, rows.device)


# --- Functions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A function of some variables, and the polynomials that are to approximate it."""

    family: str
    n_variables: int
    function: Callable[[Tensor], Tensor]


TARGETS = {
    "Runge": Target("legendre", 1, lambda x: 1 / (1 + 5 * x[..., 0] ** 2)),
    "kink": Target("legendre", 1, lambda x: x[..., 0].abs()),
    "ridge": Target("legendre", 2, lambda x: 1 / (1 + 2 * (x[..., 0] + x[..., 1] / 2) ** 2)),
    "normal": Target("hermite", 1, lambda x: 1 / (1 + x[..., 0] ** 2 / 4)),
}


@dataclass(frozen=True)
class Problem:
    """A function f and a space, with the best that the space can do.

    Attributes
    ----------
    coefficients
        Of the orthogonal projection Pf.
    best
        ‖f − Pf‖² under μ.
    """

    space: FeatureSpace
    function: Callable[[Tensor], Tensor]
    coefficients: Float[Tensor, " m"]
    best: float


def approximate(function: str, degree: int, device: torch.device | str = "cpu") -> Problem:
    """Polynomials of a total degree for one of the functions, their best coefficients by quadrature."""
    chosen = choose("function", function, TARGETS)
    space = polynomial_space(chosen.family, total_degree_indices(chosen.n_variables, degree).to(device))
    points, weights = (part.to(device) for part in quadrature(chosen.family, chosen.n_variables))
    values, features = chosen.function(points), space.features(points)
    coefficients = features.T @ (weights * values)
    best = weights @ (values - features @ coefficients).square()
    return Problem(space, chosen.function, coefficients, best.item())


def quadrature(family: str, n_variables: int) -> tuple[Float[Tensor, "q d"], Float[Tensor, " q"]]:
    """Nodes and weights of a product rule; for Legendre in two halves, so that kinks at zero do no harm."""
    if family == "legendre":
        nodes, weights = gauss_legendre(60)
        nodes = torch.cat([(nodes - 1) / 2, (nodes + 1) / 2])
        weights = torch.cat([weights, weights]) / 2
    else:
        nodes, weights = gauss_hermite(200)
    grids = torch.cartesian_prod(*[nodes] * n_variables).reshape(-1, n_variables)
    products = torch.cartesian_prod(*[weights] * n_variables).reshape(-1, n_variables).prod(dim=1)
    return grids, products
