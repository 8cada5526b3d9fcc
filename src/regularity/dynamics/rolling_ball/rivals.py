"""What the ball is compared with, beside gradient descent: SAM and Entropy-SGD."""

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.dynamics.rolling_ball.method import Gradient, _as_column
from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
)


def sharpness_aware(value_and_gradient: Gradient, neighbourhood: float | Tensor) -> Gradient:
    """Make the gradient of SAM: that at the point a distance r uphill (Foret et al., 2021).

    It costs two gradients. Any optimiser may use it in the place of the plain one.
    """
    check_not_negative("neighbourhood", neighbourhood)
    check_finite("neighbourhood", neighbourhood)

    def uphill(points: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradients = value_and_gradient(points)
        lengths = gradients.norm(dim=-1, keepdim=True) + 1e-12
        _, ahead = value_and_gradient(points + _as_column(neighbourhood, points) * gradients / lengths)
        return losses, ahead

    return uphill


def entropy_sgd_step(
    value_and_gradient: Gradient,
    points: Float[Tensor, "runs d"],
    *,
    learning_rate: float | Float[Tensor, " runs"] = 1.0,
    inner_rate: float | Float[Tensor, " runs"] = 0.1,
    n_langevin: int = 20,
    scope: float = 0.03,
    averaging: float = 0.75,
    noise: float = 1e-4,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "runs d"]:
    """Step towards the mean of a short Langevin chain around each point (Chaudhari et al., 2017).

    The chain x ← x − a(∇f(x) + scope·(x − θ)) + √a·noise·normal is averaged as μ ← averaging·μ + (1 − averaging)·x,
    and θ moves by the share `learning_rate` towards μ. It costs `n_langevin` gradients.
    """
    check_positive("learning_rate", learning_rate)
    check_positive("inner_rate", inner_rate)
    check_at_least("n_langevin", n_langevin, 1)
    (points,) = as_floats(points=points, finite=False)
    rate = _as_column(inner_rate, points)
    where = points.device if generator is None else generator.device
    chain, mean = points, points
    for _ in range(n_langevin):
        _, gradients = value_and_gradient(chain)
        draws = torch.randn(points.shape, generator=generator, device=where).to(points)
        chain = chain - rate * (gradients + scope * (chain - points)) + rate**0.5 * noise * draws
        mean = averaging * mean + (1 - averaging) * chain
    moved = points + _as_column(learning_rate, points) * (mean - points)
    return moved.where(moved.isfinite().all(dim=-1, keepdim=True), torch.inf)
