"""Valid arguments of batch_learning_rates' functions of tensors."""

import torch
from torch import nn

from regularity.dynamics.batch_learning_rates import SampledLoss
from regularity.foundations.curvature import flat_parameters
from tests.draws import random, seeded
from tests.inputs import Example, doubles

NETWORK = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
_, CALL = flat_parameters(NETWORK)
INPUTS, LABELS = random(8, 2), torch.arange(8) % 2


def call(point: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """The network at the type of its point."""
    if len(point) != 12:
        raise ValueError(f"point must have 12 entries; got {len(point)}")
    return CALL(point, inputs.to(point.dtype))


SAMPLED = SampledLoss(call, INPUTS, LABELS)
POINT = random(12, seed=1)
MEASURED = {"sampled": SAMPLED, "point": POINT, "n_draws": 3, "generator": seeded}
TRAINED = {"sampled": SAMPLED, "points": random(2, 1, 12, seed=2)}
DIAGONAL = torch.linspace(-1, 3, 12, dtype=torch.float64)


def failure(result: object) -> bool:
    """A training that ended in NaN or infinity has failed, and is counted so; where all have, no rate works."""
    return True


def saturated(result: object) -> bool:
    """Infinite weights in front of tanh give finite outputs."""
    return True


EXAMPLES = {
    "curvature_noise": Example(MEASURED),
    "second_order_shift": Example(MEASURED | {"n_steps": 6}, random=True),
    "batch_extremes": Example(
        MEASURED | {"along": random(12, seed=3), "batch_size": 4, "n_steps": 6}, random=True
    ),
    "largest_stable": Example(
        {"learning_rates": doubles(1, 2, 4), "losses": doubles(0.1, 0.2, 0.9)[None], "threshold": 0.3},
        right={f"{case} losses": failure for case in ("NaN", "infinity", "huge", "overflow")},
    ),
    "log_log_slope": Example({"sizes": [1, 4, 8], "values": doubles(1, 2, 3)}),
    "learn_steps": Example(
        {
            "products": [lambda v: DIAGONAL.to(v) * v],
            "like": random(12),
            "momentum": "damped",
            "n_steps": 6,
            "generator": seeded,
        }
    ),
    "additive_spectrum": Example(
        {"eigenvalues": doubles(3, 1, 0, -2), "noise": 1.0, "size": 4, "generator": seeded}
    ),
    "multiplicative_spectrum": Example({"eigenvalues": doubles(3, 1, 0.5), "size": 4, "generator": seeded}),
    "train_runs": Example(
        TRAINED
        | {"update": lambda gradients: -0.1 * gradients, "batch_size": 4, "n_epochs": 2, "generator": seeded}
    ),
    "evaluate": Example(TRAINED, right={"infinity points": saturated}),
}
