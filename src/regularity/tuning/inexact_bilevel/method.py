"""MAID: certified lower-level solutions, hypergradients with error bounds, and a line search that trusts neither."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive
from regularity.foundations.hypergradients import LinearSolution, conjugate_gradients
from regularity.tuning.inexact_bilevel.checks import (
    check_consistent,
    check_options,
    check_type,
    checked_curvature,
    gradient_at,
    norm_of,
    watch,
)
from regularity.tuning.inexact_bilevel.problems import BilevelProblem

# --- One solution, one hypergradient -----------------------------------------------------------------------------


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
        Both levels, with bounds on their derivatives.
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
    theta, start = as_floats(integers=torch.float64, theta=theta, start=start)
    check_positive("accuracy", accuracy)
    check_at_least("n_iterations", n_iterations, 1)
    convexity, smoothness = checked_curvature(problem, theta)
    momentum = 1 - 2 / (1 + math.sqrt(smoothness / convexity))
    x = point = start
    for iteration in range(1, n_iterations + 1):
        gradient = gradient_at(problem, point, theta)
        reached = norm_of(gradient) / convexity
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
    theta
        θ, where it was computed.
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

    theta: Float[Tensor, "*theta"]
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
        Both levels, with bounds on their derivatives.
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
    Ehrhardt and Roberts (2024), Analyzing inexact hypergradients for bilevel learning.
    """
    theta, start, adjoint = as_floats(integers=torch.float64, theta=theta, start=start, adjoint=adjoint)
    lower = solve_lower(problem, theta, start, accuracy=accuracy, n_iterations=n_iterations)
    x, curvature = lower.values, checked_curvature(problem, theta)
    product = watch(problem.hessian(x, theta), curvature)
    value, right = problem.upper(x)
    check_type(right, x)
    linear = conjugate_gradients(
        product, right, tolerance=linear_accuracy, start=adjoint, n_iterations=n_iterations
    )
    # A(x̂)(q − q̂) is made up of three errors: the residual, the change of ∇g and that of Aq between x̃ and x̂.
    eps, delta = lower.accuracy, linear.residual
    cross_norm, cross_change, hessian_change = problem.sensitivity(x, theta, linear.values, eps)
    adjoint_error = (delta + eps * (problem.upper_smoothness + hessian_change)) / curvature.convexity
    bound = cross_norm * adjoint_error + eps * cross_change
    z = -problem.cross(x, theta, linear.values)
    cost = lower.n_iterations + linear.n_products
    return Hypergradient(theta, z, bound, lower, linear, value, norm_of(right), cost)


# --- The line search ---------------------------------------------------------------------------------------------


class Bracket(NamedTuple):
    """Two numbers that f(θ) lies between."""

    low: float
    high: float


def certified_bracket(value: float, slope: float, accuracy: float, smoothness: float) -> Bracket:
    """Bracket f(θ) = g(x̂) by what is known at a point x̃ near the minimiser x̂.

    Parameters
    ----------
    value, slope
        g(x̃) and ‖∇g(x̃)‖.
    accuracy
        ε ≥ ‖x̃ − x̂‖.
    smoothness
        Lipschitz constant L_g of ∇g.

    Returns
    -------
    g − ‖∇g‖ε, a bound from below since g is convex, and g + ‖∇g‖ε + ½L_g ε², one from above since ∇g is Lipschitz.
    """
    return Bracket(value - slope * accuracy, value + slope * accuracy + smoothness * accuracy**2 / 2)


@dataclass
class Budget:
    """Units of work: lower-level gradients and products with A.

    Attributes
    ----------
    n_units
        All that may be spent. The last solver may go over it.
    spent
        What has been.
    """

    n_units: int
    spent: int = 0

    @property
    def left(self) -> int:
        """What is left; never negative."""
        return max(self.n_units - self.spent, 0)

    def cap(self, most: int) -> int:
        """Cap the iterations of one solver by `most`, and by what is left."""
        return max(min(most, self.left), 1)


@dataclass(frozen=True)
class Step:
    """An accepted step: its length α, and where it ended, as θ with its lower-level solution."""

    length: float
    theta: Float[Tensor, "*theta"]
    lower: LowerSolution


