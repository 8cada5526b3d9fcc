"""Valid arguments of free_discontinuity's functions of tensors."""

import torch

from regularity.stein.free_discontinuity import sphere_border, sphere_side
from tests.draws import random, seeded
from tests.inputs import Example

GRIDS = 0.4 + 0.2 * random(2, 5, 5).tanh()
LINE = random(8).sigmoid()
POINTS, VALUES = random(80, 2).sigmoid(), random(80, seed=1)
FLOW = random(4, 2, 2, 5, 5, seed=2)
PRICES = {"fidelity": 60.0, "boundary_price": 0.4}
ENERGY = {"data": GRIDS, **PRICES}


def halve(rows: torch.Tensor) -> torch.Tensor:
    return rows / 2


EXAMPLES = {
    # problems
    "mumford_shah_energy": Example({"surfaces": 0.9 * GRIDS, **ENERGY}),
    "mumford_shah_on_a_line": Example({"data": LINE, **PRICES}),
    "cast_to_grid": Example({"points": POINTS, "values": VALUES, "n_cells": 3}),
    "nearest_neighbour_noise": Example({"points": POINTS, "values": VALUES}),
    "compare_borders": Example({"found": torch.eye(6).bool(), "border": sphere_border(6)}),
    "rand_index": Example({"regions": torch.arange(36).view(6, 6) // 9, "truth": sphere_side(6)}),
    # method
    "certify": Example({"surface": 0.9 * GRIDS, **ENERGY, "flow": FLOW, "n_bins": 4, "n_steps": 0}),
    "refit_between_jumps": Example({"surface": 0.9 * GRIDS, **ENERGY}, tolerance=1e-3),
    "lifted_mumford_shah": Example({**ENERGY, "n_bins": 3, "n_iterations": 5}, tolerance=1e-3),
    "project_paraboloid": Example(
        {"flow": random(2, 3, 2, 4), "tilt": random(2, 3, 4, seed=1), "height": random(2, 3, 4, seed=2)}
    ),
    "find_jumps": Example({"surface": random(6, 6), "threshold": 0.7}),
    "smallest_notable_jump": Example({"means": random(6, 6)}),
    "sure_of_candidates": Example(
        {
            "estimator": halve,
            "observed": random(12),
            "noise_std": 0.3,
            "n_candidates": 2,
            "generator": seeded,
        },
        random=True,
    ),
    "free_discontinuity_regression": Example(
        {
            "points": POINTS,
            "values": VALUES,
            "n_cells": 4,
            "fidelities": [60.0, 90.0],
            "boundary_prices": [0.4],
            "n_bins": 3,
            "n_iterations": 3,
            "generator": seeded,
        },
        random=True,
        tolerance=1e-2,
    ),
}
