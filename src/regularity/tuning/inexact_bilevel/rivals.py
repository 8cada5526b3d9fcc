"""What MAID is compared with: HOAG, and a line search that believes the values it computes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_positive
from regularity.tuning.inexact_bilevel.checks import norm_of
from regularity.tuning.inexact_bilevel.method import (
    BilevelResult,
    Bracket,
    Budget,
    inexact_hypergradient,
    record,
)
from regularity.tuning.inexact_bilevel.problems import BilevelProblem, Sensitivity


def plain_bracket(value: float, slope: float, accuracy: float, smoothness: float) -> Bracket:
    """Take g(x̃) for f(θ), as a backtracking search does that knows of no errors; for `maid`'s `bracket`."""
    return Bracket(value, value)


@dataclass(frozen=True)
class Eased:
    """A problem whose bounds on B and A are multiplied by a factor below one: no certificates, and less caution.

    Attributes
    ----------
    problem, factor
        The problem, and the factor.
    """

    problem: BilevelProblem
    factor: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.problem, name)

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """Ease the problem's own bounds."""
        return Sensitivity(*(self.factor * b for b in self.problem.sensitivity(x, theta, adjoint, radius)))


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
        Both levels, with bounds on their derivatives.
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
    The result; the visits' bounds are infinite.

    Raises
    ------
    ValueError
        If `smoothness` or a tolerance is not positive, or `theta` or `start` is not finite.

    References
    ----------
    Pedregosa (2016), Hyperparameter optimization with approximate gradient.
    """
    check_positive("smoothness", smoothness)
    theta, start = as_floats(integers=torch.float64, theta=theta, start=start)
    budget, history, x, adjoint = Budget(n_units), [], start, None
    kept, origin, moved, previous = None, theta, 0.0, tolerance(1)
    while budget.left:
        eps = tolerance(len(history) + 1)
        here = inexact_hypergradient(
            problem,
            theta,
            x,
            accuracy=eps,
            linear_accuracy=eps,
            adjoint=adjoint,
            n_iterations=budget.cap(2000),
        )
        history.append(replace(record(here, eps, eps, budget), step=1 / smoothness))
        budget.spent += here.cost
        if kept is not None and here.upper_value > kept.upper_value + eps + previous:
            smoothness *= 2
            history[-1] = replace(history[-1], step=0.0)
        else:
            if kept is not None and here.upper_value - eps <= (
                kept.upper_value + previous * (1 + moved) - smoothness / 2 * moved**2
            ):
                smoothness *= 0.95
            kept, origin = here, theta
        x, adjoint = kept.lower.values, kept.adjoint.values
        theta = origin - kept.values / smoothness
        moved = norm_of(kept.values) / smoothness
        previous = eps
    return BilevelResult(origin, x, budget.spent, tuple(history))
