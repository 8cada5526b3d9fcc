"""Free discontinuity regression beside a cone solver, a change-point library and scikit-image.

A user without this library would write the lifted problem in cvxpy and hand it to Clarabel, find changes in a series
by ruptures, and smooth by scikit-image's total variation.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import ruptures
import torch
from skimage.restoration import denoise_tv_chambolle

from regularity.foundations.proximal import denoise_total_variation, forward_gradient, lengths
from regularity.stein.free_discontinuity import find_jumps, lifted_mumford_shah, mumford_shah_on_a_line
from tests.draws import seeded
from tests.peers import lifted_cone


def test_lifted_problem_to_one_per_cent(compare: Callable[..., None]) -> None:
    """The relaxed problem of a noisy step on 10 by 10 cells, to a relative gap of one per cent.

    Of the peer only Clarabel's own time counts, not cvxpy's translation, which takes longer.
    """
    noise = torch.randn(10, 10, generator=seeded(), dtype=torch.float64)
    data = 0.25 + 0.5 * (torch.arange(10)[:, None] + torch.arange(10) > 9) + 0.05 * noise
    fidelity, price = 500.0, 0.3
    problem, _ = lifted_cone(data.numpy(), fidelity, price, 8)
    translated, chain, _ = problem.get_problem_data("CLARABEL")

    def run_method() -> float:
        return lifted_mumford_shah(data[None].float(), fidelity, price, tolerance=0.01).primal.item()

    def run_peer(gap: float = 0.01, infeasibility: float = 1e-4) -> float:
        options = {"tol_gap_rel": gap, "tol_gap_abs": gap, "tol_feas": infeasibility}
        return chain.solver.solve_via_data(translated, False, False, options).obj_val

    least, ours, theirs = run_peer(1e-6, 1e-6), run_method(), run_peer()
    assert ours == pytest.approx(least, rel=0.01)
    assert theirs == pytest.approx(least, rel=0.01)
    compare(
        "the lifted problem of 10 by 10 cells and 8 bins, to a gap of 1 %",
        method="lifted_mumford_shah",
        peer="clarabel",
        run_method=run_method,
        run_peer=run_peer,
        quality=(100 * abs(ours / least - 1), 100 * abs(theirs / least - 1)),
        quality_name="distance from the minimum (%)",
        note="Clarabel's own time, without cvxpy's translation of the problem.",
    )


def test_changes_of_a_series(compare: Callable[..., None]) -> None:
    """The exact minimiser on a line and ruptures' exact search with a penalty, on one piecewise constant series."""
    levels = torch.tensor([0.1, 0.7, 0.3, 0.9, 0.5, 1.0, 0.2, 0.6], dtype=torch.float64).repeat_interleave(50)
    series = levels + 0.05 * torch.randn(400, generator=seeded(), dtype=torch.float64)
    true = set(range(50, 400, 50))
    fidelity, price = 300.0, 0.5

    def run_method() -> list[int]:
        surface, _ = mumford_shah_on_a_line(series, fidelity, price)
        return (find_jumps(surface, math.sqrt(price / 400)).cells.nonzero()[:, 0] + 1).tolist()

    def run_peer() -> list[int]:
        return ruptures.Pelt(model="l2", jump=1, min_size=2).fit(series.numpy()).predict(pen=0.03)[:-1]

    def overlap(changes: list[int]) -> float:
        return len(true & set(changes)) / len(true | set(changes))

    ours, theirs = overlap(run_method()), overlap(run_peer())
    assert ours == theirs == 1
    compare(
        "the changes in a series of 400 numbers",
        method="mumford_shah_on_a_line",
        peer="ruptures",
        run_method=run_method,
        run_peer=run_peer,
        quality=(ours, theirs),
        quality_name="found and true changes in common, over all of either",
        note="Our model allows slopes between the changes, the peer's does not.",
    )


def test_total_variation(compare: Callable[..., None]) -> None:
    """Sixteen grids of 32 by 32 cells with a weight each, to the same objective; the peer takes one at a time."""
    noisy = torch.rand(16, 32, 32, generator=seeded())
    weights = torch.logspace(-1.5, 0, 16)

    def run_method() -> torch.Tensor:
        return denoise_total_variation(noisy, weights, n_iterations=100).values

    def run_peer() -> torch.Tensor:
        pairs = zip(noisy.numpy(), weights.tolist(), strict=True)
        found = [denoise_tv_chambolle(grid, weight, eps=1e-5, max_num_iter=1000) for grid, weight in pairs]
        return torch.from_numpy(np.stack(found))

    def objective(values: torch.Tensor) -> float:
        variation = lengths(forward_gradient(values, 2), 1).flatten(1).sum(dim=1)
        return (0.5 * (values - noisy).square().flatten(1).sum(dim=1) + weights * variation).sum().item()

    ours, theirs = objective(run_method()), objective(run_peer())
    assert ours <= 1.001 * theirs
    compare(
        "total variation of 16 grids of 32 by 32 cells",
        method="denoise_total_variation",
        peer="scikit-image",
        run_method=run_method,
        run_peer=run_peer,
        n_units=16,
        quality=(ours, theirs),
        quality_name="objective, sum over the grids (lower is better)",
        note="All grids in one batch; the peer takes them one by one, and never uses a second thread.",
    )