def line_search(
    problem: BilevelProblem,
    here: Hypergradient,
    *,
    accuracy: float,
    step: float,
    shorten: float,
    n_trials: int,
    decrease: float,
    budget: Budget,
    trial_units: int = 2000,
    bracket: Callable[[float, float, float, float], Bracket] = certified_bracket,
) -> Step | None:
    """Look for a step α along −z after which the exact loss must have fallen by λα‖z‖², though nobody has seen it.

    Parameters
    ----------
    problem
        Both levels, with bounds on their derivatives.
    here
        The hypergradient z at θ.
    accuracy
        ε, for the lower level of each trial.
    step, shorten, n_trials
        The trials are α = step · shortenⁱ for i = 0, 1, ..., n_trials − 1.
    decrease
        λ.
    budget
        Pays for the trials.
    trial_units
        What one trial may cost. A trial that is cut off is judged by the accuracy that it reached.
    bracket
        Bounds f from below and above by g(x̃), ‖∇g(x̃)‖, ε and L_g.

    Returns
    -------
    The first step that passes, or None.
    """
    size, smoothness = norm_of(here.values), problem.upper_smoothness
    low = bracket(here.upper_value, here.upper_slope, here.lower.accuracy, smoothness).low
    for trial in range(n_trials):
        if not budget.left:
            break
        length = step * shorten**trial
        theta = here.theta - length * here.values
        there = solve_lower(
            problem, theta, here.lower.values, accuracy=accuracy, n_iterations=budget.cap(trial_units)
        )
        budget.spent += there.n_iterations
        value, slope = problem.upper(there.values)
        high = bracket(value, norm_of(slope), there.accuracy, smoothness).high
        if high - low <= -decrease * length * size**2:
            return Step(length, theta, there)
    return None


# --- The algorithm -----------------------------------------------------------------------------------------------


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
        ω, or infinity where the method has none.
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

    @property
    def accepted(self) -> tuple[Iterate, ...]:
        """The visits that a step led away from."""
        return tuple(visit for visit in self.history if visit.step > 0)


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
    trial_share: float = 0.05,
    bracket: Callable[[float, float, float, float], Bracket] = certified_bracket,
) -> BilevelResult:
    """Descend on the upper level, tightening the accuracy where it hinders and loosening it where it does not.

    Parameters
    ----------
    problem
        Both levels, with bounds on their derivatives.
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
    trial_share
        Share of the budget that one trial of the first search may cost; each failed search doubles it. (Not the
        paper's: without it one trial far away, where the lower level is badly conditioned, eats the budget.)
    bracket
        What the line search believes of f; see `line_search`.

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
    Salehi, Mukherjee, Roberts and Ehrhardt (2025), the method of adaptive inexact descent.
    """
    check_options(accuracy, linear_accuracy, step, decrease, angle, shorten, tighten, trial_share)
    for name, value in {"lengthen": lengthen, "loosen": loosen, "n_trials": n_trials}.items():
        check_at_least(name, value, 1)
    theta, start = as_floats(integers=torch.float64, theta=theta, start=start)
    budget, history, floor = Budget(n_units), [], 1e-14 * max(1.0, norm_of(start))
    x, adjoint, trials, before = start, None, n_trials, None
    trial_units = max(int(trial_share * n_units), 1)
    while budget.left and accuracy > floor:
        here = inexact_hypergradient(
            problem,
            theta,
            x,
            accuracy=accuracy,
            linear_accuracy=linear_accuracy,
            adjoint=adjoint,
            n_iterations=budget.cap(2000),
        )
        if before is not None:
            check_consistent(here, before)
        history.append(record(here, accuracy, linear_accuracy, budget, bound=here.bound))
        budget.spent += here.cost
        reached = here.lower.accuracy <= accuracy and here.adjoint.residual <= linear_accuracy
        if not budget.left and len(history) == 1 and not reached:
            raise ValueError(f"n_units must last for one hypergradient; got {n_units}")
        x, adjoint, before = here.lower.values, here.adjoint.values, here
        # z is a direction of descent if its error is below (1 − η) of its length.
        if here.bound <= (1 - angle) * norm_of(here.values) or tighten == 1:
            taken = line_search(
                problem,
                here,
                accuracy=accuracy,
                step=step,
                shorten=shorten,
                n_trials=trials,
                decrease=decrease,
                budget=budget,
                trial_units=trial_units,
                bracket=bracket,
            )
            if taken is not None:
                history[-1] = replace(history[-1], step=taken.length)
                theta, x, before = taken.theta, taken.lower.values, None
                step, trials = lengthen * taken.length, n_trials
                accuracy, linear_accuracy = loosen * accuracy, loosen * linear_accuracy
                continue
            if tighten == 1:
                break
            trials, trial_units = trials + 1, 2 * trial_units
        accuracy, linear_accuracy = tighten * accuracy, tighten * linear_accuracy
    return BilevelResult(theta, x, budget.spent, tuple(history))


def record(
    here: Hypergradient, accuracy: float, linear_accuracy: float, budget: Budget, *, bound: float = math.inf
) -> Iterate:
    """Write a visit down, before it is paid for and before a step leads away."""
    return Iterate(
        here.theta, here.upper_value, here.values, bound, accuracy, linear_accuracy, 0.0, budget.spent
    )
