"""Valid arguments of rolling_ball's functions of tensors."""

import torch

from tests.draws import random, seeded
from tests.inputs import Example, doubles


def bowl(x: torch.Tensor) -> torch.Tensor:
    """A loss that bends up, and is small everywhere."""
    return 0.5 * (1 + x.square().sum()).log()


def values_and_gradients(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the bowl, for several runs."""
    squares = 1 + points.square().sum(dim=-1)
    return 0.5 * squares.log(), points / squares[:, None]


def refused_or_bounded(result: object) -> bool:
    """A sum of sines is bounded; at so large a number float32 has no digit of it right."""
    return True


POINT = doubles(0.4, -0.7)
POINTS = random(3, 2)
RATES = doubles(0.1, 0.2, 0.3)
ROLLS = {
    "value_and_gradient": values_and_gradients,
    "points": POINTS,
    "learning_rate": RATES,
    "radius": doubles(0.5, 1.0, 2.0),
    "projection_rate": doubles(0.01, 0.02, 0.03),
    "n_projections": 5,
}
CURVE = {"values": random(40), "spacing": 0.1, "radius": 0.5}

EXAMPLES = {
    "rolling_ball_step": Example(ROLLS),
    "descended_centre": Example(
        {"points": POINTS, "gradients": random(3, 2, seed=1), "learning_rate": 0.1, "radius": 0.5}
    ),
    "largest_radius": Example({"loss": bowl, "point": POINT}),
    "contact_point": Example(
        {"loss": bowl, "start": POINT, "centre": doubles(0.3, -0.6, 0.9), "tolerance": 1e-5}
    ),
    "roll": Example({"loss": bowl, "point": POINT, "learning_rate": 0.1, "radius": 0.5, "tolerance": 1e-5}),
    "offset_surface": Example(CURVE),
    "rolled_surface": Example(CURVE),
    "sharpness_aware": Example({"value_and_gradient": values_and_gradients, "neighbourhood": RATES}),
    "entropy_sgd_step": Example(
        {
            "value_and_gradient": values_and_gradients,
            "points": POINTS,
            "learning_rate": RATES,
            "inner_rate": RATES,
            "n_langevin": 4,
            "generator": seeded,
        },
        random=True,
    ),
    "rough_sum": Example({"x": doubles(0.3, 1.7)}, right={"overflow": refused_or_bounded}),
    "two_waves": Example({"x": doubles(0.3, 1.7)}, right={"overflow": refused_or_bounded}),
}
