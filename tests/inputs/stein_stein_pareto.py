"""Valid arguments of SVH-PSL's functions of tensors."""

import torch

from regularity.stein.stein_pareto import (
    PROBLEMS,
    SVH_PSL,
    ParetoSetModel,
    fit_surrogate,
    latin_hypercube,
    sample_preferences,
)
from tests.draws import random, seeded
from tests.inputs import Example

PREFERENCES = sample_preferences((5, 2), [seeded(1)])
ACTIVE = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1]][None]
COMPARED = {"values": random(1, 5, 2), "active": ACTIVE, "bandwidth": 0.8}
DESIGN = latin_hypercube(9, 4, [0])
EVALUATED = PROBLEMS["RE21"].evaluate(DESIGN)
SURROGATE = fit_surrogate(DESIGN, EVALUATED, n_steps=5)
NETWORK = ParetoSetModel(2, 4, [seeded()], width=5, dtype=torch.float64)
for layer in NETWORK.layers:  # far apart, or a kernel's bandwidth, a fourth power, magnifies rounding
    layer.data.mul_(4)
STEP = {
    "network": NETWORK,
    "preferences": PREFERENCES,
    "surrogate": SURROGATE,
    "method": SVH_PSL,
}

EXAMPLES = {
    "check_preferences": Example({"preferences": PREFERENCES}),
    "local_kernel": Example(COMPARED),
    "global_kernel": Example(COMPARED),
    "no_kernel": Example(COMPARED),
    "tchebycheff": Example(
        {"values": random(1, 5, 2), "preferences": PREFERENCES, "ideal": random(1, 2) - 4}
    ),
    "stein_hypernetwork_direction": Example(STEP, tolerance=1e-2),
    "stein_direction_by_particles": Example(STEP, tolerance=1e-2),
    "select_batch": Example(
        {
            "candidates": random(1, 6, 2),
            "front": random(1, 4, 2, seed=1) + 1,
            "reference": torch.full((1, 2), 4.0, dtype=torch.float64),
            "batch_size": 2,
        }
    ),
    "fit_surrogate": Example({"solutions": DESIGN, "objectives": EVALUATED, "n_steps": 5}),
}
