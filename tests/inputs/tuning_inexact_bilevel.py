"""Valid arguments of inexact_bilevel's functions of tensors."""

import torch

from regularity.tuning.inexact_bilevel import (
    BoundViolatedError,
    FieldOfExperts,
    NotStronglyConvexError,
    QuadraticProblem,
    SoftmaxRegression,
    TotalVariation,
)
from tests.draws import random, seeded
from tests.inputs import Example

CLEAN = random(2, 1, 6, 7).sigmoid()
NOISY = CLEAN + 0.1 * random(2, 1, 6, 7, seed=1)
VARIATION = TotalVariation(NOISY, CLEAN)
EXPERTS = FieldOfExperts(NOISY, CLEAN, n_filters=2, filter_size=2)
QUADRATIC = QuadraticProblem(
    random(9, 3), random(9, 3, seed=1), random(9, 2, seed=2), random(9, seed=3), random(9, seed=4)
)
LABELS = torch.arange(12) % 3
SOFTMAX = SoftmaxRegression(random(12, 4), LABELS, random(12, 4, seed=1), LABELS, 3)

PLACES = {
    "quadratic": {"problem": QUADRATIC, "theta": random(2, seed=5), "start": random(3, seed=6)},
    "total variation": {"problem": VARIATION, "theta": torch.tensor([-2.0, -2.0]).double(), "start": NOISY},
    "experts": {"problem": EXPERTS, "theta": EXPERTS.start(seeded(7)), "start": NOISY},
    "softmax": {"problem": SOFTMAX, "theta": random(4, 1, seed=8), "start": random(4, 3, seed=9)},
}
# What is too large for a problem's constants is found out by the promises that are watched.
BROKEN = (BoundViolatedError, NotStronglyConvexError)
# Logarithms saturate at ±15, where penalties and weights of e^±15 stand side by side: float32 cannot solve that.
SATURATED = {"overflow theta": lambda result: True}
ACCURATE = {"accuracy": 1e-3, "linear_accuracy": 1e-3}

EXAMPLES = {
    f"{function} ({name})": Example(place | options, tolerance=2e-2, raises=BROKEN, right=SATURATED)
    for name, place in PLACES.items()
    for function, options in {
        "solve_lower": {"accuracy": 1e-3},
        "inexact_hypergradient": ACCURATE,
        "maid": {"n_units": 60, "accuracy": 0.1, "linear_accuracy": 0.1},
        "hoag": {"n_units": 60, "tolerance": lambda visit: 0.1, "smoothness": 10.0},
    }.items()
}
