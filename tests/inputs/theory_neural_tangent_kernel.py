"""Valid arguments of neural_tangent_kernel's functions of tensors."""

import torch

from regularity.theory.neural_tangent_kernel import draw_networks
from tests.draws import random, seeded
from tests.inputs import Example, doubles

NETWORKS = draw_networks([2, 8, 1], n_runs=2, generator=seeded(), dtype=torch.float64)
POINTS = {"networks": NETWORKS, "inputs": random(3, 2)}
FEATURES = random(4, 6, seed=1)
KERNEL = FEATURES @ FEATURES.T


EXAMPLES = {
    "network_outputs": Example(POINTS),
    "conditional_covariance": Example(POINTS),
    "empirical_kernel": Example(POINTS | {"others": random(5, 2, seed=2)}),
    "train": Example(
        POINTS | {"targets": random(3, 1, seed=3), "learning_rate": 0.1, "n_steps": 3},
        raises=(FloatingPointError,),  # huge targets
    ),
    "kernel_flow": Example({"kernel": KERNEL}, tolerance=1e-3),
    "circle": Example({"angles": doubles(0.0, 1.0, 2.0)}),
    "product_of_coordinates": Example({"points": random(3, 2)}),
    "to_sphere": Example({"images": random(5, 4)}),
    "kernel_ridge": Example(
        {
            "kernel": KERNEL,
            "cross": random(2, 4, seed=2),
            "targets": random(4, 2, seed=3),
            "penalties": doubles(0.1, 1.0),
        }
    ),
}
