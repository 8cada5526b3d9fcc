"""Valid arguments of barron_pdes's functions of tensors."""

import torch

from regularity.theory.barron_pdes import cosine_basis, power_law, variational_pde
from tests.draws import random, seeded
from tests.inputs import Example

BASIS = cosine_basis(4)
SERIES = {"coefficients": random(4, 4), "basis": BASIS}
PDE = variational_pde(power_law(3), random(4, 4, seed=1), BASIS)
FUNCTION = {"pde": PDE, "coefficients": random(4, 4, seed=2)}
DRAWN = Example(SERIES | {"width": 5, "n_draws": 2, "generator": seeded}, random=True)
STEPS = {"activation": "step"}

EXAMPLES = {
    "evaluate": Example(SERIES | {"points": random(3, 2, seed=1)}),
    "barron_norm": Example(SERIES),
    "variational_pde": Example(
        {"lagrangian": power_law(3), "forcing": random(4, 4), "basis": BASIS},
    ),
    "energy": Example(FUNCTION),
    "first_variation": Example(FUNCTION),
    "energy_curvature": Example({"pde": PDE, "functions": random(2, 4, 4)}),
    "descend": Example({"pde": PDE, "rates": torch.full((4, 4), 1e-3).double(), "n_steps": 3}),
    "maurey_network": DRAWN,
    "maurey_network (steps)": Example(DRAWN.arguments | STEPS, random=True),
    "maurey_error": Example(SERIES),
    "maurey_error (steps)": Example(SERIES | STEPS),
}
