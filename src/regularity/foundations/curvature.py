"""Curvature of a loss whose Hessian is never formed: products, extreme eigenvalues, spectral density, trace.

A point is a flat vector θ of d parameters (`flat_parameters` makes one of a network), and a matrix A is known by its
product v ↦ Av alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.checks import as_floats, check_at_least, check_finite
from regularity.foundations.hypergradients import Product
from regularity.foundations.randomness import random_signs

# --- Products ----------------------------------------------------------------------------------------------------


def flat_parameters(
    network: nn.Module,
) -> tuple[Float[Tensor, " d"], Callable[[Tensor, Tensor], Tensor]]:
    """Parameters of a network as one vector, and the network as a function of that vector.

    Parameters
    ----------
    network
        Any module; its buffers stay as they are.

    Returns
    -------
    point
        A copy of all parameters, in the order of `network.parameters()`.
    call
        ``call(point, inputs)``, the network's outputs at other parameters: differentiable in both, and
        `torch.func.vmap` maps over several points.

    Raises
    ------
    ValueError
        If the network has no parameters.

    Examples
    --------
    >>> point, call = flat_parameters(nn.Linear(2, 1))
    >>> call(torch.tensor([2.0, 3.0, 1.0]), torch.tensor([[10.0, 100.0]]))
    tensor([[321.]])
    """
    named = {name: weights.detach() for name, weights in network.named_parameters()}
    if not named:
        raise ValueError("network must have parameters; got none")
    sizes = [weights.numel() for weights in named.values()]

    def call(point: Tensor, inputs: Tensor) -> Tensor:
        pieces = zip(named.items(), point.split(sizes), strict=True)
        weights = {name: piece.reshape(like.shape) for (name, like), piece in pieces}
        return torch.func.functional_call(network, weights, (inputs,))

    return torch.cat([weights.flatten() for weights in named.values()]), call


def hessian_product(loss: Callable[[Tensor], Tensor], point: Float[Tensor, "*shape"]) -> Product:
    """Products with the Hessian of a loss; the graph of the gradient is made once and serves them all.

    Parameters
    ----------
    loss
        A function of the point, twice differentiable, with one number as its value.
    point
        Where the Hessian is taken; vectors have its shape.

    Returns
    -------
    v ↦ ∇²loss(point) v.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian.

    Examples
    --------
    >>> product = hessian_product(lambda x: x[0] ** 2 * x[1], torch.tensor([1.0, 2.0]))
    >>> product(torch.tensor([1.0, 0.0]))
    tensor([4., 2.])
    """
    (point,) = as_floats(point=point)
    _, pull_back = torch.func.vjp(torch.func.grad(loss), point.detach())
    return lambda vector: pull_back(vector)[0]  # the Hessian is its own transpose


def gauss_newton_product(
    predict: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor], Tensor],
    point: Float[Tensor, " d"],
) -> Product:
    """Products with the generalised Gauss-Newton matrix JᵀLJ of the loss of a prediction.

    J is the derivative of the prediction in the point, and L the loss's Hessian in the prediction: what is left of
    the Hessian when the prediction's own curvature is dropped. It is positive semidefinite where the loss is convex.

    Parameters
    ----------
    predict
        The outputs, of any shape, as a function of the point.
    loss
        A function of the outputs, twice differentiable, with one number as its value.
    point
        Where the matrix is taken.

    Returns
    -------
    v ↦ JᵀLJ v.

    References
    ----------
    Schraudolph (2002), Fast curvature matrix-vector products for second-order gradient descent.
    """
    (point,) = as_floats(point=point)
    outputs, pull_back = torch.func.vjp(predict, point.detach())
    _, push_forward = torch.func.vjp(lambda change: pull_back(change)[0], torch.zeros_like(outputs))
    curve = hessian_product(loss, outputs)
    return lambda vector: pull_back(curve(push_forward(vector)[0]))[0]


# --- Lanczos -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tridiagonal:
    """What k steps of Lanczos make of a symmetric matrix A: A V = V T + β_k v_{k+1} e_kᵀ, with T tridiagonal.

    Attributes
    ----------
    diagonal
        Of T, in double precision.
    off_diagonal
        β_1 to β_k: all but the last stand beside the diagonal, and the last is the length of the remainder. It is
        zero where the basis spans an invariant subspace, in which T is exact.
    basis
        The columns of V as rows, orthonormal.
    """

    diagonal: Float[Tensor, " k"]
    off_diagonal: Float[Tensor, " k"]
    basis: Float[Tensor, "k d"]

    def eigenpairs(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k"]]:
        """Solve for the eigenvalues of T, which are A's Ritz values.

        Returns
        -------
        values
            In ascending order.
        vectors
            Eigenvectors of T, as columns.
        """
        beside = self.off_diagonal[:-1]
        return torch.linalg.eigh(self.diagonal.diag() + beside.diag(1) + beside.diag(-1))


def lanczos(product: Product, start: Float[Tensor, " d"], *, n_steps: int) -> Tridiagonal:
    """Reduce a symmetric matrix to a small tridiagonal one by Lanczos' recursion.

    Each new direction is made orthogonal to all before it, twice: without that, rounding lets copies of an extreme
    eigenvalue appear.

    Parameters
    ----------
    product
        v ↦ Av, for a symmetric A.
    start
        The first direction; its length does not matter.
    n_steps
        Number of steps and of products, at most d. It stops before where the directions are exhausted.

    Returns
    -------
    The tridiagonal matrix and its basis.

    Raises
    ------
    ValueError
        If `n_steps` is not between 1 and d, `start` is zero, or the product has another shape.
    FloatingPointError
        If a product is not finite.

    References
    ----------
    Lanczos (1950), An iteration method for the solution of the eigenvalue problem; Parlett (1998), The symmetric
    eigenvalue problem, chapter 13.
    """
    (start,) = as_floats(start=start)
    if not 1 <= n_steps <= len(start):
        raise ValueError(f"n_steps must be between 1 and the dimension {len(start)}; got {n_steps}")
    check_finite("the length of start", length := start.double().norm())
    if not length > 0:
        raise ValueError("start must not be zero")
    direction, basis = (start / length).to(start.dtype), start.new_zeros(n_steps, len(start))
    diagonal, off_diagonal, scale = [], [], 0.0
    for step in range(n_steps):
        basis[step] = direction
        image = product(direction)
        if image.shape != start.shape:
            raise ValueError(
                f"product must keep the shape {tuple(start.shape)} of start; got {tuple(image.shape)}"
            )
        diagonal.append((direction @ image).item())
        for _ in range(2):
            image = image - basis[: step + 1].T @ (basis[: step + 1] @ image)
        remainder = image.norm().item()
        if not math.isfinite(remainder):
            raise FloatingPointError(f"the product is not finite at step {step}")
        scale = max(scale, abs(diagonal[-1]), *off_diagonal[-1:], remainder)
        if remainder <= 10 * torch.finfo(start.dtype).eps * scale * len(start) ** 0.5:
            off_diagonal.append(0.0)
            break
        off_diagonal.append(remainder)
        direction = image / remainder
    found = {"dtype": torch.float64, "device": start.device}
    return Tridiagonal(
        torch.tensor(diagonal, **found), torch.tensor(off_diagonal, **found), basis[: len(diagonal)]
    )


@dataclass(frozen=True)
class Extremes:
    """The ends of a symmetric matrix's spectrum, as Lanczos sees them.

    Attributes
    ----------
    smallest, largest
        The smallest and the largest Ritz value. The true ends lie at them or beyond, never inside.
    smallest_error, largest_error
        Each Ritz value has an eigenvalue within this distance: the residual ‖Av − λv‖ of its vector v.
    smallest_vector, largest_vector
        The Ritz vectors, of length one.
    """

    smallest: float
    largest: float
    smallest_error: float
    largest_error: float
    smallest_vector: Float[Tensor, " d"]
    largest_vector: Float[Tensor, " d"]


def extreme_eigenvalues(product: Product, start: Float[Tensor, " d"], *, n_steps: int) -> Extremes:
    """Find the smallest and the largest eigenvalue of a symmetric matrix, with error bounds, by Lanczos.

    The two ends are ends in the order of numbers: a large negative eigenvalue is the smallest, whatever its size.

    Parameters
    ----------
    product
        v ↦ Av, for a symmetric A.
    start
        A direction that is not orthogonal to the wanted eigenvectors: a random one.
    n_steps
        Number of Lanczos steps and of products, at most d. Look at the errors to know whether they were enough.

    Returns
    -------
    Both ends.

    Raises
    ------
    ValueError
        If `n_steps` is not between 1 and d, or `start` is zero.
    FloatingPointError
        If a product is not finite.

    References
    ----------
    Parlett (1998), The symmetric eigenvalue problem, section 13.2.

    Examples
    --------
    >>> diagonal = torch.tensor([-5.0, 1.0, 2.0, 3.0])
    >>> ends = extreme_eigenvalues(lambda v: diagonal * v, torch.ones(4), n_steps=4)
    >>> print(f"{ends.smallest:.3f} {ends.largest:.3f}")
    -5.000 3.000
    """
    reduced = lanczos(product, start, n_steps=n_steps)
    values, vectors = reduced.eigenpairs()
    errors = reduced.off_diagonal[-1] * vectors[-1].abs()
    both = vectors[:, [0, -1]].T.to(reduced.basis.dtype) @ reduced.basis
    return Extremes(
        values[0].item(), values[-1].item(), errors[0].item(), errors[-1].item(), both[0], both[1]
    )


# --- Random probes -----------------------------------------------------------------------------------------------


def spectral_density(
    product: Product,
    like: Float[Tensor, " d"],
    *,
    n_steps: int,
    n_draws: int = 10,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Approximate the distribution of a symmetric matrix's eigenvalues by stochastic Lanczos quadrature.

    Parameters
    ----------
    product
        v ↦ Av, for a symmetric A.
    like
        Any vector of A's size, type and device.
    n_steps
        Lanczos steps a draw: the quadrature is exact for polynomials up to degree 2·n_steps − 1.
    n_draws
        Random directions that are averaged.
    generator
        Source of the directions.

    Returns
    -------
    nodes
        Places on the line, ascending.
    weights
        The share of eigenvalues at each; they sum to one. Σ weights·f(nodes) estimates the mean of f over the
        eigenvalues: without bias for polynomials up to degree 2·n_steps − 1.

    Raises
    ------
    ValueError
        If `n_steps` is not between 1 and d, or `n_draws` is below 1.
    FloatingPointError
        If a product is not finite.

    References
    ----------
    Ubaru, Chen and Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
    """
    check_at_least("n_draws", n_draws, 1)
    (like,) = as_floats(like=like)
    nodes, weights = [], []
    for _ in range(n_draws):
        reduced = lanczos(product, random_signs(like, generator), n_steps=n_steps)
        values, vectors = reduced.eigenpairs()
        nodes.append(values)
        weights.append(vectors[0].square() / n_draws)
    places, order = torch.cat(nodes).sort()
    return places, torch.cat(weights)[order]


