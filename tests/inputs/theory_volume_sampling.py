"""Valid arguments of volume_sampling's functions of tensors."""

import torch

from regularity.foundations.polynomials import total_degree_indices
from regularity.theory.volume_sampling import polynomial_space
from tests.draws import random
from tests.inputs import Example

SYSTEM = {"features": random(2, 5, 3), "weights": random(2, 5, seed=1).exp()}

EXAMPLES = {
    "gram_matrices": Example(SYSTEM),
    "volume_density": Example(SYSTEM),
    "weighted_least_squares": Example(SYSTEM | {"values": random(2, 5, 2, seed=2)}),
    "sample_at": Example(
        {
            "space": polynomial_space("legendre", total_degree_indices(1, 2)),
            "points": torch.tanh(random(2, 4, 1)),
        }
    ),
    "polynomial_space": Example({"family": "legendre", "indices": total_degree_indices(2, 2)}),
    "population_space": Example({"rows": random(6, 3)}),
}
