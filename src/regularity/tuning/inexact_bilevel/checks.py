"""What the chapter's functions refuse, and the promises of a problem that they watch."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regularity.foundations.checks import check_positive
from regularity.tuning.inexact_bilevel.problems import BilevelProblem, Curvature

if TYPE_CHECKING:
    from regularity.tuning.inexact_bilevel.method import Hypergradient


class NotStronglyConvexError(ArithmeticError):
    """The lower level is not as convex as it claims."""


class BoundViolatedError(ArithmeticError):
    """Two certified statements contradict each other: a constant of the problem is wrong."""


def gradient_at(problem: BilevelProblem, x: Tensor, theta: Tensor) -> Tensor:
    """Compute ∂h/∂x; a θ or a start that does not fit the problem is an error by name."""
    try:
        gradient = problem.gradient(x, theta)
    except (RuntimeError, IndexError, ValueError) as error:
        shapes = f"{tuple(theta.shape)} and {tuple(x.shape)}"
        raise ValueError(f"theta and start must fit the problem; got shapes {shapes}: {error}") from error
    if gradient.shape != x.shape:
        raise ValueError(f"start must have the shape {tuple(gradient.shape)}; got {tuple(x.shape)}")
    return gradient


def check_type(right: Tensor, x: Tensor) -> None:
    """Refuse an x of another floating type than ∇g(x), which has the problem's."""
    if right.dtype != x.dtype:
        wanted, given = (str(values.dtype).removeprefix("torch.") for values in (right, x))
        raise ValueError(f"theta and start must be {wanted}, as the problem is; got {given}")


def norm_of(values: Tensor) -> float:
    """Euclidean length of a tensor of any shape."""
    return torch.linalg.vector_norm(values).item()


def check_options(
    accuracy: float,
    linear_accuracy: float,
    step: float,
    decrease: float,
    angle: float,
    shorten: float,
    tighten: float,
    trial_share: float,
) -> None:
    """Refuse options of `maid` that are out of their ranges."""
    positive = {
        "accuracy": accuracy,
        "linear_accuracy": linear_accuracy,
        "step": step,
        "decrease": decrease,
        "trial_share": trial_share,
    }
    for name, value in positive.items():
        check_positive(name, value)
    if not decrease < angle < 1:
        raise ValueError(f"decrease and angle must satisfy decrease < angle < 1; got {decrease} and {angle}")
    if not (0 < shorten < 1 and 0 < tighten <= 1):
        raise ValueError(f"shorten and tighten must lie between 0 and 1; got {shorten} and {tighten}")


def checked_curvature(problem: BilevelProblem, theta: Tensor) -> Curvature:
    """Ask a problem for μ and L, and refuse those that cannot be."""
    try:
        convexity, smoothness = problem.curvature(theta)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"theta must fit the problem; got shape {tuple(theta.shape)}: {error}") from error
    if not convexity > 0:
        raise NotStronglyConvexError(f"the lower level is not strongly convex at this θ: μ = {convexity:g}")
    if not convexity <= smoothness < math.inf:
        raise BoundViolatedError(f"L must be finite and at least μ = {convexity:g}; got {smoothness:g}")
    return Curvature(convexity, smoothness)


def watch(product: Callable[[Tensor], Tensor], curvature: Curvature) -> Callable[[Tensor], Tensor]:
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


def check_consistent(first: "Hypergradient", second: "Hypergradient") -> None:
    """Two hypergradients at one θ are as near to each other as their bounds to the exact one promise."""
    apart, allowed = norm_of(first.values - second.values), first.bound + second.bound
    slack = 1e3 * torch.finfo(first.values.dtype).eps * norm_of(first.values)
    if apart > allowed + slack:
        raise BoundViolatedError(
            f"two hypergradients at one θ are {apart:g} apart, but their error bounds add up to {allowed:g}"
        )
