"""Valid arguments of hierarchical_polynomials's functions of tensors."""

from tests.draws import random, seeded
from tests.inputs import Example, doubles

FEATURES = random(9, 4, seed=1)
GRAM = FEATURES.T @ FEATURES / 9
STAGE = {"gram": GRAM, "moment": random(4, seed=2), "penalties": doubles(0.1, 1.0)}
SAMPLES = {"inputs": random(30, 2), "labels": random(30, seed=1)}


EXAMPLES = {
    "inner_features": Example({"points": random(5, 3), "directions": random(4, 3, seed=1), "degree": 2}),
    "descend": Example(STAGE | {"n_steps": 5}),
    "ridge": Example(STAGE),
    "train_layerwise": Example(
        SAMPLES | {"degree": 2, "width1": 8, "width2": 5, "generator": seeded}, random=True
    ),
    "polynomial_kernel": Example(
        {"points": random(3, 2), "others": random(4, 2, seed=1), "degree": 4, "shift": 0.5}
    ),
    "fit_kernel_ridge": Example(
        {"kernel": FEATURES @ FEATURES.T, "labels": random(9, seed=3), "penalty": 0.1}
    ),
    "one_step_feature": Example(SAMPLES | {"points": random(4, 2, seed=2), "lower_degrees": True}),
    "train_relu_network": Example(
        {
            "widths": [2, 4],
            "inputs": random(30, 2).float(),
            "labels": random(30, seed=1).float(),
            "validation": (random(5, 2).float(), random(5).float()),
            "learning_rate": 0.01,
            "n_epochs": 1,
            "batch_size": 10,
            "generator": seeded,
        },
        random=True,
        raises=(FloatingPointError,),
    ),
}
