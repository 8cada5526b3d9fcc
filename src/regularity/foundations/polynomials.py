"""Orthonormal polynomials of one variable and of several, with the quadratures that integrate them.

The Hermite polynomials h_0, h_1, ... are orthonormal under the standard normal law, the Legendre polynomials under
the uniform law on [−1, 1]. Either family obeys x p_j = √β_j p_{j−1} + √β_{j+1} p_{j+1}, with β_j = j for Hermite and
j²/(4j² − 1) for Legendre (Gautschi, "Orthogonal Polynomials: Computation and Approximation", 2004, table 1.1).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from scipy.special import roots_hermitenorm, roots_legendre
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least

# --- One variable ------------------------------------------------------------------------------------------------


def hermite_basis(points: Float[Tensor, "*shape"], degree: int) -> Float[Tensor, "*shape k"]:
    """Evaluate the Hermite polynomials h_0, ..., h_k that are orthonormal under the standard normal law.

    Parameters
    ----------
    points
        Where, on the real line.
    degree
        The highest degree k, at least 0.

    Returns
    -------
    h_j(x) at [..., j] for j up to the degree: h_0 = 1, h_1 = x, h_2 = (x² − 1)/√2.

    Raises
    ------
    ValueError
        If `points` are empty, NaN or infinite, `degree` is negative, or a value overflows the type of the points.

    Examples
    --------
    >>> hermite_basis(torch.tensor([1.0]), 2)
    tensor([[1., 1., 0.]])
    """
    return _basis(points, degree, lambda j: float(j))


def legendre_basis(points: Float[Tensor, "*shape"], degree: int) -> Float[Tensor, "*shape k"]:
    """Evaluate the Legendre polynomials that are orthonormal under the uniform law on [−1, 1].

    Parameters
    ----------
    points
        Where, in [−1, 1].
    degree
        The highest degree k, at least 0.

    Returns
    -------
    √(2j + 1) P_j(x) at [..., j] for j up to the degree: 1, √3 x, √5 (3x² − 1)/2.

    Raises
    ------
    ValueError
        If `points` are empty, NaN or outside [−1, 1], or `degree` is negative.

    Examples
    --------
    >>> legendre_basis(torch.tensor([1.0]), 2)
    tensor([[1.0000, 1.7321, 2.2361]])
    """
    (points,) = as_floats(points=points)
    if not bool((points.abs() <= 1).all()):
        raise ValueError(f"points must lie in [-1, 1]; got {points[points.abs().argmax()].item():g}")
    return _basis(points, degree, lambda j: j**2 / (4 * j**2 - 1))


def _basis(points: Tensor, degree: int, beta: Callable[[int], float]) -> Tensor:
    """Recursion of three terms, from the polynomial of degree 0, which is 1."""
    (points,) = as_floats(points=points)
    check_at_least("degree", degree, 0)
    previous, last = torch.zeros_like(points), torch.ones_like(points)
    values = [last]
    for j in range(1, degree + 1):
        step = points * last - (math.sqrt(beta(j - 1)) * previous if j > 1 else 0)
        previous, last = last, step / math.sqrt(beta(j))
        values.append(last)
    found = torch.stack(values, dim=-1)
    if not bool(found.isfinite().all()):
        raise ValueError(
            f"points must be small enough for degree {degree} in {points.dtype}; got {points.abs().max().item():g}"
        )
    return found


def gauss_hermite(n_nodes: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Find the nodes and weights that integrate polynomials below degree 2n under the standard normal law.

    Parameters
    ----------
    n_nodes
        n, at least 1.

    Returns
    -------
    nodes, weights
        In float64; the weights sum to 1.

    Raises
    ------
    ValueError
        If `n_nodes` is below 1.

    Examples
    --------
    >>> nodes, weights = gauss_hermite(3)
    >>> round(float(weights @ nodes**4), 12)
    3.0
    """
    return _quadrature(roots_hermitenorm, n_nodes)