@dataclass(frozen=True)
class TraceEstimate:
    """A random estimate of a trace.

    Attributes
    ----------
    value
        Its mean over the draws, without bias.
    error
        The mean's standard error.
    """

    value: float
    error: float


def hutchinson_trace(
    product: Product,
    like: Float[Tensor, " d"],
    *,
    n_draws: int = 100,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    """Estimate the trace of a matrix from its products with random signs.

    Parameters
    ----------
    product
        v ↦ Av.
    like
        Any vector of A's size, type and device.
    n_draws
        Number of random vectors and of products, at least 2.
    generator
        Source of the signs.

    Returns
    -------
    The estimate. A draw's variance is 2(‖S‖² − Σ s_ii²), S being A's symmetric part: none for a diagonal matrix.

    Raises
    ------
    ValueError
        If `n_draws` is below 2.
    FloatingPointError
        If a product is not finite.

    References
    ----------
    Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.

    Examples
    --------
    >>> diagonal = torch.tensor([1.0, 2.0, 3.0])
    >>> hutchinson_trace(lambda v: diagonal * v, diagonal, n_draws=2)
    TraceEstimate(value=6.0, error=0.0)
    """
    check_at_least("n_draws", n_draws, 2)
    (like,) = as_floats(like=like)
    probes = (random_signs(like, generator) for _ in range(n_draws))
    draws = torch.stack([probe.double() @ product(probe).double() for probe in probes])
    if not bool(torch.isfinite(draws).all()):
        raise FloatingPointError("the product is not finite")
    return TraceEstimate(draws.mean().item(), draws.std().item() / n_draws**0.5)
