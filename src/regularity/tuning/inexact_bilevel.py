"""Learn a regulariser's parameters although no minimiser, loss or gradient is ever exact.

Mohammad Sadegh Salehi, Subhadip Mukherjee, Lindon Roberts and Matthias J. Ehrhardt, "An adaptively inexact
first-order method for bilevel optimization with application to hyperparameter learning", SIAM Journal on
Mathematics of Data Science 7(3), 2025, arXiv 2308.10098.

The lower level minimises h(x, θ) over x; the upper level minimises f(θ) = g(x̂(θ)) over the regulariser's parameters.
`solve_lower`, `inexact_hypergradient` and `maid` are the method, `hoag` is the rival. Below them stand four problems:
a quadratic with everything in closed form, denoising by total variation and by a field of experts, and softmax
regression. Each bounds its own derivatives, so that every accuracy is certified and none is estimated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad
from torch.nn.functional import conv2d, conv_transpose2d, cross_entropy, one_hot

from regularity.foundations.checks import check_at_least, check_finite, check_positive
from regularity.foundations.hypergradients import LinearSolution, conjugate_gradients
from regularity.foundations.noise import standard_normal_like
from regularity.foundations.proximal import divergence, forward_gradient


class NotStronglyConvexError(ArithmeticError):
    """The lower level is not as convex as it claims."""


class BoundViolatedError(ArithmeticError):
    """Two certified statements contradict each other: a constant of the problem is wrong."""


class Curvature(NamedTuple):
    """Bounds on the eigenvalues of A = ∂²h/∂x² over all x: μ·I ≤ A ≤ L·I."""

    convexity: float
    smoothness: float


class Sensitivity(NamedTuple):
    """Bounds for all x' within a radius of x: on ‖B(x')‖, ‖(B(x') − B(x))ᵀq‖/‖x' − x‖, ‖(A(x') − A(x))q‖/‖x' − x‖."""

    cross_norm: float
    cross_change: float
    hessian_change: float


@runtime_checkable
class BilevelProblem(Protocol):
    """What the algorithms ask of a problem; x and θ are tensors of any shape.

    Attributes
    ----------
    upper_smoothness
        Lipschitz constant L_g of ∇g. The upper objective g must be convex.
    """

    upper_smoothness: float

    def curvature(self, theta: Tensor) -> Curvature:
        """Bound the lower level's curvature.

        Parameters
        ----------
        theta
            θ.

        Returns
        -------
        μ and L.
        """

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """Bound what the error of a hypergradient depends on.

        Parameters
        ----------
        x, theta
            Where.
        adjoint
            q.
        radius
            How far from x the bounds must hold.

        Returns
        -------
        The norm of B = ∂²h/∂x∂θ, and how fast Bᵀq and Aq change.
        """

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """Gradient of the lower objective in x.

        Parameters
        ----------
        x, theta
            Where.

        Returns
        -------
        ∂h/∂x.
        """

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """Hessian of the lower objective in x, as a product.

        Parameters
        ----------
        x, theta
            Where.

        Returns
        -------
        v ↦ A v.
        """

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """Product with the mixed derivative.

        Parameters
        ----------
        x, theta
            Where.
        adjoint
            q.

        Returns
        -------
        Bᵀq.
        """

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """Evaluate the upper objective and its gradient.

        Parameters
        ----------
        x
            Where.

        Returns
        -------
        g(x) and ∇g(x).
        """


# --- The method --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LowerSolution:
    """An approximate minimiser of the lower level.

    Attributes
    ----------
    values
        x̃.
    accuracy
        ‖∂h/∂x(x̃)‖/μ, which bounds ‖x̃ − x̂‖.
    n_iterations
        Gradients that it cost.
    """

    values: Float[Tensor, "*x"]
    accuracy: float
    n_iterations: int


def solve_lower(
    problem: BilevelProblem,
    theta: Float[Tensor, "*theta"],
    start: Float[Tensor, "*x"],
    *,
    accuracy: float,
    n_iterations: int = 2000,
) -> LowerSolution:
    """Minimise the lower level by accelerated gradient steps until the minimiser is certified to be near.

    Strong convexity gives ‖x − x̂‖ ≤ ‖∂h/∂x(x)‖/μ, a bound that can be computed. The point that passes the test is the
    point that is returned.

    Parameters
    ----------
    problem
        The problem.
    theta
        θ.
    start
        Where to start: the solution for a θ nearby.
    accuracy
        ε, the distance to the minimiser that is good enough.
    n_iterations
        Cap. The solution's `accuracy` says what was reached.

    Returns
    -------
    The solution.

    Raises
    ------
    ValueError
        If `accuracy` or `n_iterations` is not positive.
    NotStronglyConvexError
        If μ at θ is not positive.
    BoundViolatedError
        If L at θ is not finite or below μ.

    References
    ----------
    Nesterov (2004), Introductory lectures on convex optimization, Section 2.2.
    """
    check_positive("accuracy", accuracy)
    check_at_least("n_iterations", n_iterations, 1)
    convexity, smoothness = _checked_curvature(problem, theta)
    momentum = 1 - 2 / (1 + math.sqrt(smoothness / convexity))
    x = point = start
    for iteration in range(1, n_iterations + 1):
        gradient = problem.gradient(point, theta)
        reached = _norm(gradient) / convexity
        if reached <= accuracy or iteration == n_iterations:
            break
        before, x = x, point - gradient / smoothness
        point = x + momentum * (x - before)
    return LowerSolution(point, reached, iteration)


@dataclass(frozen=True)
class Hypergradient:
    """An approximate gradient of the upper level, with a bound on its error.

    Attributes
    ----------
    values
        z.
    bound
        ω ≥ ‖z − ∇f(θ)‖.
    lower
        The minimiser x̃ that it was computed at.
    adjoint
        The solution q of A q = ∇g(x̃).
    upper_value, upper_slope
        g(x̃) and ‖∇g(x̃)‖.
    cost
        Lower-level gradients and products with A.
    """

    values: Float[Tensor, "*theta"]
    bound: float
    lower: LowerSolution
    adjoint: LinearSolution
    upper_value: float
    upper_slope: float
    cost: int


def inexact_hypergradient(
    problem: BilevelProblem,
    theta: Float[Tensor, "*theta"],
    start: Float[Tensor, "*x"],
    *,
    accuracy: float,
    linear_accuracy: float,
    adjoint: Float[Tensor, "*x"] | None = None,
    n_iterations: int = 2000,
) -> Hypergradient:
    """Compute z ≈ ∇f(θ) to the accuracies that are asked for, and bound its error after the fact.

    Parameters
    ----------
    problem
        The problem.
    theta
        θ.
    start
        Where the lower-level solver starts.
    accuracy
        ε, for the minimiser.
    linear_accuracy
        δ, for the residual of the linear system.
    adjoint
        Where conjugate gradients start; None: at zero.
    n_iterations
        Cap for each of the two solvers.

    Returns
    -------
    The hypergradient. Its bound uses the accuracies that were reached, not those that were asked for.

    Raises
    ------
    ValueError
        If an accuracy or `n_iterations` is not positive.
    NotStronglyConvexError
        If μ is not positive, or conjugate gradients meet a curvature below it.
    BoundViolatedError
        If L is below μ, or conjugate gradients meet a curvature above it.

    References
    ----------
    Ehrhardt and Roberts (2024), Analyzing inexact hypergradients for bilevel learning, Section 3.
    """
    lower = solve_lower(problem, theta, start, accuracy=accuracy, n_iterations=n_iterations)
    x, curvature = lower.values, _checked_curvature(problem, theta)
    product = _watched(problem.hessian(x, theta), curvature)
    value, right = problem.upper(x)
    linear = conjugate_gradients(
        product, right, tolerance=linear_accuracy, start=adjoint, n_iterations=n_iterations
    )
    # A(x̂)(q − q̂) is made up of three errors: the residual, the change of ∇g and that of Aq between x̃ and x̂.
    eps, delta = lower.accuracy, linear.residual
    cross_norm, cross_change, hessian_change = problem.sensitivity(x, theta, linear.values, eps)
    adjoint_error = (delta + eps * (problem.upper_smoothness + hessian_change)) / curvature.convexity
    bound = cross_norm * adjoint_error + eps * cross_change
    z = -problem.cross(x, theta, linear.values)
    return Hypergradient(z, bound, lower, linear, value, _norm(right), lower.n_iterations + linear.n_products)


@dataclass(frozen=True)
class Iterate:
    """One visit to the upper level.

    Attributes
    ----------
    theta
        θ.
    value
        g(x̃), near f(θ).
    hypergradient
        z.
    bound
        ω, or NaN where the method has none.
    accuracy, linear_accuracy
        The ε and δ that were asked for.
    step
        Length α of the step that led away from here; 0 where the accuracy was tightened instead.
    cost
        Lower-level gradients and products with A spent before this visit.
    """

    theta: Float[Tensor, "*theta"]
    value: float
    hypergradient: Float[Tensor, "*theta"]
    bound: float
    accuracy: float
    linear_accuracy: float
    step: float
    cost: int


@dataclass(frozen=True)
class BilevelResult:
    """Where a method ended, and how it came there.

    Attributes
    ----------
    theta
        The last θ.
    solution
        The approximate minimiser there.
    cost
        All lower-level gradients and products with A.
    history
        The visits to the upper level, in order.
    """

    theta: Float[Tensor, "*theta"]
    solution: Float[Tensor, "*x"]
    cost: int
    history: tuple[Iterate, ...]


def maid(
    problem: BilevelProblem,
    theta: Float[Tensor, "*theta"],
    start: Float[Tensor, "*x"],
    *,
    n_units: int,
    accuracy: float = 0.1,
    linear_accuracy: float = 0.1,
    step: float = 0.01,
    decrease: float = 1e-8,
    angle: float = 1e-4,
    shorten: float = 0.5,
    lengthen: float = 10 / 9,
    tighten: float = 0.5,
    loosen: float = 1.05,
    n_trials: int = 10,
) -> BilevelResult:
    """Descend on the upper level, tightening the accuracy where it hinders and loosening it where it does not.

    Parameters
    ----------
    problem
        The problem.
    theta, start
        θ₀ and x₀.
    n_units
        Budget: lower-level gradients plus products with A, those of rejected trials included. The last solve may go
        over it.
    accuracy, linear_accuracy
        The first ε and δ.
    step
        The first step β to be tried.
    decrease, angle
        λ and η: an accepted step lowers f by λα‖z‖², and z has an angle to the gradient with zᵀ∇f ≥ η‖z‖².
    shorten, lengthen
        Factors ρ on the step after a failed trial, and after a success.
    tighten, loosen
        Factors ν on the accuracies after a failure, and after a success. With ``tighten=1`` the accuracy is fixed:
        the angle is not tested, and the first failed search ends the run.
    n_trials
        Steps that the first search tries; each failed search adds one, each success takes them back.

    Returns
    -------
    The result; it ends when the budget is spent, or where rounding forbids a tighter accuracy.

    Raises
    ------
    ValueError
        If a number is out of its range, `theta` or `start` is not finite, or the budget does not last for one
        hypergradient.
    NotStronglyConvexError, BoundViolatedError
        If an assumption on the problem shows to be wrong, in `inexact_hypergradient` or where two hypergradients at
        one θ are farther apart than their bounds allow.

    References
    ----------
    Salehi, Mukherjee, Roberts and Ehrhardt (2025), Algorithm 1.
    """
    positive = {"accuracy": accuracy, "linear_accuracy": linear_accuracy, "step": step, "decrease": decrease}
    for name, value in positive.items():
        check_positive(name, value)
    if not decrease < angle < 1:
        raise ValueError(f"decrease and angle must satisfy decrease < angle < 1; got {decrease} and {angle}")
    if not (0 < shorten < 1 and 0 < tighten <= 1):
        raise ValueError(f"shorten and tighten must lie between 0 and 1; got {shorten} and {tighten}")
    for name, value in {"lengthen": lengthen, "loosen": loosen, "n_trials": n_trials}.items():
        check_at_least(name, value, 1)
    _check_start(theta, start)
    x, adjoint, cost, trials, history, before = start, None, 0, n_trials, [], None
    floor = 1e-14 * max(1.0, _norm(start))
    while cost < n_units and accuracy > floor:
        here = inexact_hypergradient(
            problem,
            theta,
            x,
            accuracy=accuracy,
            linear_accuracy=linear_accuracy,
            adjoint=adjoint,
            n_iterations=min(2000, n_units - cost),
        )
        if before is not None:
            _check_consistent(here, before)
        visit = Iterate(
            theta, here.upper_value, here.values, here.bound, accuracy, linear_accuracy, 0.0, cost
        )
        history.append(visit)
        cost += here.cost
        reached = here.lower.accuracy <= accuracy and here.adjoint.residual <= linear_accuracy
        if cost >= n_units and len(history) == 1 and not reached:
            raise ValueError(f"n_units must last for one hypergradient; got {n_units}")
        x, adjoint, before = here.lower.values, here.adjoint.values, here
        size = _norm(here.values)
        # z is a direction of descent if its error is below (1 − η) of its length.
        if here.bound > (1 - angle) * size and tighten < 1:
            accuracy, linear_accuracy = tighten * accuracy, tighten * linear_accuracy
            continue
        below = here.upper_value - here.upper_slope * here.lower.accuracy  # at most f(θ): g is convex
        for trial in range(trials):
            if cost >= n_units:
                break
            length = step * shorten**trial
            new = theta - length * here.values
            there = solve_lower(problem, new, x, accuracy=accuracy, n_iterations=min(2000, n_units - cost))
            cost += there.n_iterations
            value, right = problem.upper(there.values)
            # At least f(θ − αz): ∇g is Lipschitz.
            above = value + _norm(right) * there.accuracy + problem.upper_smoothness * there.accuracy**2 / 2
            if above - below <= -decrease * length * size**2:
                history[-1] = replace(visit, step=length)
                theta, x, before = new, there.values, None
                step, trials = lengthen * length, n_trials
                accuracy, linear_accuracy = loosen * accuracy, loosen * linear_accuracy
                break
        else:
            if tighten == 1:
                break
            accuracy, linear_accuracy = tighten * accuracy, tighten * linear_accuracy
            trials += 1
    return BilevelResult(theta, x, cost, tuple(history))


def hoag(
    problem: BilevelProblem,
    theta: Float[Tensor, "*theta"],
    start: Float[Tensor, "*x"],
    *,
    n_units: int,
    tolerance: Callable[[int], float],
    smoothness: float,
) -> BilevelResult:
    """Descend with accuracies that follow a schedule, and steps 1/L for a guess of L that adapts (the baseline).

    A step that lowers g by L/2 times its squared length, up to the tolerances, lets L shrink by 5 %; one that raises
    g by more than they explain is taken back, and L doubles.

    Parameters
    ----------
    problem
        The problem.
    theta, start
        θ₀ and x₀.
    n_units
        As for `maid`.
    tolerance
        The schedule: the accuracy of both solvers at visit 1, 2, ...
    smoothness
        The first guess of L.

    Returns
    -------
    The result; the visits' bounds are NaN.

    Raises
    ------
    ValueError
        If `smoothness` or a tolerance is not positive, or `theta` or `start` is not finite.

    References
    ----------
    Pedregosa (2016), Hyperparameter optimization with approximate gradient.
    """
    check_positive("smoothness", smoothness)
    _check_start(theta, start)
    x, adjoint, cost, history = start, None, 0, []
    kept, origin, moved, previous = None, theta, 0.0, tolerance(1)
    while cost < n_units:
        eps = tolerance(len(history) + 1)
        here = inexact_hypergradient(
            problem,
            theta,
            x,
            accuracy=eps,
            linear_accuracy=eps,
            adjoint=adjoint,
            n_iterations=min(2000, n_units - cost),
        )
        visit = Iterate(theta, here.upper_value, here.values, math.nan, eps, eps, 1 / smoothness, cost)
        history.append(visit)
        cost += here.cost
        if kept is not None and here.upper_value > kept.upper_value + eps + previous:
            smoothness *= 2
            history[-1] = replace(visit, step=0.0)
            theta = origin
        else:
            if kept is not None and here.upper_value - eps <= (
                kept.upper_value + previous * (1 + moved) - smoothness / 2 * moved**2
            ):
                smoothness *= 0.95
            kept, origin = here, theta
        x, adjoint = kept.lower.values, kept.adjoint.values
        theta = origin - kept.values / smoothness
        moved, previous = _norm(kept.values) / smoothness, eps
    return BilevelResult(origin, x, cost, tuple(history))


def _norm(values: Tensor) -> float:
    return torch.linalg.vector_norm(values).item()


def _check_start(theta: Tensor, start: Tensor) -> None:
    for name, given in (("theta", theta), ("start", start)):
        check_finite(name, given)


def _checked_curvature(problem: BilevelProblem, theta: Tensor) -> Curvature:
    convexity, smoothness = problem.curvature(theta)
    if not convexity > 0:
        raise NotStronglyConvexError(f"the lower level is not strongly convex at this θ: μ = {convexity:g}")
    if not convexity <= smoothness < math.inf:
        raise BoundViolatedError(f"L must be finite and at least μ = {convexity:g}; got {smoothness:g}")
    return Curvature(convexity, smoothness)


def _watched(product: Callable[[Tensor], Tensor], curvature: Curvature) -> Callable[[Tensor], Tensor]:
    """The same product; a curvature outside μ and L is an error. Rounding is allowed for."""

    def watched(vector: Tensor) -> Tensor:
        image = product(vector)
        square = torch.dot(vector.flatten(), vector.flatten()).item()
        met = torch.dot(vector.flatten(), image.flatten()).item() / square if square > 0 else 1.0
        slack = 1e3 * torch.finfo(vector.dtype).eps * curvature.smoothness
        if square > 0 and met < curvature.convexity - slack:
            raise NotStronglyConvexError(
                f"the Hessian has curvature {met:g}, below μ = {curvature.convexity:g}"
            )
        if square > 0 and met > curvature.smoothness + slack:
            raise BoundViolatedError(f"the Hessian has curvature {met:g}, above L = {curvature.smoothness:g}")
        return image

    return watched


def _check_consistent(first: Hypergradient, second: Hypergradient) -> None:
    """Two hypergradients at one θ are as near to each other as their bounds to the exact one promise."""
    apart, allowed = _norm(first.values - second.values), first.bound + second.bound
    slack = 1e3 * torch.finfo(first.values.dtype).eps * _norm(first.values)
    if apart > allowed + slack:
        raise BoundViolatedError(
            f"two hypergradients at one θ are {apart:g} apart, but their error bounds add up to {allowed:g}"
        )


# --- The problems ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuadraticProblem:
    """h = ½‖A₂x + A₃θ − b₂‖² and g = ½‖A₁x − b₁‖²: everything has a closed form.

    Attributes
    ----------
    first, second, third
        A₁ (m, d), A₂ (m, d) and A₃ (m, p).
    first_right, second_right
        b₁ and b₂.
    """

    first: Float[Tensor, "m d"]
    second: Float[Tensor, "m d"]
    third: Float[Tensor, "m p"]
    first_right: Float[Tensor, " m"]
    second_right: Float[Tensor, " m"]

    @cached_property
    def gram(self) -> Float[Tensor, "d d"]:
        """A₂ᵀA₂."""
        return self.second.T @ self.second

    @cached_property
    def mixed(self) -> Float[Tensor, "d p"]:
        """A₂ᵀA₃, which is B."""
        return self.second.T @ self.third

    @cached_property
    def upper_smoothness(self) -> float:
        """‖A₁‖²."""
        return torch.linalg.matrix_norm(self.first, 2).item() ** 2

    @cached_property
    def _bounds(self) -> Curvature:
        eigenvalues = torch.linalg.eigvalsh(self.gram)
        return Curvature(eigenvalues[0].item(), eigenvalues[-1].item())

    @cached_property
    def _cross_norm(self) -> float:
        return torch.linalg.matrix_norm(self.mixed, 2).item()

    @cached_property
    def _target(self) -> Tensor:
        return self.second.T @ self.second_right

    def curvature(self, theta: Tensor) -> Curvature:
        """As for `BilevelProblem`: the extreme eigenvalues of A₂ᵀA₂."""
        return self._bounds

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """As for `BilevelProblem`: A and B do not change."""
        return Sensitivity(self._cross_norm, 0.0, 0.0)

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """As for `BilevelProblem`: A₂ᵀ(A₂x + A₃θ − b₂)."""
        return self.gram @ x + self.mixed @ theta - self._target

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """As for `BilevelProblem`: the product with A₂ᵀA₂."""
        return lambda vector: self.gram @ vector

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """As for `BilevelProblem`: A₃ᵀA₂q."""
        return self.mixed.T @ adjoint

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """As for `BilevelProblem`: ½‖A₁x − b₁‖² and its gradient."""
        residual = self.first @ x - self.first_right
        return residual.square().sum().item() / 2, self.first.T @ residual

    def minimiser(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " d"]:
        """x̂(θ), by LAPACK.

        Parameters
        ----------
        theta
            θ.

        Returns
        -------
        The exact minimiser.
        """
        return torch.linalg.solve(self.gram, self._target - self.mixed @ theta)

    def exact_hypergradient(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """∇f(θ), by LAPACK.

        Parameters
        ----------
        theta
            θ.

        Returns
        -------
        The exact hypergradient.
        """
        return -self.mixed.T @ torch.linalg.solve(self.gram, self.upper(self.minimiser(theta))[1])

    def best_theta(self) -> Float[Tensor, " p"]:
        """The minimiser of f, by least squares in θ.

        Returns
        -------
        θ*.
        """
        slope = -torch.linalg.solve(self.gram, self.mixed)
        offset = self.minimiser(torch.zeros_like(slope[0]))
        return torch.linalg.lstsq(self.first @ slope, self.first_right - self.first @ offset).solution


_LARGEST_LOGARITHM = 15.0  # parameters in logarithms saturate here, so that no step overflows


def _exponential(logarithms: Tensor) -> Tensor:
    return logarithms.clamp(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM).exp()


@dataclass(frozen=True)
class DenoisingProblem:
    """h = ½‖x − y‖² + Σᵢ wᵢ Σ φᵢ(Kᵢx) over a stack of images, and g = ½‖x − x*‖² over their number.

    The Kᵢ are linear, φᵢ(s) = √(s² + νᵢ²), and θ holds the logarithms of 2wᵢ and νᵢ, and perhaps the Kᵢ. An ε is a
    distance between whole stacks. `TotalVariation` and `FieldOfExperts` say what the Kᵢ are.

    Attributes
    ----------
    noisy, clean
        y and x*.
    """

    noisy: Float[Tensor, "n 1 h w"]
    clean: Float[Tensor, "n 1 h w"]

    def __post_init__(self) -> None:
        if self.noisy.shape != self.clean.shape:
            given = f"{tuple(self.noisy.shape)} and {tuple(self.clean.shape)}"
            raise ValueError(f"noisy and clean must have one shape; got {given}")

    @property
    def upper_smoothness(self) -> float:
        """One over the number of images."""
        return 1 / len(self.noisy)

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """As for `BilevelProblem`: half the squared error, summed over pixels, a mean over the images."""
        error = x - self.clean
        return torch.dot(error.flatten(), error.flatten()).item() / (2 * len(x)), error / len(x)

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """As for `BilevelProblem`: x − y + Σ wᵢ Kᵢᵀφᵢ'(Kᵢx)."""
        weights, smoothing = self._scales(theta)
        response = self._analyse(x, theta)
        slopes = response * torch.addcmul(smoothing**2, response, response).rsqrt_()
        return self._synthesise(slopes.mul_(weights), theta).add_(x).sub_(self.noisy)

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """As for `BilevelProblem`: I + Σ wᵢ Kᵢᵀ diag(φᵢ'') Kᵢ."""
        weights, smoothing = self._scales(theta)
        curvatures = weights * smoothing**2 * (self._analyse(x, theta) ** 2 + smoothing**2) ** -1.5
        return lambda v: self._synthesise(curvatures * self._analyse(v, theta), theta).add_(v)

    def _extremes(
        self, x: Tensor, theta: Tensor, row_norms: float | Tensor, radius: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Kᵢx/νᵢ, and the largest second and third derivatives of φᵢ within a radius of x, where Kᵢ has such rows.

        In units of t = s/ν they are (1 + t²)^(−3/2)/ν, which falls, and 3t(1 + t²)^(−5/2)/ν², which rises to t = ½.
        """
        smoothing = self._scales(theta)[1]
        ratio, reach = self._analyse(x, theta) / smoothing, row_norms * radius / smoothing
        low = (ratio.abs() - reach).clamp_min(0)
        steepest = torch.full_like(low, 0.5).clamp(low, ratio.abs() + reach)
        bending = 3 * steepest * (1 + steepest**2) ** -2.5 / smoothing**2
        return ratio, (1 + low**2) ** -1.5 / smoothing, bending

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """As for `BilevelProblem`: the gradient of ⟨∂h/∂x, q⟩ in θ, by automatic differentiation."""

        def along(parameters: Tensor) -> Tensor:
            weights, smoothing = self._scales(parameters)
            response = self._analyse(x, parameters)
            slopes = weights * response * (response**2 + smoothing**2).rsqrt()
            return (slopes * self._analyse(adjoint, parameters)).sum()

        return grad(along)(theta)


class TotalVariation(DenoisingProblem):
    """Smoothed anisotropic total variation; θ holds two logarithms, of twice the weight and of the smoothing."""

    def _scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        weight, smoothing = _exponential(theta)
        return weight / 2, smoothing

    def _analyse(self, x: Tensor, theta: Tensor) -> Tensor:
        return forward_gradient(x[:, 0], 2)

    def _synthesise(self, field: Tensor, theta: Tensor) -> Tensor:
        return -divergence(field, 2)[:, None]

    def curvature(self, theta: Tensor) -> Curvature:
        """As for `BilevelProblem`: the differences have squared norm 8 at most, and φ'' ≤ 1/ν."""
        weight, smoothing = (scale.item() for scale in self._scales(theta))
        return Curvature(1.0, 1 + 8 * weight / smoothing)

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """As for `BilevelProblem`: B has two columns, and D, the differences, have ‖D‖² ≤ 8 and rows of norm √2."""
        weight, smoothing = (scale.item() for scale in self._scales(theta))
        ratio, curvatures, bending = self._extremes(x, theta, math.sqrt(2), radius)
        response = self._analyse(adjoint, theta)
        columns = [self._synthesise(ratio * (1 + ratio**2) ** power, theta) for power in (-0.5, -1.5)]
        return Sensitivity(
            weight * math.hypot(*map(_norm, columns)) + math.sqrt(5) * 8 * weight / smoothing * radius,
            math.sqrt(5 * 8) * weight * _norm(curvatures * response),
            8 * weight * (bending * response).abs().max().item(),
        )


@dataclass(frozen=True)
class FieldOfExperts(DenoisingProblem):
    """Learned filters; θ = (a common log-weight, a log-weight each, a log-smoothing each, the filters).

    Twice the weight of filter i is the product of the common weight and its own. Filters have mean zero, whatever θ,
    so that a constant costs nothing; a filter responds wherever it fits into the image.

    Attributes
    ----------
    n_filters, filter_size
        Number of filters, and the side of each.
    """

    n_filters: int = 8
    filter_size: int = 3

    def start(
        self,
        generator: torch.Generator | None = None,
        *,
        log_weight: float = -3.0,
        log_smoothing: float = -3.5,
    ) -> Float[Tensor, " p"]:
        """Draw random filters, all of one weight and one smoothing.

        Parameters
        ----------
        generator
            Source of randomness.
        log_weight, log_smoothing
            Of each filter; the common log-weight is 0.

        Returns
        -------
        θ.
        """
        k, size = self.n_filters, self.filter_size
        filters = standard_normal_like(self.noisy.new_empty(k, size**2), generator) / size
        logarithms = [filters.new_full((n,), v) for n, v in ((1, 0.0), (k, log_weight), (k, log_smoothing))]
        return torch.cat([*logarithms, filters.flatten()])

    def filters(self, theta: Float[Tensor, " p"]) -> Float[Tensor, "k 1 s s"]:
        """Take the filters out of θ, and their means out of them.

        Parameters
        ----------
        theta
            θ.

        Returns
        -------
        The filters.
        """
        raw = theta[1 + 2 * self.n_filters :].reshape(self.n_filters, -1)
        centred = raw - raw.mean(dim=1, keepdim=True)
        return centred.reshape(self.n_filters, 1, self.filter_size, self.filter_size)

    def _scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        k = self.n_filters
        scales = _exponential(theta[: 1 + 2 * k])
        return (scales[0] * scales[1 : 1 + k] / 2)[:, None, None], scales[1 + k :, None, None]

    def _analyse(self, x: Tensor, theta: Tensor) -> Tensor:
        return conv2d(x, self.filters(theta))

    def _synthesise(self, field: Tensor, theta: Tensor) -> Tensor:
        return conv_transpose2d(field, self.filters(theta))

    def _gains(self, theta: Tensor) -> Tensor:
        """Squared modulus of each filter's transfer function at the image's frequencies."""
        return torch.fft.rfft2(self.filters(theta)[:, 0], s=self.noisy.shape[-2:]).abs().square()

    def curvature(self, theta: Tensor) -> Curvature:
        """As for `BilevelProblem`: a convolution without padding is a part of a periodic one."""
        weights, smoothing = self._scales(theta)
        return Curvature(1.0, 1 + (weights / smoothing * self._gains(theta)).sum(dim=0).max().item())

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """As for `BilevelProblem`: block by block of B, with the largest gain of filter i for ‖Kᵢ‖."""
        weights, smoothing = (scale.flatten() for scale in self._scales(theta))
        filters, size = self.filters(theta), self.filter_size
        norms, row_norms = self._gains(theta).amax(dim=(1, 2)).sqrt(), filters.flatten(1).norm(dim=1)
        ratio, curvatures, bending = self._extremes(x, theta, row_norms[:, None, None], radius)
        response = self._analyse(adjoint, theta).abs()

        def contrast(image: Tensor) -> Tensor:
            """Length of what is left of the patch that a filter sees when its mean is taken away."""
            ones = torch.ones_like(filters[:1])
            squares = conv2d(image**2, ones) - conv2d(image, ones) ** 2 / size**2
            return squares.clamp_min(0).sqrt()

        def length(field: Tensor) -> Tensor:
            """Of each filter's part."""
            return field.square().sum(dim=(0, 2, 3)).sqrt()

        patches = contrast(x)
        slope, by_curvature = length(ratio * (1 + ratio**2) ** -0.5), length(curvatures * response)
        by_weight = weights * norms * slope
        by_smoothing = weights * norms * length(ratio * (1 + ratio**2) ** -1.5)
        by_filter = weights * (size * slope + norms * length(curvatures * patches))
        norm = _norm(torch.cat([by_weight.sum()[None], by_weight, by_smoothing, by_filter]))
        # The same of their changes: at most, for any adjoint of norm 1; and for this one.
        most = weights * norms**2 / smoothing
        by_patch = 2 * size * weights * norms / smoothing + most * (
            bending.amax(dim=(0, 2, 3)) * smoothing
        ) * (patches.max())
        growth = _norm(torch.cat([most.sum()[None], most, 2 * most, by_patch]))
        change = weights * norms * by_curvature
        by_patch = weights * (
            norms * length(curvatures * contrast(adjoint))
            + norms * length(bending * response * patches)
            + size * by_curvature
        )
        return Sensitivity(
            norm + growth * radius,
            _norm(torch.cat([change.sum()[None], change, 2 * change, by_patch])),
            (weights * norms**2 * (bending * response).amax(dim=(0, 2, 3))).sum().item(),
        )


@dataclass(frozen=True)
class SoftmaxRegression:
    """h = mean cross-entropy of training examples + ½Σ e^θ x², and g = mean cross-entropy of validation examples.

    The weights x have one row a feature and one column a class; θ has any shape that broadcasts to theirs: one
    penalty in all, (1, 1), one a feature, (d, 1), or one a weight, (d, c).

    Attributes
    ----------
    features, labels
        Of the training examples.
    validation_features, validation_labels
        Of the others.
    n_classes
        c.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    validation_features: Float[Tensor, "m d"]
    validation_labels: Int[Tensor, " m"]
    n_classes: int

    @cached_property
    def _smoothness(self) -> float:
        """Of the training loss: the Hessian of log-sum-exp is at most ½."""
        return torch.linalg.matrix_norm(self.features, 2).item() ** 2 / (2 * len(self.features))

    @cached_property
    def _targets(self) -> Tensor:
        return one_hot(self.labels, self.n_classes).to(self.features)

    @cached_property
    def _validation_targets(self) -> Tensor:
        return one_hot(self.validation_labels, self.n_classes).to(self.features)

    @cached_property
    def upper_smoothness(self) -> float:
        """Half the largest eigenvalue of the validation features' second moments."""
        m = len(self.validation_features)
        return torch.linalg.matrix_norm(self.validation_features, 2).item() ** 2 / (2 * m)

    def curvature(self, theta: Tensor) -> Curvature:
        """As for `BilevelProblem`: only the penalties make the lower level strongly convex."""
        penalties = _exponential(theta)
        return Curvature(penalties.min().item(), penalties.max().item() + self._smoothness)

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """As for `BilevelProblem`: the columns of B, parts of e^θ x, are orthogonal.

        The third cumulant of a unit vector's entries, whose range is at most √2, is at most √2³/(6√3).
        """
        penalties = _exponential(theta)
        columns = [
            (penalties * part).square().sum_to_size(theta.shape).max().sqrt().item() for part in (x, adjoint)
        ]
        scores = (self.features @ adjoint).norm(dim=1).max().item()
        return Sensitivity(
            columns[0] + penalties.max().item() * radius,
            columns[1],
            2 * self._smoothness * scores * math.sqrt(2) ** 3 / (6 * math.sqrt(3)),
        )

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """As for `BilevelProblem`: the features times the errors of the predicted probabilities, plus e^θ x."""
        errors = (self.features @ x).softmax(dim=1) - self._targets
        return torch.addmm(_exponential(theta) * x, self.features.T, errors, alpha=1 / len(errors))

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """As for `BilevelProblem`: the features times the covariance of each example's class, plus e^θ."""
        probabilities, penalties = (self.features @ x).softmax(dim=1), _exponential(theta)

        def product(vector: Tensor) -> Tensor:
            change = probabilities * (self.features @ vector)
            change = change - probabilities * change.sum(dim=1, keepdim=True)
            return torch.addmm(penalties * vector, self.features.T, change, alpha=1 / len(change))

        return product

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """As for `BilevelProblem`: e^θ x q, summed over the weights that share a penalty."""
        return (_exponential(theta) * x * adjoint).sum_to_size(theta.shape)

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """As for `BilevelProblem`: the validation loss and its gradient."""
        scores = self.validation_features @ x
        errors = scores.softmax(dim=1) - self._validation_targets
        loss = cross_entropy(scores, self.validation_labels).item()
        return loss, self.validation_features.T @ errors / len(errors)
