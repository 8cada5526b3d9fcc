"""Gradients through the minimiser of another problem: implicit differentiation, its linear solvers, and unrolling.

A lower objective h(x, θ) has the minimiser x̂(θ), and an upper objective g judges it: f(θ) = g(x̂(θ), θ). With
A = ∂²h/∂x² and B = ∂²h/∂x∂θ at the minimiser, the hypergradient is ∇f = ∂g/∂θ − Bᵀ A⁻¹ ∂g/∂x. Vectors are tensors
of any shape, and A is only ever applied, never formed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive

Product = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]


class NotPositiveDefiniteError(ArithmeticError):
    """Conjugate gradients met a direction d with dᵀAd ≤ 0, where A must be positive definite."""


# --- Linear systems ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearSolution:
    """An approximate solution of A q = b, with what is known of its error.

    Attributes
    ----------
    values
        q.
    residual
        ‖b − A q‖, computed at q itself. Where A's eigenvalues are at least μ, q errs by at most residual / μ.
    n_products
        Products with A that it cost.
    """

    values: Float[Tensor, "*shape"]
    residual: float
    n_products: int


def conjugate_gradients(
    product: Product,
    right: Float[Tensor, "*shape"],
    *,
    tolerance: float,
    start: Float[Tensor, "*shape"] | None = None,
    n_iterations: int = 1000,
) -> LinearSolution:
    """Solve A q = b for a symmetric positive definite A by conjugate gradients.

    The residual that the recursion carries drifts away from the true one. So the true one decides: where the
    recursion claims success, b − A q is computed afresh, and the iteration starts anew if it is still too long.

    Parameters
    ----------
    product
        q ↦ A q.
    right
        b.
    tolerance
        Stop once ‖b − A q‖ is at most this; absolute.
    start
        Where to start; None: at zero.
    n_iterations
        Cap. Look at the solution's `residual` to know whether it was met.

    Returns
    -------
    The solution.

    Raises
    ------
    ValueError
        If `tolerance` or `n_iterations` is not positive, or b or the start is not finite, or so large that its square
        is not.
    NotPositiveDefiniteError
        If dᵀAd is not positive for a search direction d.

    References
    ----------
    Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems.

    Examples
    --------
    >>> diagonal = torch.tensor([1.0, 4.0], dtype=torch.float64)
    >>> conjugate_gradients(lambda q: diagonal * q, torch.ones_like(diagonal), tolerance=1e-9).values
    tensor([1.0000, 0.2500], dtype=torch.float64)
    """
    check_positive("tolerance", tolerance)
    check_at_least("n_iterations", n_iterations, 1)
    right, start = as_floats(right=right, start=start)
    solution = torch.zeros_like(right) if start is None else start
    residual = right if start is None else right - product(start)
    n_products = 0 if start is None else 1
    square, direction, is_true = _dot(residual, residual), residual, True
    if not math.isfinite(square):
        raise ValueError(
            "right must be smaller, or start nearer to the solution; the square of the residual overflows"
        )
    for iteration in range(n_iterations):
        if square**0.5 <= tolerance:
            if is_true:
                break
            residual, is_true = right - product(solution), True
            n_products += 1
            square, direction = _dot(residual, residual), residual
            continue
        image = product(direction)
        n_products += 1
        curvature = _dot(direction, image)
        if not curvature > 0:
            raise NotPositiveDefiniteError(
                f"the matrix is not positive definite: dᵀAd = {curvature:g} for a direction d (iteration {iteration})"
            )
        solution = solution + (square / curvature) * direction
        residual, is_true = residual - (square / curvature) * image, False
        square, previous = _dot(residual, residual), square
        direction = residual + (square / previous) * direction
    if not is_true:
        residual = right - product(solution)
        n_products += 1
    return LinearSolution(solution, _dot(residual, residual) ** 0.5, n_products)


def neumann_series(
    product: Product, right: Float[Tensor, "*shape"], *, step: float, n_terms: int
) -> LinearSolution:
    """Solve A q = b by the first terms of A⁻¹ = s·Σ (I − sA)ʲ, which is gradient descent from zero.

    Parameters
    ----------
    product
        q ↦ A q.
    right
        b.
    step
        s. The series converges if s is below 2 over the largest eigenvalue of A.
    n_terms
        Number of terms, and of products.

    Returns
    -------
    The solution. Its residual is the first term that was left out, over s.

    Raises
    ------
    ValueError
        If `step` or `n_terms` is not positive.

    References
    ----------
    Lorraine, Vicol and Duvenaud (2020), Optimizing millions of hyperparameters by implicit differentiation.

    Examples
    --------
    For A = 1/2 and b = 1 the sums are 1, 3/2, 7/4, ..., on their way to 2:

    >>> neumann_series(lambda q: q / 2, torch.tensor([1.0]), step=1.0, n_terms=3).values
    tensor([1.7500])
    """
    check_positive("step", step)
    check_at_least("n_terms", n_terms, 1)
    (right,) = as_floats(right=right)
    term, total = right, torch.zeros_like(right)
    for _ in range(n_terms):
        total = total + term
        term = term - step * product(term)
    return LinearSolution(step * total, _dot(term, term) ** 0.5, n_terms)


def _dot(first: Tensor, second: Tensor) -> float:
    return torch.dot(first.flatten(), second.flatten()).item()


# --- Hypergradients ----------------------------------------------------------------------------------------------


def _gradients(function: Callable[..., Tensor], *points: Tensor) -> tuple[Tensor, ...]:
    """Gradients in the points, which can be differentiated again; zero where the function does not depend on one."""
    with torch.enable_grad():
        value = function(*points)
        if not value.requires_grad:
            return tuple(map(torch.zeros_like, points))
        return torch.autograd.grad(value, points, create_graph=True, materialize_grads=True)


def _pull_back(image: Tensor, point: Tensor, vector: Tensor) -> Tensor:
    """Product of a vector with the derivative of an image in a point."""
    if not image.requires_grad:
        return torch.zeros_like(point)
    options = {"retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(image, point, vector, **options)[0]


def implicit_hypergradient(
    lower: Objective,
    upper: Objective,
    solution: Float[Tensor, "*shape"],
    hyperparameters: Float[Tensor, "*outer"],
    *,
    solve: Callable[[Product, Tensor], LinearSolution],
) -> Float[Tensor, "*outer"]:
    """Gradient of θ ↦ g(x̂(θ), θ) by the implicit function theorem: ∂g/∂θ − Bᵀ A⁻¹ ∂g/∂x.

    Parameters
    ----------
    lower
        h(x, θ), twice differentiable, with a positive definite Hessian in x.
    upper
        g(x, θ).
    solution
        The minimiser x̂(θ), or a point close to it.
    hyperparameters
        θ.
    solve
        Solves A q = b, given the product with A and b: `conjugate_gradients` or `neumann_series` with their
        options bound, as by ``functools.partial(conjugate_gradients, tolerance=1e-8)``.

    Returns
    -------
    The hypergradient. An inexact `solution` and an inexact `solve` both leave their errors in it.

    References
    ----------
    Bengio (2000), Gradient-based optimization of hyperparameters; Pedregosa (2016), Hyperparameter optimization with
    approximate gradient.
    """
    solution, hyperparameters = as_floats(solution=solution, hyperparameters=hyperparameters)
    x, theta = solution.detach().requires_grad_(), hyperparameters.detach().requires_grad_()
    direct_x, direct_theta = (gradient.detach() for gradient in _gradients(upper, x, theta))
    slope, _ = _gradients(lower, x, theta)  # ∂h/∂x: both A and B are its derivatives
    adjoint = solve(lambda vector: _pull_back(slope, x, vector), direct_x).values
    return direct_theta - _pull_back(slope, theta, adjoint)


def unrolled_hypergradient(
    update: Callable[[Tensor, Tensor], Tensor],
    upper: Objective,
    start: Float[Tensor, "*shape"],
    hyperparameters: Float[Tensor, "*outer"],
    *,
    n_steps: int,
) -> tuple[Float[Tensor, "*outer"], Float[Tensor, "*shape"]]:
    """Gradient of θ ↦ g(x_T(θ), θ), where x_T is what T steps of an iterative solver make of a fixed start.

    Parameters
    ----------
    update
        One step of the solver, (x, θ) ↦ x, differentiable in both.
    upper
        g(x, θ).
    start
        x₀, which does not depend on θ.
    hyperparameters
        θ.
    n_steps
        T. All steps are kept in memory.

    Returns
    -------
    hypergradient
        Exact for x_T, which is not x̂.
    solution
        x_T.

    Raises
    ------
    ValueError
        If `n_steps` is not positive.

    References
    ----------
    Maclaurin, Duvenaud and Adams (2015), Gradient-based hyperparameter optimization through reversible learning.
    """
    check_at_least("n_steps", n_steps, 1)
    start, hyperparameters = as_floats(start=start, hyperparameters=hyperparameters)
    theta, solution = hyperparameters.detach().requires_grad_(), start.detach()
    with torch.enable_grad():
        for _ in range(n_steps):
            solution = update(solution, theta)
    (hypergradient,) = _gradients(lambda theta: upper(solution, theta), theta)
    return hypergradient.detach(), solution.detach()
