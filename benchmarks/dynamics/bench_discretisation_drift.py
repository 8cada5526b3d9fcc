"""Principal flows beside SciPy: 1,000 paths in the bent valley, for the time of three gradient steps.

SciPy has no principal flow; a user would give its velocity, written out in NumPy, to `scipy.integrate.solve_ivp`.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from regularity.dynamics.discretisation_drift import banana
from regularity.dynamics.discretisation_drift.experiment import follow, principal

LEARNING_RATE, N_STEPS, N_PATHS = 0.1, 3, 1000
GENERATOR = torch.Generator().manual_seed(0)
STARTS = torch.rand(N_PATHS, 2, generator=GENERATOR, dtype=torch.float64) - torch.tensor([1.0, 0.0])


def velocity(_: float, point: np.ndarray) -> np.ndarray:
    """Of the principal flow, with gradient and Hessian by hand."""
    x, y = point
    gradient = np.array([-0.2 * (1 - x) - 2 * x * (y - x**2), y - x**2])
    curvature = np.array([[0.2 - 2 * (y - x**2) + 4 * x**2, -2 * x], [-2 * x, 1.0]])
    values, vectors = np.linalg.eigh(curvature)
    z = LEARNING_RATE * values
    return vectors @ (np.log1p(-z) / z * (vectors.T @ gradient))


def follow_by_scipy() -> np.ndarray:
    """The ends of all paths, one after the other."""
    time = LEARNING_RATE * N_STEPS
    options = {"method": "DOP853", "rtol": 1e-6, "atol": 1e-8}
    return np.stack([solve_ivp(velocity, (0, time), start, **options).y[:, -1] for start in STARTS.numpy()])


def follow_side_by_side() -> torch.Tensor:
    """The ends of all paths, in one tensor."""
    return follow(
        lambda points: principal(banana, points, LEARNING_RATE), STARTS, LEARNING_RATE * N_STEPS, 4 * N_STEPS
    )


def test_principal_flow(compare: Callable[..., None]) -> None:
    """Both are compared with SciPy at a far tighter tolerance; neither may err by more than 1e-5."""
    time = LEARNING_RATE * N_STEPS
    exact = np.stack(
        [
            solve_ivp(velocity, (0, time), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
            for start in STARTS.numpy()
        ]
    )
    ours = np.abs(follow_side_by_side().numpy() - exact).max()
    theirs = np.abs(follow_by_scipy() - exact).max()
    assert ours == pytest.approx(0, abs=1e-5)
    assert theirs == pytest.approx(0, abs=1e-5)
    compare(
        "1,000 paths of a principal flow, three steps each",
        method="principal_flow",
        peer="scipy",
        run_method=follow_side_by_side,
        run_peer=follow_by_scipy,
        n_units=N_PATHS,
        quality=(ours, theirs),
        quality_name="largest error",
        note="All paths are one tensor here, with automatic derivatives; SciPy takes them in turn.",
    )
