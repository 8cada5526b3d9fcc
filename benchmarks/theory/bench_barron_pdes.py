"""A nonlinear equation in three dimensions, beside SciPy's Newton-Krylov solver with the same preconditioner.

SciPy's is collocation at the nodes of its cosine transform, and the residual is divided by I − Δ for it too.
"""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.fft
import scipy.optimize
import torch

from regularity.theory.barron_pdes import (
    barron_norm,
    cosine_basis,
    draw_forcing,
    evaluate,
    power_law,
    sobolev_descent,
    variational_pde,
)

N_MODES, N_NODES = 8, 16
BASIS = cosine_basis(N_MODES)
FORCING = draw_forcing(BASIS, 3, 8.0, torch.Generator().manual_seed(0))
PDE = variational_pde(power_law(3), FORCING, BASIS)
AXIS = torch.pi * (torch.arange(N_NODES, dtype=torch.float64) + 0.5) / N_NODES
AT_NODES = evaluate(FORCING, BASIS, torch.cartesian_prod(AXIS, AXIS, AXIS)).reshape([N_NODES] * 3).numpy()
SQUARES = np.arange(N_NODES) ** 2
STIFFNESS = 1 + SQUARES[:, None, None] + SQUARES[:, None] + SQUARES


def smoothed(values: np.ndarray) -> np.ndarray:
    """(I − Δ)⁻¹ by SciPy's transforms."""
    return scipy.fft.idctn(scipy.fft.dctn(values) / STIFFNESS)


def by_scipy() -> np.ndarray:
    """Values of the solution at the nodes."""
    start = np.zeros_like(AT_NODES)
    return scipy.optimize.newton_krylov(lambda u: u - smoothed(AT_NODES - u**3), start, f_tol=1e-6)


def by_descent() -> torch.Tensor:
    """Coefficients of the last iterate."""
    return sobolev_descent(PDE, learning_rate=0.4, n_steps=24).iterates[-1]


def test_sobolev_descent(compare: Callable[..., None]) -> None:
    """Both have the solution, up to what they leave of it to higher modes."""
    ours, theirs = by_descent(), by_scipy()
    values = evaluate(ours, BASIS, torch.cartesian_prod(AXIS, AXIS, AXIS)).reshape(theirs.shape).numpy()
    assert np.abs(values - theirs).max() == pytest.approx(0, abs=2e-4)
    transformed = torch.as_tensor(scipy.fft.dctn(theirs))[:N_MODES, :N_MODES, :N_MODES] / (2 * N_NODES) ** 3
    for axis in range(3):
        transformed.narrow(axis, 1, N_MODES - 1).mul_(2)
    compare(
        "−Δu + u + u³ = f in three dimensions",
        method="sobolev_descent",
        peer="scipy",
        run_method=by_descent,
        run_peer=by_scipy,
        quality=(barron_norm(ours, BASIS).item(), barron_norm(transformed, BASIS).item()),
        quality_name="Barron norm",
        note="Ours differentiates the energy, whatever L; what is written for SciPy knows that L is semilinear.",
    )