def gauss_legendre(n_nodes: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Find the nodes and weights that integrate polynomials below degree 2n under the uniform law on [−1, 1].

    Parameters
    ----------
    n_nodes
        n, at least 1.

    Returns
    -------
    nodes, weights
        In float64; the weights sum to 1.

    Raises
    ------
    ValueError
        If `n_nodes` is below 1.

    Examples
    --------
    >>> nodes, weights = gauss_legendre(2)
    >>> round(float(weights @ nodes**2), 12)
    0.333333333333
    """
    return _quadrature(roots_legendre, n_nodes)


def _quadrature(rule: Callable[[int], tuple], n_nodes: int) -> tuple[Tensor, Tensor]:
    """Bring SciPy's rule to tensors, its weights to the sum 1."""
    check_at_least("n_nodes", n_nodes, 1)
    nodes, weights = (torch.as_tensor(part, dtype=torch.float64) for part in rule(n_nodes))
    return nodes, weights / weights.sum()


# --- Several variables -------------------------------------------------------------------------------------------


def total_degree_indices(n_variables: int, degree: int) -> Int[Tensor, "n_terms n_variables"]:
    """List the exponents of all products of polynomials whose degrees sum to at most `degree`.

    Parameters
    ----------
    n_variables
        d, at least 1.
    degree
        k, at least 0.

    Returns
    -------
    One row a term, C(d + k, k) of them, ordered by their sum; the first is all zeros.

    Raises
    ------
    ValueError
        If `n_variables` is below 1 or `degree` negative.

    Examples
    --------
    >>> total_degree_indices(2, 1).tolist()
    [[0, 0], [0, 1], [1, 0]]
    """
    check_at_least("n_variables", n_variables, 1)
    check_at_least("degree", degree, 0)

    def compositions(total: int, parts: int) -> list[tuple[int, ...]]:
        if parts == 1:
            return [(total,)]
        return [
            (first, *rest) for first in range(total + 1) for rest in compositions(total - first, parts - 1)
        ]

    return torch.tensor([term for total in range(degree + 1) for term in compositions(total, n_variables)])


def product_basis(
    bases: Float[Tensor, "n d k"], indices: Int[Tensor, "n_terms d"]
) -> Float[Tensor, "n n_terms"]:
    """Multiply polynomials of each variable to polynomials of all.

    Parameters
    ----------
    bases
        The polynomials of each variable at n points of d variables: `hermite_basis` of an (n, d) tensor.
    indices
        The degree in each variable, one row a product, as `total_degree_indices` lists them.

    Returns
    -------
    The products ∏ᵢ p_{indices[t, i]}(xᵢ), one row a point.

    Raises
    ------
    TypeError
        If `indices` are not whole numbers.
    ValueError
        If `bases` are empty, NaN or infinite, or `indices` ask for degrees that `bases` lack.

    Examples
    --------
    >>> bases = hermite_basis(torch.tensor([[2.0, 3.0]]), 1)
    >>> product_basis(bases, total_degree_indices(2, 1))
    tensor([[1., 3., 2.]])
    """
    (bases,) = as_floats(bases=bases)
    if indices.is_floating_point() or indices.dtype is torch.bool:
        raise TypeError(f"indices must be whole numbers; got {indices.dtype}")
    if bases.ndim != 3 or indices.ndim != 2 or indices.shape[1] != bases.shape[1]:
        raise ValueError(
            "indices must have one column for each variable of bases, which have shape (n, d, k); "
            f"got shapes {tuple(indices.shape)} and {tuple(bases.shape)}"
        )
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < bases.shape[2]):
        raise ValueError(
            f"indices must lie in 0..{bases.shape[2] - 1}, the degrees of bases; "
            f"got {int(indices.min())}..{int(indices.max())}"
        )
    products = bases[:, 0, indices[:, 0]]
    for variable in range(1, bases.shape[1]):
        products = products * bases[:, variable, indices[:, variable]]
    return products
