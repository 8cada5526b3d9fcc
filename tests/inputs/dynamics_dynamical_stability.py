"""Valid arguments of dynamical_stability's functions of tensors."""

import math

from regularity.dynamics.dynamical_stability import DiagonalNetwork, gram_matrix
from tests.draws import random, seeded
from tests.inputs import Example, doubles

JACOBIAN = random(5, 3)
UNIT = doubles(0.6, 0.0, 0.8)[None, None]
GRAM = {"gram": gram_matrix(JACOBIAN)}
STEP = {"learning_rate": 0.2, "batch_size": 2}
RUNS = {
    "network": DiagonalNetwork(),
    "parameters": (random(2, 3, 4), random(2, 3, 4, seed=1)),
    "inputs": random(2, 5, 4, seed=2),
    "targets": random(2, 5, seed=3),
    "learning_rates": doubles(0.01, 0.02, 0.6),
    "n_steps": 5,
    "generator": seeded,
}


def zero(result: object) -> bool:
    """The Hessian is zero, and no learning rate is too large for it."""
    return result == math.inf


EXAMPLES = {
    "gram_matrix": Example({"jacobian": JACOBIAN}),
    "sharpness": Example(GRAM),
    "second_moment_step": Example({"moment": random(3, 3, seed=4), "jacobian": JACOBIAN} | STEP),
    "growth_rate": Example(GRAM | STEP),
    "critical_learning_rate": Example(GRAM | {"batch_size": 2}),
    "alignment": Example(GRAM),
    "descend": Example(RUNS),
    "teacher_regression": Example(
        {"directions": UNIT.expand(2, 1, 3), "n_samples": 5, "generator": seeded}, random=True
    ),
}
