"""The minimiser of the features model beside SciPy's L-BFGS on the same objective, from the same inputs."""

from collections.abc import Callable

import pytest
import torch

from regularity.theory.neural_collapse import (
    FeatureModel,
    minimise,
    minimise_by_lbfgs,
    objective,
    one_hot_targets,
)

PER_CLASS, N_FEATURES = 30, 64
LABELS = torch.arange(10).repeat(PER_CLASS)
TARGETS = one_hot_targets(LABELS, len(LABELS))
GENERATOR = torch.Generator().manual_seed(0)
MEANS = torch.randn(10, N_FEATURES, generator=GENERATOR, dtype=torch.float64)
NOISE = torch.randn(len(LABELS), N_FEATURES, generator=GENERATOR, dtype=torch.float64)
INPUTS = (TARGETS @ MEANS + NOISE).relu()
START = 0.1 * torch.randn(10, N_FEATURES, generator=GENERATOR, dtype=torch.float64)
MODEL = FeatureModel(0.05, 0.1, 1.0)


def test_minimise(compare: Callable[..., None]) -> None:
    """Exact turns, extrapolated, against quasi-Newton steps on features and head together."""
    ours = minimise(INPUTS, LABELS, MODEL, tolerance=1e-9)
    theirs = minimise_by_lbfgs(INPUTS, LABELS, MODEL, START)
    values = [
        objective(found.features, found.head, INPUTS, TARGETS, MODEL).item() for found in (ours, theirs)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    compare(
        "features of 300 samples that minimise the model",
        method="minimise",
        peer="scipy",
        run_method=lambda: minimise(INPUTS, LABELS, MODEL, tolerance=1e-9),
        run_peer=lambda: minimise_by_lbfgs(INPUTS, LABELS, MODEL, START),
        quality=(values[0], values[1]),
        quality_name="objective",
        note="Each turn solves for all features, or for the head, at once; the peer has 19,840 unknowns.",
    )
