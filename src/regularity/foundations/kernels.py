"""Kernels of infinitely wide networks, and the Gaussian kernel.

Of a wide network there are two: that of the Gaussian process of its outputs, and its neural tangent kernel. Both
follow one recursion over the layers. A layer asks for two Gaussian means of the activation: closed forms for "relu"
(arc-cosine kernels) and "erf", a Hermite series by Gauss's quadrature for any other.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_positive,
    check_squares,
)
from regularity.foundations.choices import choose
from regularity.foundations.polynomials import gauss_hermite, hermite_basis


class Duals(NamedTuple):
    """Means over Gaussian pairs (u, v): of σ(u)σ(v), and of σ'(u)σ'(v)."""

    values: Tensor
    slopes: Tensor


class Kernels(NamedTuple):
    """The two kernels of an infinitely wide network, between n and m inputs.

    Attributes
    ----------
    nngp
        Covariance of the outputs of random networks, which are a Gaussian process.
    ntk
        Neural tangent kernel: the inner product of the outputs' derivatives in all parameters.
    """

    nngp: Float[Tensor, "n m"]
    ntk: Float[Tensor, "n m"]


Activation = str | Callable[[Tensor], Tensor]

# --- Gaussian means of activations -------------------------------------------------------------------------------


def _cosines(covariance: Tensor, scales: Tensor) -> Tensor:
    """Correlations; what is 1 or −1 up to rounding is exactly that, as a rounded cosine spoils half its digits."""
    cosines = (covariance / scales).clamp(-1, 1)
    edge = 1 - 8 * torch.finfo(cosines.dtype).eps
    return torch.where(cosines.abs() > edge, cosines.sign(), cosines)


def _relu(covariance: Tensor, left: Tensor, right: Tensor) -> Duals:
    scales = (left * right).sqrt()
    cosines = _cosines(covariance, scales)
    angles = torch.pi - torch.acos(cosines)
    sines = (1 - cosines.square()).sqrt_()
    return Duals(scales * (sines + angles * cosines) / (2 * torch.pi), angles / (2 * torch.pi))


def _erf(covariance: Tensor, left: Tensor, right: Tensor) -> Duals:
    scales = ((1 + 2 * left) * (1 + 2 * right)).sqrt()
    values = 2 / torch.pi * torch.asin((2 * covariance / scales).clamp(-1, 1))
    determinants = (left * right - covariance.square()).clamp_min(0)
    return Duals(values, 4 / torch.pi / (1 + 2 * left + 2 * right + 4 * determinants).sqrt())


def hermite_coefficients(
    activation: Callable[[Tensor], Tensor], stds: Float[Tensor, " n"], *, n_terms: int = 64
) -> Float[Tensor, "n k"]:
    """Expand σ(s·u), for a standard normal u, in normalised Hermite polynomials of u.

    Parameters
    ----------
    activation
        σ, entry by entry.
    stds
        The standard deviations s, positive.
    n_terms
        Terms of the series, and nodes of the Gauss-Hermite quadrature that computes it.

    Returns
    -------
    a_k(s) = E[σ(su) h_k(u)] for k = 0, 1, ..., one row a standard deviation. Exact for polynomials σ of a degree
    below n_terms.

    Raises
    ------
    ValueError
        If `stds` are not finite and positive, `n_terms` is below 2, or σ is not finite at a node.

    Examples
    --------
    >>> hermite_coefficients(torch.square, torch.tensor([1.0]), n_terms=4)
    tensor([[1.0000, 0.0000, 1.4142, 0.0000]])
    """
    check_at_least("n_terms", n_terms, 2)
    (stds,) = as_floats(stds=stds)
    if not bool((stds > 0).all()):
        raise ValueError(f"stds must be positive; got {stds.min().item():g}")
    nodes, weights = (part.to(stds.device) for part in gauss_hermite(n_terms))
    values = activation(stds.double()[:, None] * nodes)
    check_finite("activation", values)
    found = (values * weights) @ hermite_basis(nodes, n_terms - 1)
    scale = found.abs().amax(dim=1, keepdim=True)
    return found.where(found.abs() > 1e-15 * n_terms * scale, 0.0).to(stds.dtype)


def _series(activation: Callable[[Tensor], Tensor], n_terms: int) -> Callable[..., Duals]:
    """Mehler's formula: E[σ(u)σ(v)] = Σ a_k(s) a_k(s') ρ^k; its derivative in the covariance is E[σ'(u)σ'(v)]."""

    def dual(covariance: Tensor, left: Tensor, right: Tensor) -> Duals:
        scales = (left * right).sqrt()
        cosines = _cosines(covariance, scales)
        ours, theirs = (
            hermite_coefficients(activation, v.flatten().sqrt(), n_terms=n_terms).reshape(*v.shape, n_terms)
            for v in (left, right)
        )
        values, slopes = torch.zeros_like(covariance), torch.zeros_like(covariance)
        for k in range(n_terms - 1, -1, -1):  # Horner's rule, for the series and its derivative
            slopes.mul_(cosines).add_(values)
            values.mul_(cosines).add_(ours[..., k] * theirs[..., k])
        return Duals(values, slopes / scales)

    return dual


DUALS = {"relu": _relu, "erf": _erf}


def _dual_of(activation: Activation, n_terms: int) -> Callable[..., Duals]:
    if callable(activation):
        return _series(activation, n_terms)
    return choose("activation", activation, DUALS)


# --- The recursion -----------------------------------------------------------------------------------------------


def wide_network_kernels(
    inputs: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"] | None = None,
    *,
    depth: int,
    bias_std: float = 0.0,
    activation: Activation = "relu",
    n_terms: int = 64,
) -> Kernels:
    """Kernels of a fully connected network whose hidden layers are infinitely wide, by recursion over its layers.

    The parametrisation is that of the neural tangent kernel: weights and biases are standard normal, a layer computes
    W a/√(its inputs) + bias_std·b, and gradient descent moves W and b. There is no √2 for the ReLU.

    Parameters
    ----------
    inputs
        Points, one a row.
    others
        Other points for the columns; None: the same.
    depth
        Layers of weights: one more than there are hidden layers. 1: a linear model.
    bias_std
        Weight β of the biases, not negative.
    activation
        "relu", "erf", or a function σ entry by entry. For that a Hermite series is summed: quick to converge where σ
        is smooth, exact where it is a polynomial.
    n_terms
        Terms of the series.

    Returns
    -------
    Both kernels, in the type of the inputs; they are computed in double precision.

    Raises
    ------
    ValueError
        If a shape, `depth` or `bias_std` is wrong, there is no such activation, the numbers are not finite or too
        large, or an input is zero although there are no biases.

    References
    ----------
    Jacot, Gabriel and Hongler (2018), Theorem 1; Cho and Saul (2009), Kernel methods for deep learning.

    Examples
    --------
    >>> wide_network_kernels(torch.eye(2), depth=2).ntk
    tensor([[0.5000, 0.0796],
            [0.0796, 0.5000]])
    """
    check_at_least("depth", depth, 1)
    check_at_least("bias_std", bias_std, 0)
    check_finite("bias_std", bias_std)
    dual = _dual_of(activation, n_terms)
    inputs, columns = as_floats(inputs=inputs, others=inputs if others is None else others)
    dtype = inputs.dtype
    if inputs.ndim != 2 or columns.ndim != 2 or inputs.shape[1] != columns.shape[1]:
        shapes = tuple(inputs.shape), tuple(columns.shape)
        raise ValueError(f"inputs and others must be (n, d) and (m, d); got {shapes[0]} and {shapes[1]}")
    for name, points in {"inputs": inputs, "others": columns}.items():
        check_squares(name, points)
    rows, columns = inputs.double(), columns.double()
    d, shift = rows.shape[1], bias_std**2
    left, right = (points.square().sum(dim=1) / d + shift for points in (rows, columns))
    for name, variances in {"inputs": left, "others": right}.items():
        if depth > 1 and not bool((variances > 0).all()):
            raise ValueError(f"{name} must not be zero where bias_std is 0; got a row of zeros")
    nngp = rows @ columns.T / d + shift
    ntk = nngp
    for _ in range(depth - 1):
        values, slopes = dual(nngp, left[:, None], right[None, :])
        left, right = (dual(v, v, v).values + shift for v in (left, right))
        nngp = values + shift
        ntk = ntk * slopes + nngp
    return Kernels(nngp.to(dtype), ntk.to(dtype))


# --- Of distances ------------------------------------------------------------------------------------------------


def gaussian_kernel(
    points: Float[Tensor, "n d"], others: Float[Tensor, "m d"], *, lengthscale: float
) -> Float[Tensor, "n m"]:
    """Compute the Gaussian kernel exp(−‖x − z‖²/(2·lengthscale²)), of the smoothest functions.

    Parameters
    ----------
    points, others
        x and z, one a row.
    lengthscale
        Positive, in the units of the points.

    Returns
    -------
    One row a point, one column another.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite or its square is not, or `lengthscale` is not positive.

    Examples
    --------
    >>> gaussian_kernel(torch.zeros(1, 2), torch.ones(1, 2), lengthscale=1.0)
    tensor([[0.3679]])
    """
    points, others = as_floats(points=points, others=others)
    check_positive("lengthscale", lengthscale)
    for name, values in {"points": points, "others": others}.items():
        if values.ndim != 2 or values.shape[1] != points.shape[1]:
            raise ValueError(
                f"{name} must be two-dimensional, with columns as points; got {tuple(values.shape)}"
            )
        check_squares(name, values / lengthscale)
    return torch.exp(-torch.cdist(points, others).square() / (2 * lengthscale**2))
