"""Dynamical stability beside SciPy: the growth rate of SGD at a minimum, and the learning rate where it passes one.

What a user would write instead is the operator T on 60 × 60 matrices as a `LinearOperator`, its largest eigenvalue by
ARPACK (`scipy.sparse.linalg.eigsh`), and a root finder around it. A linear model, 100 samples in 60 dimensions.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, eigsh

from regularity.dynamics.dynamical_stability import critical_learning_rate, gram_matrix, growth_rate

N_SAMPLES, N_INPUTS = 100, 60
JACOBIAN = torch.randn(N_SAMPLES, N_INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
GRAM = gram_matrix(JACOBIAN)
RATE = 2 / GRAM.trace().item()
N_STEPS = 18  # of Lanczos: eight digits, as many as are asked of ARPACK


def radius_by_arpack(learning_rate: float) -> float:
    """Largest eigenvalue of T for batches of one, to eight digits."""
    rows = JACOBIAN.numpy()
    hessian = rows.T @ rows / N_SAMPLES

    def product(vector: np.ndarray) -> np.ndarray:
        moment = vector.reshape(N_INPUTS, N_INPUTS)
        drift = hessian @ moment + moment @ hessian
        weights = np.einsum("ni,ij,nj->n", rows, moment, rows, optimize=True) / N_SAMPLES
        noise = rows.T @ (weights[:, None] * rows)
        return (moment - learning_rate * drift + learning_rate**2 * noise).ravel()

    operator = LinearOperator((N_INPUTS**2,) * 2, matvec=product, dtype=np.float64)
    start = np.eye(N_INPUTS).ravel()
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-8, return_eigenvectors=False)[0])


def test_growth_rate(compare: Callable[..., None]) -> None:
    """Both find the same spectral radius."""
    ours, theirs = growth_rate(GRAM, learning_rate=RATE, n_steps=N_STEPS), radius_by_arpack(RATE)
    assert ours == pytest.approx(theirs, rel=1e-7)
    compare(
        "spectral radius of the stability operator, 100 samples, 60 dimensions",
        method="growth_rate",
        peer="scipy",
        run_method=lambda: growth_rate(GRAM, learning_rate=RATE, n_steps=N_STEPS),
        run_peer=lambda: radius_by_arpack(RATE),
        quality=(ours, theirs),
        quality_name="growth a step",
        note="The same products to the same eight digits; Lanczos with 18 of them, ARPACK with as many as it takes.",
    )


def test_critical_rate(compare: Callable[..., None]) -> None:
    """One generalised eigenvalue beside a search over spectral radii."""

    def search() -> float:
        return brentq(lambda rate: radius_by_arpack(rate) - 1, 0.3 * RATE, RATE, rtol=1e-8)

    ours, theirs = critical_learning_rate(GRAM, n_steps=N_STEPS), search()
    assert ours == pytest.approx(theirs, rel=1e-6)
    compare(
        "critical learning rate, 100 samples, 60 dimensions",
        method="critical_learning_rate",
        peer="scipy",
        run_method=lambda: critical_learning_rate(GRAM, n_steps=N_STEPS),
        run_peer=search,
        quality=(ours, theirs),
        quality_name="learning rate",
        note="The rate is one generalised eigenvalue; the root finder asks for a spectral radius at every trial.",
    )
