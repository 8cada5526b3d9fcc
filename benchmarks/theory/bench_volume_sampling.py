"""Projection DPPs beside DPPy: seconds a set of points, for polynomials and for the rows of a table.

Both sample exactly. DPPy draws sets one after another, the method many side by side. Before the clock runs, both are
held against a moment of the law that is known: the mean of Σ ‖x‖² over the points of a set, or the share of sets with
the row of the largest leverage.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from dppy.finite_dpps import FiniteDPP
from dppy.multivariate_jacobi_ope import MultivariateJacobiOPE
from sklearn.datasets import load_diabetes

from regularity.foundations.polynomials import gauss_legendre
from regularity.theory.volume_sampling import FeatureSpace, polynomial_space, population_space, projection_dpp

N_SETS = 400


def mean_of_squares(space: FeatureSpace, n_variables: int) -> float:
    """E Σ ‖x‖² = ∫ ‖x‖² k dμ, by quadrature."""
    nodes, weights = gauss_legendre(30)
    points = torch.cartesian_prod(*[nodes] * n_variables).reshape(-1, n_variables)
    weights = torch.cartesian_prod(*[weights] * n_variables).reshape(-1, n_variables).prod(dim=1)
    leverage = space.features(points).square().sum(dim=1)
    return (weights * leverage * points.square().sum(dim=1)).sum().item()


@pytest.mark.parametrize(("n_points", "n_variables"), [(10, 1), (15, 2)])
def test_polynomials(n_points: int, n_variables: int, compare: Callable[..., None]) -> None:
    """Legendre polynomials in the peer's own order."""
    peer = MultivariateJacobiOPE(n_points, np.zeros((n_variables, 2)))
    space = polynomial_space("legendre", torch.tensor(peer.ordering).reshape(n_points, n_variables))

    def run_method(n_sets: int = N_SETS) -> torch.Tensor:
        return projection_dpp(space, n_sets, torch.Generator().manual_seed(0))

    def run_peer() -> np.ndarray:
        rng = np.random.RandomState(0)
        return np.stack([peer.sample(random_state=rng) for _ in range(N_SETS)])

    exact = mean_of_squares(space, n_variables)
    quality = tuple(
        (np.asarray(sets) ** 2).sum(axis=(1, 2)).mean() / exact for sets in (run_method(), run_peer())
    )
    assert quality == pytest.approx((1, 1), abs=0.02)
    fast = "In one variable the peer takes the eigenvalues of a random tridiagonal matrix: no chain of draws."
    many = "The method draws its sets side by side, the peer one after another."
    compare(
        f"{n_points} points in {n_variables} variable{'s' * (n_variables > 1)}, a set",
        method="projection_dpp",
        peer="dppy",
        run_method=run_method,
        run_peer=run_peer,
        n_units=N_SETS,
        quality=quality,
        quality_name="E Σ‖x‖² over its exact value",
        note=fast if n_variables == 1 else many,
    )


def test_population(compare: Callable[..., None]) -> None:
    """Eleven of 442 patients."""
    rows = load_diabetes().data
    rows = np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
    basis = np.linalg.qr(rows)[0]
    peer = FiniteDPP("correlation", projection=True, K=basis @ basis.T)
    space = population_space(torch.tensor(rows))

    def run_method() -> torch.Tensor:
        return projection_dpp(space, N_SETS, torch.Generator().manual_seed(0))

    def run_peer() -> list[list[int]]:
        rng = np.random.RandomState(0)
        return [peer.sample_exact(random_state=rng) for _ in range(N_SETS)]

    leverage = (basis**2).sum(axis=1)
    ours, theirs = np.asarray(run_method())[..., 0].astype(int), np.asarray(run_peer())
    quality = tuple(leverage[sets].sum(axis=1).mean() / (leverage**2).sum() for sets in (ours, theirs))
    assert quality == pytest.approx((1, 1), abs=0.03)
    compare(
        "11 rows of 442, a set",
        method="projection_dpp",
        peer="dppy",
        run_method=run_method,
        run_peer=run_peer,
        n_units=N_SETS,
        quality=quality,
        quality_name="mean leverage over its exact value",
        note="The method proposes rows by their leverage; the peer updates all rows after each draw.",
    )
