"""Valid arguments of discretisation_drift's functions of tensors."""

from regularity.dynamics.discretisation_drift import (
    banana,
    polynomial_game,
)
from tests.draws import random
from tests.inputs import Example, doubles

POINTS = doubles(-0.6, 0.9)[None]
FLOW = {"loss": banana, "points": POINTS}
HESSIAN = doubles(1.0, 0.2, 0.2, 0.5).reshape(2, 2)
PLAYERS = {"game": polynomial_game, "first": doubles(0.8), "second": doubles(-0.5)}
RATES = {"learning_rates": (0.1, 0.2)}

EXAMPLES = {
    "modified_flow": Example(FLOW | {"learning_rate": 0.1, "order": 3}),
    "curvature_drift": Example(FLOW),
    "frozen_flow": Example(FLOW | {"starts": POINTS + 0.1, "learning_rate": 0.1}),
    "principal_coefficient": Example({"z": doubles(-1.0, 0.5, 1.8, 2.1)}),
    "principal_flow": Example({"gradient": doubles(0.3, -0.4), "hessian": HESSIAN, "learning_rate": 0.3}),
    "drift_adjusted_rate": Example({"gradient": random(2, 3), "hessian_gradient": random(2, 3, seed=1)}),
    "game_drift": Example(PLAYERS | RATES),
    "play_round": Example(PLAYERS | RATES | {"cancel": 1.0}),
    "power_iteration": Example({"weights": random(2, 3, 4), "direction": random(2, 4, seed=1)}),
    "banana": Example({"point": POINTS[0]}),
    "polynomial_game": Example({"first": doubles(0.8), "second": doubles(-0.5)}),
    "network_loss": Example(
        {
            "call": lambda point, inputs: inputs @ point[:, None],
            "inputs": random(4, 2),
            "labels": doubles(0.0, 1.0, 1.0, 0.0),
            "fit": "logistic",
        }
    ),
}
