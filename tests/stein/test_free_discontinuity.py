"""The lifting and its certificate against a cone solver, enumeration, dynamic programming; parts against peers."""

import dataclasses
import itertools
import math
import warnings

import numpy as np
import pytest
import ruptures
import scipy.sparse
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar
from scipy.stats import binned_statistic_dd
from sklearn.metrics import adjusted_rand_score

from regularity.data import load_nile
from regularity.foundations.proximal import denoise_total_variation
from regularity.foundations.risk import sure_gaussian
from regularity.stein.free_discontinuity import (
    Jumps,
    cast_to_grid,
    certify,
    compare_borders,
    draw_cone,
    experiment,
    find_jumps,
    free_discontinuity_regression,
    lifted_mumford_shah,
    method,
    mumford_shah_energy,
    mumford_shah_on_a_line,
    nearest_neighbour_noise,
    price_of,
    project_paraboloid,
    rand_index,
    refit_between_jumps,
    segment,
    smallest_notable_jump,
    sphere_border,
    sphere_side,
    step_height,
    sure_of_candidates,
)
from regularity.stein.free_discontinuity.rivals import tune_rival
from tests.draws import seeded
from tests.peers import solve_lifted_cone


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed), dtype=torch.float64)


def stepped_line(n=64, seed=0, noise_std=0.03):
    """A smooth curve with a jump up at 0.4 and one down at 0.75, with noise."""
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    noise = torch.randn(n, generator=seeded(seed), dtype=torch.float64)
    return 0.25 + 0.2 * torch.sin(3 * x) + 0.35 * (x > 0.4) - 0.2 * (x > 0.75) + noise_std * noise


def edges(surface, boundary_price):
    return (surface.diff().abs() >= math.sqrt(boundary_price / len(surface))).nonzero()[:, 0].tolist()


# --- The exact minimiser on a line --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("fidelity", "price"), [(40.0, 0.05), (40.0, 0.3), (300.0, 0.02), (5.0, 2.0)])
def test_the_line_is_the_best_of_all_jump_sets(fidelity, price, seed):
    data = uniform(9, seed=seed)
    g, side = data.numpy(), 1 / 9
    best, where = np.inf, None
    for joined in itertools.product([0.0, 1.0], repeat=8):
        steps = np.diff(np.eye(9), axis=0) * np.sqrt(joined)[:, None]
        matrix = np.vstack([np.sqrt(fidelity * side) * np.eye(9), steps / np.sqrt(side)])
        target = np.concatenate([np.sqrt(fidelity * side) * g, np.zeros(8)])
        u = np.linalg.lstsq(matrix, target, rcond=None)[0]
        energy = ((matrix @ u - target) ** 2).sum() + price * (8 - sum(joined))
        if energy < best:
            best, where = energy, u
    surface, energy = mumford_shah_on_a_line(data, fidelity, price)
    assert energy == pytest.approx(best, rel=1e-10)
    np.testing.assert_allclose(surface, where, atol=1e-10)
    assert mumford_shah_energy(surface[None], data[None], fidelity, price).item() == pytest.approx(energy)


def test_the_line_is_below_any_labelling_and_close_to_the_best_of_many_labels():
    """Dynamic programming over 801 labels (Viterbi), which rounds the surface: a little above, never below."""
    data, fidelity, price = stepped_line(40), 200.0, 0.3
    labels = np.linspace(-0.05, 1.05, 801)
    moves = 40 * np.minimum((labels[:, None] - labels) ** 2, price / 40)
    value = fidelity / 40 * (labels - data[0].item()) ** 2
    for g in data[1:].tolist():
        value = (moves + value).min(axis=1) + fidelity / 40 * (labels - g) ** 2
    energy = mumford_shah_on_a_line(data, fidelity, price)[1]
    assert energy < value.min() < 1.005 * energy


@pytest.mark.parametrize("shape", [(6,), (5, 5), (4, 4, 4)])
def test_energy_is_the_sum_over_the_cells(shape):
    surface, data, fidelity, price = uniform(*shape), uniform(*shape, seed=1), 30.0, 0.4
    side, total = 1 / shape[0], 0.0
    for cell in np.ndindex(shape):
        slope = 0.0
        for axis, place in enumerate(cell):
            if place + 1 < shape[axis]:
                after = tuple(p + (a == axis) for a, p in enumerate(cell))
                slope += ((surface[after] - surface[cell]).item() / side) ** 2
        total += fidelity * (surface[cell] - data[cell]).item() ** 2 + min(slope, price / side)
    energy = mumford_shah_energy(surface[None], data[None], fidelity, price)
    assert energy.item() == pytest.approx(side ** len(shape) * total)


# --- The projection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_projection_onto_the_paraboloid_is_the_nearest_point(scale):
    flow = scale * (uniform(6, 5, 2, 3) - 0.5)
    tilt, height = scale * (uniform(6, 5, 3, seed=1) - 0.5), scale * (uniform(6, 5, 3, seed=2) - 0.7)
    new_flow, new_tilt, new_height = project_paraboloid(flow, tilt, height)
    moved = 0
    for i, j, k in np.ndindex(6, 5, 3):
        vector = np.append(flow[i, j, :, k].numpy(), tilt[i, j, k])
        new = np.append(new_flow[i, j, :, k].numpy(), new_tilt[i, j, k])
        t, size = height[i, j, k].item(), np.linalg.norm(vector)
        if t >= size**2 / 4:
            np.testing.assert_array_equal(new, vector)
            assert new_height[i, j, k].item() == t
            continue
        moved += 1
        far = 2 * size + 2 * abs(t) + 2
        found = minimize_scalar(
            lambda r, size=size, t=t: (r - size) ** 2 + (r**2 / 4 - t) ** 2,
            bounds=(0, far),
            method="bounded",
            options={"xatol": 1e-11},
        )
        np.testing.assert_allclose(new, found.x * vector / size, atol=1e-5 * max(scale, 1))
        assert new_height[i, j, k].item() == pytest.approx((new**2).sum() / 4, rel=1e-12)
    assert moved > 30


def test_the_projection_keeps_its_digits_in_single_precision():
    """Heights far below a flat part (b ≫ a), where the closed form of the root cancels to nothing."""
    flow, tilt = torch.tensor([1e-3, 1.0, 20.0]).view(1, 1, 1, 3), torch.zeros(1, 1, 3)
    height = torch.tensor([-30.0, -1e3, -1e-3]).view(1, 1, 3)
    single = project_paraboloid(flow, tilt, height)
    double = project_paraboloid(flow.double(), tilt.double(), height.double())
    torch.testing.assert_close(single[0].double(), double[0], rtol=1e-6, atol=0)
    # The root's equation, in double precision: z³ + (2 − height) z = 2a, |flow| = 2z, a = |old flow|/2.
    z = double[0][:, :, 0] / 2
    torch.testing.assert_close(z**3 + (2 - height.double()) * z, flow[:, :, 0].double(), rtol=1e-12, atol=0)


def test_the_apex_is_the_projection_of_the_points_under_it():
    zero = torch.zeros(1, 1, 2, 1)
    flow, tilt, height = project_paraboloid(zero, zero[:, :, 0], torch.full((1, 1, 1), -3.0))
    assert torch.equal(flow, zero)
    assert height.item() == tilt.item() == 0


# --- The lifting against a cone solver ----------------------------------------------------------------------------


CONES = {
    "line": (torch.tensor([0.1, 0.15, 0.12, 0.8, 0.85, 0.9], dtype=torch.float64), 40.0, 0.3, 7),
    "square": (0.2 * uniform(3, 3) + 0.6 * (torch.arange(3)[:, None] > torch.arange(3)), 100.0, 0.6, 4),
}


@pytest.mark.parametrize("name", CONES)
def test_a_cone_solver_finds_the_same_minimum(name):
    data, fidelity, price, n_bins = CONES[name]
    value, mean = solve_lifted_cone(data.numpy(), fidelity, price, n_bins)
    for n_iterations in (5, 300):
        found = lifted_mumford_shah(data[None], fidelity, price, n_bins=n_bins, n_iterations=n_iterations)
        slack = 1e-7 * value  # the cone solver's own
        assert found.dual.item() - slack <= value <= found.primal.item() + slack
    assert found.primal.item() == pytest.approx(value, rel=4e-3)
    assert found.dual.item() == pytest.approx(value, rel=4e-3)
    # Where a cell's measure is a point, its mean is the surface; elsewhere the minimum is not unique.
    lifted = found.lifted[0]
    sharp = ((lifted > 0.01) & (lifted < 0.99)).sum(dim=0) <= 1
    assert sharp.double().mean() > 0.4
    np.testing.assert_allclose(found.surface[0][sharp], mean[sharp], atol=5e-3)


def test_the_first_problem_has_the_value_that_it_had():
    """Frozen from cvxpy 1.9.3 with Clarabel 0.11.1: `solve_lifted_cone` on the line of six cells."""
    data, fidelity, price, n_bins = CONES["line"]
    found = lifted_mumford_shah(data[None], fidelity, price, n_bins=n_bins, n_iterations=400)
    assert found.dual.item() <= 0.32217209 <= found.primal.item()
    expected = [0.1144665, 0.1305403, 0.1249920, 0.8255523, 0.8570938, 0.8774975]
    np.testing.assert_allclose(found.surface[0], expected, atol=3e-3)


# --- The certificate against enumeration and dynamic programming --------------------------------------------------


def enumerate_cuts(data, fidelity, price):
    """The least energy on a small grid: for each set of cut cells a linear system."""
    n, n_axes = data.shape[0], data.ndim
    side, index = 1 / n, np.arange(data.size).reshape(data.shape)
    cells = [cell for cell in np.ndindex(data.shape) if any(place + 1 < n for place in cell)]
    steps = []
    for cell in cells:
        rows = []
        for axis in range(n_axes):
            if cell[axis] + 1 < n:
                ahead = tuple(place + (a == axis) for a, place in enumerate(cell))
                row = np.zeros(data.size)
                row[index[ahead]], row[index[cell]] = 1 / side, -1 / side
                rows.append(row)
        steps.append(np.array(rows))
    best = np.inf
    for kept in itertools.product([False, True], repeat=len(cells)):
        joined = [part for part, keep in zip(steps, kept, strict=True) if keep]
        gradient = np.concatenate(joined) if joined else np.zeros((0, data.size))
        matrix = fidelity * np.eye(data.size) + gradient.T @ gradient
        u = np.linalg.solve(matrix, fidelity * data.ravel())
        value = fidelity * ((u - data.ravel()) ** 2).sum() + ((gradient @ u) ** 2).sum()
        best = min(best, side**n_axes * (value + price / side * (len(cells) - sum(kept))))
    return best


@pytest.mark.parametrize(("fidelity", "price", "seed"), [(100.0, 0.6, 0), (20.0, 1.5, 1), (200.0, 0.3, 2)])
def test_the_bound_is_below_the_best_of_all_cuts_of_a_square_and_close_to_it(fidelity, price, seed):
    data = uniform(3, 3, seed=seed)
    least = enumerate_cuts(data.numpy(), fidelity, price)
    found = lifted_mumford_shah(data[None], fidelity, price, n_bins=8, n_iterations=100)
    refitted = refit_between_jumps(found.surface, data[None], fidelity, price)
    for n_steps in (0, 60):
        certificate = certify(refitted, data[None], fidelity, price, found.flow, n_steps=n_steps)
        assert certificate.lower.item() <= least * (1 + 1e-9)
    assert certificate.lower.item() > 0.97 * least
    assert certificate.energy.item() >= least * (1 - 1e-9)
    assert certificate.relative_gap.item() == pytest.approx(
        1 - certificate.lower.item() / certificate.energy.item()
    )


STEEP = torch.tensor([0.1, 0.3, 0.35, 0.5, 0.7, 0.9], dtype=torch.float64)


@pytest.mark.parametrize(("n_bins", "relaxed"), [(8, 0.490), (16, 0.546), (32, 0.595)])
def test_on_a_steep_line_the_relaxed_bound_is_too_high_and_ours_is_not(n_bins, relaxed):
    """Bins narrower than a cell's slope; the exact minimum is dynamic programming's."""
    least = mumford_shah_on_a_line(STEEP, 20.0, 3.0)[1]
    assert least == pytest.approx(0.4821, abs=1e-4)
    found = lifted_mumford_shah(STEEP[None], 20.0, 3.0, n_bins=n_bins, n_iterations=200)
    assert found.dual.item() == pytest.approx(relaxed, abs=0.05)
    assert found.dual.item() > 1.005 * least
    itself = certify(found.surface, STEEP[None], 20.0, 3.0, found.flow, n_bins=n_bins, n_steps=0)
    raised = certify(found.surface, STEEP[None], 20.0, 3.0, found.flow, n_steps=50)
    assert itself.lower.item() < raised.lower.item() <= least
    assert raised.lower.item() > 0.99 * least


def test_on_lines_a_refit_finds_the_minimum_and_the_bound_stays_below():
    lines = torch.stack([stepped_line(seed=seed) for seed in (0, 1)])
    exact = [mumford_shah_on_a_line(line, 200.0, 0.3) for line in lines]
    energies = torch.tensor([energy for _, energy in exact], dtype=torch.float64)
    for n_bins, n_iterations, most in ((8, 150, 1.4), (16, 150, 1.4)):
        found = lifted_mumford_shah(lines, 200.0, 0.3, n_bins=n_bins, n_iterations=n_iterations)
        certificate = certify(found.surface, lines, 200.0, 0.3, found.flow, n_steps=30)
        assert (certificate.lower <= energies).all()
        assert (certificate.lower > 0.85 * energies).all()
        assert (certificate.energy >= energies * (1 - 1e-9)).all()
        assert (certificate.energy < most * energies).all()
        refitted = refit_between_jumps(found.surface, lines, 200.0, 0.3)
        for surface, (best, _) in zip(refitted, exact, strict=True):
            assert edges(surface, 0.3) == edges(best, 0.3)
            torch.testing.assert_close(surface, best, rtol=0, atol=1e-6)
    assert edges(found.surface[0], 0.3) == [25, 47]


def test_a_refit_lowers_the_energy_and_leaves_a_minimiser_alone():
    data = uniform(2, 8, 8)
    found = lifted_mumford_shah(data, 300.0, 0.2, n_iterations=60)
    energies = [mumford_shah_energy(found.surface, data, 300.0, 0.2)]
    for n_rounds in (1, 2, 10):
        refitted = refit_between_jumps(found.surface, data, 300.0, 0.2, n_rounds=n_rounds)
        energies.append(mumford_shah_energy(refitted, data, 300.0, 0.2))
    for before, after in itertools.pairwise(energies):
        assert (after <= before * (1 + 1e-9)).all()
    assert (energies[1] < energies[0]).all()
    torch.testing.assert_close(refit_between_jumps(refitted, data, 300.0, 0.2), refitted, rtol=0, atol=1e-6)


def test_a_bound_needs_no_good_flow():
    """Any flow gives a bound: none at all the trivial one, that each cell alone could cost nothing."""
    data = uniform(1, 4, 4)
    nothing = certify(data, data, 100.0, 0.5, torch.zeros(3, 1, 2, 4, 4).double(), n_steps=0)
    assert -1e-3 < nothing.lower.item() <= 0  # but for the chords
    noise = torch.randn(3, 1, 2, 4, 4, generator=seeded(), dtype=torch.float64)
    wild = certify(data, data, 100.0, 0.5, 5 * noise, n_steps=0)
    assert wild.lower.item() < wild.energy.item()


def test_the_flow_carries_no_more_than_the_price_through_any_run_of_bins():
    """A low price, so that the iteration itself breaks the limit at first."""
    found = lifted_mumford_shah(uniform(2, 6, 6), 300.0, 0.05, n_bins=4, n_iterations=8)
    total = torch.cat([torch.zeros_like(found.flow[:1]), found.flow.cumsum(dim=0)]) / 4
    runs = [(total[j] - total[i]).norm(dim=1) for i in range(4) for j in range(i + 1, 5)]
    assert torch.stack(runs).max().item() == pytest.approx(0.05, rel=1e-6)


def test_fractional_cells_are_counted():
    found = lifted_mumford_shah(uniform(2, 6, 6), 100.0, 0.3, n_bins=5, n_iterations=40)
    inner = found.lifted[:, [2, 4, 6, 8]]
    share = ((inner - 0.5).abs() < 0.45).any(dim=1).double().mean(dim=(1, 2))
    torch.testing.assert_close(found.fractional, share)
    assert (found.fractional > 0).all()


# --- Limits, symmetries, structure --------------------------------------------------------------------------------


def test_a_high_price_leaves_no_jump_and_the_smoothing_spline():
    """λ|u − g|² + |∇u|² is quadratic: a sparse linear system. The bins leave steps of a fraction of their width."""
    data, fidelity = 0.3 + 0.4 * uniform(10, 10), 50.0
    step = scipy.sparse.diags([-np.ones(10), np.ones(9)], [0, 1]).tolil()
    step[9] = 0
    gradient = scipy.sparse.vstack(
        [scipy.sparse.kron(step, scipy.sparse.eye(10)), scipy.sparse.kron(scipy.sparse.eye(10), step)]
    )
    matrix = fidelity * scipy.sparse.eye(100) + 100 * gradient.T @ gradient
    smooth = scipy.sparse.linalg.spsolve(matrix.tocsc(), fidelity * data.numpy().ravel()).reshape(10, 10)
    found = lifted_mumford_shah(data[None], fidelity, 50.0, n_bins=8, tolerance=2e-2)
    assert not find_jumps(found.surface[0], math.sqrt(50 / 10)).cells.any()
    assert np.abs(found.surface[0].numpy() - smooth).max() < 0.5 / 8


def test_a_low_price_and_a_high_fidelity_leave_the_data():
    data = uniform(8, 8)
    found = lifted_mumford_shah(data[None], 1e4, 1e-3, n_iterations=150)
    torch.testing.assert_close(found.surface[0], data, rtol=0, atol=5e-3)


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 1.0])
def test_constant_data_are_left_alone(level):
    data = torch.full((1, 6, 6), level)
    found = lifted_mumford_shah(data, 100.0, 0.2, n_iterations=60)
    torch.testing.assert_close(found.surface, data, rtol=0, atol=1e-4)
    assert found.primal.item() < 1e-4


def test_turning_the_values_or_the_axes_round_turns_the_surface():
    data = 0.1 + 0.8 * uniform(1, 7, 7)
    found = lifted_mumford_shah(data, 200.0, 0.3, n_iterations=40)
    mirrored = lifted_mumford_shah(1 - data, 200.0, 0.3, n_iterations=40)
    swapped = lifted_mumford_shah(data.mT, 200.0, 0.3, n_iterations=40)
    torch.testing.assert_close(mirrored.surface, 1 - found.surface, rtol=0, atol=5e-3)
    torch.testing.assert_close(mirrored.dual, found.dual, rtol=1e-3, atol=0)
    torch.testing.assert_close(swapped.surface, found.surface.mT, rtol=0, atol=1e-6)


def test_a_batch_holds_each_problem_alone():
    data = uniform(3, 6, 6)
    fidelity, price = torch.tensor([50.0, 200.0, 800.0]).double(), torch.tensor([0.1, 0.4, 1.6]).double()
    together = lifted_mumford_shah(data, fidelity, price, n_iterations=20)
    for i in range(3):
        alone = lifted_mumford_shah(data[i : i + 1], fidelity[i].item(), price[i].item(), n_iterations=20)
        torch.testing.assert_close(together.surface[i], alone.surface[0])
        torch.testing.assert_close(together.dual[i], alone.dual[0])


def test_the_lifted_function_falls_from_one_to_zero():
    found = lifted_mumford_shah(uniform(2, 6, 6), 100.0, 0.3, n_bins=5, n_iterations=40)
    assert found.lifted.shape == (2, 11, 6, 6)
    assert (found.lifted[:, 0] == 1).all()
    assert (found.lifted[:, -1] == 0).all()
    assert (found.lifted.diff(dim=1) <= 0).all()
    half = (found.lifted[:, ::2] > 0.5).sum(dim=1) - 1  # the bin where it falls through ½
    assert (found.surface * 5 >= half - 1e-6).all()
    assert (found.surface * 5 <= half + 1 + 1e-6).all()


def test_the_gap_closes_and_is_never_negative():
    data = uniform(2, 6, 6)
    gaps = [lifted_mumford_shah(data, 300.0, 0.2, n_iterations=n).relative_gap for n in (10, 40, 160)]
    assert (gaps[0] > gaps[1]).all()
    assert (gaps[1] > gaps[2]).all()
    assert (gaps[2] >= 0).all()
    assert (gaps[2] < 2e-2).all()


def test_it_stops_at_the_tolerance_and_says_when_it_did_not():
    data = uniform(1, 8, 8)
    found = lifted_mumford_shah(data, 300.0, 0.2, tolerance=0.02)
    assert found.relative_gap.item() <= 0.02
    assert found.n_iterations < 1000
    with pytest.warns(UserWarning, match=r"relative gap is .* after 5 iterations, above 1e-09"):
        lifted_mumford_shah(data, 300.0, 0.2, n_iterations=5, tolerance=1e-9)


def test_a_constant_grid_does_not_hide_a_neighbour_that_has_not_converged():
    data = torch.stack([torch.full((8, 8), 0.3).double(), uniform(8, 8)])
    with pytest.warns(UserWarning, match="relative gap"):
        found = lifted_mumford_shah(data, 300.0, 0.2, n_iterations=5, tolerance=0.01)
    assert found.relative_gap[0].item() == pytest.approx(0, abs=1e-3)
    assert found.relative_gap[1].item() > 0.01
    alone = lifted_mumford_shah(data[:1], 300.0, 0.2, n_iterations=100, tolerance=0.01)
    assert alone.n_iterations == 50


# --- Jumps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20,), (20, 20), (20, 20, 20)])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("height", [0.7, -0.7])
def test_a_step_on_a_slope_has_the_steps_size(shape, axis, height):
    place = torch.arange(20, dtype=torch.float64).expand(shape).movedim(-1, axis)
    surface = 0.05 * place + height * (place > 8)
    jumps = find_jumps(surface, 0.4)
    assert torch.equal(jumps.cells, place == 8)
    torch.testing.assert_close(jumps.sizes, torch.where(place == 8, height, 0.0).double())


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_cell_that_the_boundary_cuts_does_not_shorten_the_jump(share):
    place = torch.arange(20, dtype=torch.float64)
    surface = 0.02 * place + (place > 8) + share * (place == 8)
    jumps = find_jumps(surface, 0.15)
    assert jumps.cells.nonzero()[:, 0].tolist() == [7, 8]
    torch.testing.assert_close(jumps.sizes[7:9], torch.ones(2).double())


@pytest.mark.parametrize("side", [7, 9])
def test_the_edge_beside_a_jump_gives_it_its_share(side):
    """A tenth of the step lies on an edge that is too short to be called a jump, before it or after it."""
    place = torch.arange(20, dtype=torch.float64)
    surface = 0.02 * place + 0.9 * (place > 8) + 0.1 * (place > side)
    jumps = find_jumps(surface, 0.5)
    assert jumps.cells.nonzero()[:, 0].tolist() == [8]
    assert jumps.sizes[8].item() == pytest.approx(1)


@pytest.mark.parametrize("place", [0, 1, 8, 9])
def test_jumps_at_the_ends_of_the_grid(place):
    surface = (torch.arange(11) > place).double()
    jumps = find_jumps(surface, 0.5)
    assert jumps.sizes.nonzero()[:, 0].tolist() == [place]
    assert jumps.sizes[place].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        ([0, 0, 0, 1, 1, 3, 3, 3], {2: 1, 4: 2}),
        ([0, 0, 0, 1, 1, 0, 0, 0], {2: 1, 4: -1}),
        ([0, 0, 0, 1, 0, 0, 0, 0], {2: 1, 3: -1}),
        ([0, 0, 0, 1, 2, 2, 2, 2], {2: 2, 3: 2}),
        ([0, 0.1, 0.2, 1.3, 1.4, 3.5, 3.6, 3.7], {2: 1, 4: 2}),
        ([0, 1, 0, 1], {0: 1, 1: -1, 2: 1}),
        ([0, 0.2], {}),
    ],
    ids=["two steps", "bar of two", "bar of one", "step over two", "on a slope", "teeth", "none"],
)
def test_jumps_next_to_jumps_keep_their_sizes(surface, expected):
    grid = torch.tensor(surface, dtype=torch.float64)
    for rows in (grid, grid.expand(4, -1), grid.expand(3, 4, -1)):
        if rows.ndim == 1 or len(set(rows.shape)) >= 1:
            sizes = find_jumps(rows, 0.5).sizes.reshape(-1, len(grid))
            for row in sizes:
                assert {i: pytest.approx(v) for i, v in enumerate(row.tolist()) if v} == expected


def test_regions_are_what_the_jumps_leave_connected():
    cut = torch.zeros(6, 6, dtype=torch.bool)
    cut[2, :] = True  # row 2 is cut from row 3, and its cells from one another
    regions = segment(Jumps(cut, torch.zeros(6, 6)))
    assert (regions[:3] == regions[0, 0]).all()
    assert (regions[3:] == regions[3, 0]).all()
    assert regions[0, 0] != regions[3, 0]
    assert (segment(Jumps(torch.zeros(4, 4, 4, dtype=torch.bool), torch.zeros(4, 4, 4))) == 0).all()
    leaking = cut.clone()
    leaking[2, 3] = False
    assert (segment(Jumps(leaking, torch.zeros(6, 6))) == 0).all()
    border = torch.from_numpy(sphere_border(31))
    assert rand_index(segment(Jumps(border, torch.zeros(31, 31))), sphere_side(31)) > 0.95


def test_agreement_of_regions_is_scikit_learns():
    found = torch.randint(0, 4, (9, 9), generator=seeded())
    truth = torch.randint(0, 2, (9, 9), generator=seeded(1)).bool().numpy()
    assert rand_index(found, truth) == pytest.approx(
        adjusted_rand_score(truth.ravel(), found.numpy().ravel())
    )
    assert rand_index(torch.from_numpy(truth).long() * 3, truth) == pytest.approx(1)


def test_borders_are_compared_as_the_authors_do():
    """Their lines, written out for a square: neighbours to one side, along the axes."""
    for seed in range(4):
        found = uniform(9, 9, seed=seed) < 0.2
        border = (uniform(9, 9, seed=10 + seed) < 0.3).numpy()
        rates = []
        for one, other in ((found.numpy(), border), (border, found.numpy())):
            wide = other.astype(int)
            wide = (
                wide + np.vstack([other[1:], np.zeros((1, 9))]) + np.hstack([other[:, 1:], np.zeros((9, 1))])
            )
            rates.append((one * (wide == 0)).sum())
        expected = rates[0] / (~border).sum(), rates[1] / border.sum()
        errors = compare_borders(found, border)
        assert errors[:2] == pytest.approx(expected)
        assert errors.worse == max(expected)
        here, there = np.argwhere(found.numpy()), np.argwhere(border)
        far = np.linalg.norm(here[:, None] - there, axis=2)
        mean = (far.min(axis=1).mean() + far.min(axis=0).mean()) / 2 / 9
        assert errors.distance == pytest.approx(mean)
    assert math.isnan(compare_borders(torch.zeros(9, 9, dtype=torch.bool), border).distance)


def test_jumps_count_from_the_typical_difference_on_whatever_the_step():
    middles = (torch.arange(20, dtype=torch.float64) + 0.5) / 20
    slope = 0.3 * middles[:, None] + 0 * middles
    for step in (0.0, 0.5, 5.0):
        grid = slope + step * (middles > 0.5)
        assert smallest_notable_jump(grid) == pytest.approx(2 * 0.3 / 20)
        assert smallest_notable_jump(10 - 7 * grid, 3.0) == pytest.approx(7 * 3 * 0.3 / 20)
    # The price and the threshold are one: a difference of this length costs as much as slope and as border.
    price = price_of(0.1, 2.0, 20)
    pair = torch.zeros(1, 20).double()
    pair[:, 10:] = 0.1 / 2
    below, above = (mumford_shah_energy(pair, pair, 1.0, factor * price).item() for factor in (0.99, 1.01))
    assert below == pytest.approx(0.99 * price)
    assert above == pytest.approx(price)


def test_ruptures_finds_the_same_change_points():
    """Piecewise constant data, where least squares with a known number of changes is the right model."""
    levels = torch.tensor([0.2, 0.8, 0.45, 0.95]).double().repeat_interleave(20)
    data = levels + 0.04 * torch.randn(80, generator=seeded(), dtype=torch.float64)
    peer = ruptures.Dynp(model="l2", jump=1, min_size=2).fit(data.numpy()).predict(n_bkps=3)
    found = lifted_mumford_shah(data[None], 400.0, 0.4, n_bins=8, tolerance=0.02)
    changes = find_jumps(found.surface[0], math.sqrt(0.4 / 80)).cells.nonzero()[:, 0]
    assert (changes + 1).tolist() == peer[:-1] == [20, 40, 60]


# --- Data on a grid, noise, risk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_axes", "n_cells"), [(1, 10), (2, 7), (3, 4)])
def test_cells_hold_the_means_that_scipy_bins(n_axes, n_cells):
    points, values = uniform(3000, n_axes), uniform(3000, seed=1)
    grid = cast_to_grid(points, values, n_cells)
    edges_of_cells = [np.linspace(0, 1, n_cells + 1)] * n_axes
    for statistic, ours in (("mean", grid.means), ("count", grid.counts)):
        peer = binned_statistic_dd(points.numpy(), values.numpy(), statistic, bins=edges_of_cells)
        np.testing.assert_allclose(ours, peer.statistic, rtol=1e-12)
    assert torch.equal(grid.source, torch.arange(n_cells**n_axes))


def test_the_last_edge_belongs_to_the_last_cell():
    grid = cast_to_grid(torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 2.0]), 2)
    assert grid.means.tolist() == [1, 2]


def test_an_empty_cell_takes_the_mean_of_the_nearest_filled_one():
    points, values = uniform(60, 2), uniform(60, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = cast_to_grid(points, values, 8)
    filled = grid.counts.flatten() > 0
    assert 0.2 < (~filled).double().mean() < 0.6
    places = torch.cartesian_prod(torch.arange(8), torch.arange(8)).double()
    distances = torch.cdist(places, places)
    distances[:, ~filled] = torch.inf
    chosen = distances[torch.arange(64), grid.source]
    torch.testing.assert_close(chosen, distances.min(dim=1).values)
    assert torch.equal(grid.means.flatten(), grid.means.flatten()[grid.source])


def test_many_empty_cells_are_told():
    with pytest.warns(UserWarning, match=r"\d\d% of the cells have no data"):
        cast_to_grid(uniform(30, 2), uniform(30), 8)


@pytest.mark.parametrize("n_axes", [1, 2])
def test_the_noise_is_seen_through_slopes_and_jumps(n_axes):
    points = uniform(20_000, n_axes)
    smooth = points.sum(dim=1) + (points[:, 0] > 0.5)
    noisy = smooth + 0.05 * torch.randn(20_000, generator=seeded(1), dtype=torch.float64)
    assert nearest_neighbour_noise(points, noisy) == pytest.approx(0.05, rel=0.04)


def test_a_repeated_place_is_not_its_own_neighbour():
    places = uniform(400, 1).repeat_interleave(2, dim=0)
    noisy = torch.randn(800, generator=seeded(1), dtype=torch.float64)
    assert nearest_neighbour_noise(places, noisy) == pytest.approx(1, rel=0.15)
    thrice = nearest_neighbour_noise(places[:600].repeat_interleave(2, dim=0)[:800], noisy)
    assert thrice == pytest.approx(1, rel=0.15)


def test_the_cone_has_the_noise_and_the_step_that_it_says():
    alone, shared = (
        draw_cone(20_000, 0.3, noise_std=0.2, generator=seeded(3), correlated=share) for share in (0.0, 0.5)
    )
    outside = (alone.points - 0.5).norm(dim=1) >= 0.25
    torch.testing.assert_close(alone.truth, (alone.points - 0.5).norm(dim=1) + 0.3 * outside)
    # Of a field that one draw shows a few hundred patches, the variance is known to some per cent.
    assert (alone.values - alone.truth).std().item() == pytest.approx(0.2, rel=0.03)
    assert (shared.values - shared.truth).std().item() == pytest.approx(0.2, rel=0.12)
    assert nearest_neighbour_noise(alone.points, alone.values) == pytest.approx(0.2, rel=0.04)
    expected = 0.2 * math.sqrt(0.5)  # neighbours differ by their own half alone
    assert nearest_neighbour_noise(shared.points, shared.values) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_step_is_measured_in_standard_deviations_of_the_rest(n_axes):
    flat = draw_cone(200_000, 0.0, noise_std=0.05, generator=seeded(), n_axes=n_axes)
    assert step_height(0.75, 0.05, n_axes) == pytest.approx(0.75 * flat.values.std().item(), rel=0.01)


def test_risk_of_linear_estimators_by_their_trace():
    """For y ↦ A y the divergence weighted with the variances is Σ sᵢ² Aᵢᵢ, whatever the length of the step."""
    n, std = 12, 0.1 + uniform(12, seed=2)
    matrices = torch.randn(3, n, n, generator=seeded(), dtype=torch.float64)
    observed = uniform(n, seed=3)
    n_probes = 400
    estimates, sure = sure_of_candidates(
        lambda rows: torch.einsum("cij,cj->ci", matrices, rows),
        observed,
        std,
        3,
        step=2.0,
        n_probes=n_probes,
        generator=seeded(4),
    )
    torch.testing.assert_close(estimates, matrices @ observed)
    trace = (std.square() * matrices.diagonal(dim1=1, dim2=2)).sum(dim=1)
    exact = ((estimates - observed).square() - std.square()).mean(dim=1) + 2 * trace / n
    # Var of b'Mb is ‖(M + M')/√2‖² in the mean over directions, M = diag(s) A diag(s).
    scaled = std[:, None] * matrices * std
    spread = (scaled + scaled.mT).square().sum(dim=(1, 2)).div(2).sqrt() * 2 / n / math.sqrt(n_probes)
    assert ((sure - exact).abs() < 4 * spread).all()


def test_equal_noise_gives_the_foundations_estimate():
    observed, weights = uniform(6, 6).flatten(), torch.tensor([0.02, 0.2], dtype=torch.float64)

    def estimator(rows):
        return denoise_total_variation(rows.view(-1, 6, 6), weights[: len(rows)]).values.flatten(1)

    estimates, sure = sure_of_candidates(estimator, observed, 0.1, 2, step=1e-3, generator=seeded(5))
    direction = torch.randn(1, 36, generator=seeded(5), dtype=torch.float64)
    moved = estimator((observed + 1e-4 * direction).expand(2, -1))
    divergence = ((moved - estimates) * direction).sum(dim=1) / 1e-4
    expected = sure_gaussian(estimates, observed.expand(2, -1), 0.1, divergence) / 36
    torch.testing.assert_close(sure, expected, rtol=1e-8, atol=1e-10)


# --- The whole ----------------------------------------------------------------------------------------------------


def regress(points, values, **options):
    settings = {
        "n_bins": 6,
        "fidelities": [500.0],
        "boundary_prices": [0.3],
        "n_iterations": 60,
        "noise_std": 0.05,
    } | options
    return free_discontinuity_regression(points, values, generator=seeded(9), **settings)


@pytest.mark.parametrize(("n_axes", "n_cells"), [(1, 24), (2, 12), (3, 6)])
def test_a_border_across_the_cube_is_found_in_any_dimension(n_axes, n_cells):
    points = uniform(6 * n_cells**n_axes, n_axes)
    truth = 0.2 * points[:, 0] + 0.8 * (points[:, 0] > 0.5)
    values = truth + 0.05 * torch.randn(len(points), generator=seeded(1), dtype=torch.float64)
    found = regress(points, values, n_cells=n_cells, n_bins=5, tolerance=0.04)
    expected = torch.zeros(n_cells, dtype=torch.bool)
    expected[n_cells // 2 - 1] = True
    assert torch.equal(found.jumps.cells, expected.view(-1, *[1] * (n_axes - 1)).expand_as(found.surface))
    sizes = found.jumps.sizes[found.jumps.cells]
    assert sizes.mean().item() == pytest.approx(0.8, abs=0.12)
    assert found.lifted.relative_gap.item() <= 0.04


def test_units_of_the_values_do_not_matter():
    points, noise = uniform(800, 2), torch.randn(800, generator=seeded(1), dtype=torch.float64)
    values = points[:, 0] + (points[:, 1] > 0.5) + 0.1 * noise
    options = {"n_cells": 8, "fidelities": [200.0, 800.0], "boundary_prices": [0.2, 0.8]}
    options |= {"n_iterations": 25, "tolerance": 0.05, "n_bins": 4}
    one = regress(points, values, noise_std=None, **options)
    other = regress(points, 100 + 30 * values, noise_std=None, **options)
    assert (other.fidelity, other.boundary_price) == (one.fidelity, one.boundary_price)
    assert other.noise_std == pytest.approx(30 * one.noise_std)
    torch.testing.assert_close(other.surface, 100 + 30 * one.surface, rtol=0, atol=0.02)
    torch.testing.assert_close(other.sure, 900 * one.sure, rtol=0.01, atol=0.05)
    assert torch.equal(other.jumps.cells, one.jumps.cells)


@pytest.mark.bad_input  # the shape checker takes no whole numbers
def test_counts_are_numbers_and_coordinates_may_round_beyond_one():
    """A step in Poisson counts; the last coordinate one unit in the last place above 1."""
    points = uniform(600, 1)
    points[0] = 1 + 2.3e-16
    counts = torch.poisson(4.0 + 20.0 * (points[:, 0] > 0.5), generator=seeded(1))
    options = {"n_cells": 12, "noise_std": 4.0}
    whole, floating = (regress(points, values, **options) for values in (counts.long(), counts))
    assert whole.jumps.cells.nonzero()[:, 0].tolist() == [5]
    assert whole.jumps.sizes[5].item() == pytest.approx(20, abs=4)
    torch.testing.assert_close(whole.surface.double(), floating.surface, rtol=1e-4, atol=1e-3)
    data = torch.tensor([0, 0, 1, 1])
    assert mumford_shah_on_a_line(data, 50.0, 0.3)[1] == mumford_shah_on_a_line(data.double(), 50.0, 0.3)[1]
    assert lifted_mumford_shah(data[None], 50.0, 0.3, n_iterations=5).surface.is_floating_point()


def test_stein_chooses_among_prices_without_the_truth():
    """Fidelities far too low and far too high lose against one between them, by the truth and by the estimate."""
    points = uniform(1600, 2)
    truth = (points[:, 0] > 0.5).double()
    values = truth + 0.2 * torch.randn(1600, generator=seeded(1), dtype=torch.float64)
    found = regress(
        points,
        values,
        n_cells=16,
        n_bins=3,
        fidelities=[3.0, 100.0, 1e5],
        boundary_prices=[0.5],
        noise_std=None,
        n_iterations=100,
    )
    assert found.fidelity == 100
    assert found.sure.shape == (3, 1)
    cells = cast_to_grid(points, truth, 16).means
    raw = (found.grid.means - cells).square().mean()
    assert (found.surface - cells).square().mean() < raw / 3
    # The variance of one cell is about 0.2²/6.25; that of a mean of 256 squares of it sets how well risk is known.
    spread = 0.2**2 / 6.25 * math.sqrt(2 / 256)
    assert abs(found.sure.min().item() - (found.surface - cells).square().mean().item()) < 3 * spread


def test_the_estimate_of_risk_is_unbiased_for_the_whole_solver():
    """Mean of SURE minus loss over draws of the noise; the surface is that of 40 iterations, converged or not."""
    n, std = 24, 0.05
    x = (torch.arange(n) + 0.5) / n
    truth = 0.3 + 0.15 * torch.sin(3 * x) + 0.3 * (x > 0.5)
    observed = (truth + std * torch.randn(100, n, generator=seeded())).flatten()

    def estimator(rows):  # all draws side by side: one long observation of independent parts
        return lifted_mumford_shah(rows.view(-1, n), 100.0, 0.2, n_bins=4, n_iterations=40).surface.view(
            1, -1
        )

    estimates, sure = sure_of_candidates(estimator, observed, std, 1, generator=seeded(1))
    loss = (estimates.view(100, n) - truth).square().mean(dim=1)
    # The two share the noise: the difference varies less than either; its spread from splitting into single draws.
    excess = (estimates - observed).square().view(100, n).mean(dim=1) - std**2
    moved = estimator((observed + 0.5 * std * (b := torch.randn(100 * n, generator=seeded(2))))[None])
    spread = 2 * std / 0.5 * ((moved - estimates)[0] * b).view(100, n).mean(dim=1)
    difference = excess + spread - loss
    assert difference.mean().abs() < 3.5 * difference.std() / 10
    assert (sure.item() - loss.mean()).abs() < 3.5 * difference.std() / 10 * math.sqrt(2)


@pytest.mark.filterwarnings("ignore:.*cells have no data")
def test_a_cell_without_data_moves_with_the_one_that_it_borrows_from(monkeypatch):
    """With a moving average in the solver's place: the estimate of risk by its matrix, borrowed cells too."""
    points = uniform(160, 2)
    points = points[(points - 0.5).abs().amax(dim=1) > 0.13]
    values = points[:, 0] + 0.1 * torch.randn(len(points), generator=seeded(1), dtype=torch.float64)

    def average(cells):
        return torch.nn.functional.avg_pool2d(
            cells[:, None], 3, stride=1, padding=1, count_include_pad=False
        )[:, 0]

    def solve(cells, fidelity, price, *, n_bins, n_iterations, tolerance=None):
        found = lifted_mumford_shah(cells, fidelity, price, n_bins=2, n_iterations=1)
        return dataclasses.replace(found, surface=average(cells))

    monkeypatch.setattr(method, "lifted_mumford_shah", solve)
    found = regress(points, values, n_cells=8, fidelities=[1.0, 2.0], noise_std=0.1)
    grid, taken = found.grid, found.grid.counts.flatten() > 0
    assert (~taken).sum() > 4
    spread = torch.eye(64, dtype=torch.float64)[grid.source][
        :, taken
    ]  # each cell's mean out of those with data
    matrix = (average(spread.T.reshape(-1, 8, 8)).flatten(1).T)[taken]
    std = 0.1 / grid.counts.flatten()[taken].sqrt()
    observed = grid.means.flatten()[taken]
    probe = torch.randn(1, len(observed), generator=seeded(9), dtype=torch.float64)[0]
    along = std * probe * (matrix @ (std * probe))
    expected = ((matrix @ observed - observed).square() - std.square() + 2 * along).mean()
    torch.testing.assert_close(found.sure, expected.expand(2, 1).to(found.sure), rtol=1e-4, atol=1e-6)


def test_the_nile_fell_in_1898():
    years, flows = load_nile()
    points = ((years - 1871 + 0.5) / 100)[:, None]
    found = regress(
        points,
        flows,
        n_cells=100,
        n_bins=16,
        fidelities=[80.0],
        boundary_prices=[0.2],
        tolerance=0.02,
        noise_std=None,
    )
    assert years[found.jumps.cells].tolist() == [1898]
    assert -350 < found.jumps.sizes.sum().item() < -150
    scaled = (flows - flows.min()) / (flows.max() - flows.min())
    exact = mumford_shah_on_a_line(scaled, 80.0, 0.2)[0]
    assert years[edges(exact, 0.2)].tolist() == [1898]
    assert found.noise_std == pytest.approx(115, rel=0.15)


# --- The chapter's runs -------------------------------------------------------------------------------------------


def cones(n, n_points=1600, n_cells=16, step=0.4):
    sample = [draw_cone(n_points, step, noise_std=0.05, generator=seeded(i)) for i in range(n)]
    return [experiment.cast_disk(one, n_cells, step, 2.0, torch.device("cpu")) for one in sample]


def test_disks_are_solved_at_their_own_price_or_at_a_common_one():
    disks = cones(2)
    own = experiment.solve_disks(disks, 1000.0, n_bins=5, tolerance=0.05)
    common = experiment.solve_disks(disks, 1000.0, n_bins=5, tolerance=0.05, price=0.5)
    for found in (own, common):
        rows, again = found.describe(), found.describe(refitted=True)
        for i, disk in enumerate(found.disks):
            error = (found.surfaces[i] - disk.target).square().mean().item()
            assert rows["risk"][i] == pytest.approx(error)
            assert rows["risk of the means"][i] > 1e-4
            assert rows["worse"][i] == max(rows["false"][i], rows["missed"][i]) <= 15
            assert 0.6 < rows["size"][i] < 1.3
        assert (again["risk"] < rows["risk"] * 1.3).all()
    for disk in common.disks:
        assert disk.price() == pytest.approx(0.5)
    alone = lifted_mumford_shah(
        disks[1].scaled[None].float(),
        1000.0,
        disks[1].price(),
        n_bins=5,
        n_iterations=own.lifted.n_iterations,
    )
    expected = disks[1].low + disks[1].width * alone.surface[0].double()
    torch.testing.assert_close(own.surfaces[1], expected, rtol=0, atol=1e-4)


def test_bins_are_compared_under_one_bound():
    table, bound = experiment.compare_bins(cones(1, n_cells=6)[0], 1000.0, [4, 3], tolerance=0.1)
    assert list(table.index) == [4, 3]
    assert (table["refitted"] >= bound).all()
    assert (table["surface"] >= table["refitted"]).all()
    np.testing.assert_allclose(table["gap of the surface"], 100 * (1 - bound / table["surface"]))


def test_rivals_and_method_are_tuned_alike_and_judged_by_the_truth():
    disk = cones(1, n_cells=10)[0]
    options = {"n_bins": 3, "n_iterations": 15, "tolerance": 0.2, "n_probes": 1}
    tuned = experiment.tune_disk(
        disk, seed=1, fidelities=[300.0, 3000.0], boundary_prices=[0.5], n_candidates=3, **options
    )
    assert list(tuned.risks) == ["free discontinuity", "total variation", "Gaussian filter"]
    for name, (chosen, least) in tuned.risks.items():
        assert chosen >= least > 0
        if name in tuned.chosen:
            assert disk.risk(tuned.chosen[name]).item() == pytest.approx(chosen)
    judged = experiment.judge_sure(disk, tuned.fit)
    assert judged["risk"] == pytest.approx(tuned.risks["free discontinuity"][0])
    assert experiment.border_at_prices(disk, tuned.fit).shape == (2, 1, 2)
    again = experiment.fit_disk(disk, seed=1, fidelities=[300.0], **options)
    assert again.boundary_price == pytest.approx(disk.price())
    curve = experiment.border_curve([disk], [disk.target], [0.3, 3.0])
    assert curve["missed"].tolist() == [0, 100]
    prices = experiment.price_curve([disk], 1000.0, [0.6, 3.0], n_bins=4, tolerance=0.1)
    assert prices["missed"][0.6] < prices["missed"][3.0] == 100


def test_the_filter_s_risk_is_estimated_by_its_matrix():
    """A linear map of the cells with data, whose noise has a level of its own in each: exact along one direction."""
    disk = cones(1, n_points=300, n_cells=10)[0]
    grid, taken = disk.grid, disk.grid.counts.flatten() > 0
    assert not taken.all()
    estimates, sure = tune_rival(
        "Gaussian filter", grid, 0.05, n_candidates=4, n_probes=1, generator=seeded(7)
    )
    spread = torch.eye(100, dtype=torch.float64)[grid.source][:, taken]
    std = 0.05 / grid.counts.flatten()[taken].sqrt()
    observed = grid.means.flatten()[taken]
    moved = std * torch.randn(1, len(observed), generator=seeded(7), dtype=torch.float64)[0]
    for bandwidth, estimate, risk in zip(np.geomspace(0.25, 2.5, 4), estimates, sure, strict=True):
        smooth, along = (
            torch.from_numpy(gaussian_filter((spread @ part).view(10, 10).numpy(), bandwidth, mode="nearest"))
            for part in (observed, moved)
        )
        torch.testing.assert_close(estimate.flatten()[taken], smooth.flatten()[taken])
        errors = (smooth.flatten()[taken] - observed).square() - std.square()
        expected = (errors + 2 * moved * along.flatten()[taken]).mean()
        torch.testing.assert_close(risk, expected)


def test_prices_are_chosen_without_the_truth_and_along_the_same_directions(monkeypatch):
    """Estimates of risk that prefer the worse of two surfaces, by 1 in each cell, are believed."""
    disk, seeds = cones(1, n_cells=6)[0], []
    options = {"n_bins": 2, "n_iterations": 2, "tolerance": 9.0, "n_probes": 1}
    fit = experiment.fit_disk(disk, seed=1, fidelities=[1.0, 2.0], **options)
    candidates = torch.stack([disk.target, disk.target + 1])
    deceived = dataclasses.replace(fit, candidates=candidates[:, None], sure=torch.tensor([[1.0], [0.0]]))

    def fit_disk(disk, *, seed, **options):
        seeds.append(seed)
        return deceived

    def tune_rival(rival, grid, noise_std, *, generator, **options):
        seeds.append(generator.initial_seed())
        return candidates, torch.tensor([1.0, 0.0])

    monkeypatch.setattr(experiment, "fit_disk", fit_disk)
    monkeypatch.setattr(experiment, "tune_rival", tune_rival)
    tuned = experiment.tune_disk(disk, seed=5, fidelities=[1.0, 2.0], n_candidates=2, **options)
    assert seeds == [5, 5, 5]
    for risks in tuned.risks.values():
        assert risks == pytest.approx((1.0, 0.0))
    for surface in tuned.chosen.values():
        torch.testing.assert_close(surface, disk.target + 1)


def test_sure_against_loss_and_lines_and_images():
    curve = 0.3 + 0.15 * torch.sin(3 * (x := (torch.arange(16) + 0.5) / 16)) + 0.3 * (x > 0.5)
    draws = curve + 0.05 * torch.randn(40, 16, generator=seeded(1))
    surfaces = lifted_mumford_shah(draws, 100.0, 0.2, n_bins=4, n_iterations=40).surface
    rows = experiment.sure_against_loss(
        [(100.0, 0.2)],
        [0.5],
        noise_std=0.05,
        n_draws=40,
        n_bins=4,
        n_iterations=40,
        generators=[seeded(1), seeded(2)],
        device=torch.device("cpu"),
        n_cells=16,
    )
    assert rows["risk"][0] == pytest.approx((surfaces - curve).square().mean().item(), rel=1e-4)
    assert abs(rows["z"][0]) < 4
    assert rows["z"][0] == pytest.approx((rows["SURE"][0] - rows["risk"][0]) / rows["error"][0], rel=1e-3)
    lines = experiment.stepped_lines(2, 64, seeded())
    surfaces, energies, jumps = experiment.minimise_lines(lines, 200.0, 0.3)
    torch.testing.assert_close(mumford_shah_energy(surfaces, lines, 200.0, 0.3), energies)
    assert jumps == [edges(surface, 0.3) for surface in surfaces] == [[25, 47]] * 2
    image = torch.tensor([[0.0, 1.0], [torch.nan, 3.0]])
    sample = experiment.sample_image(image, 400, 0.1, seeded())
    assert 250 < len(sample.points) < 350
    row, column = (sample.points * 2).long().T
    torch.testing.assert_close(sample.truth, image[row, column].double())
    assert (sample.values - sample.truth).std().item() == pytest.approx(0.1, rel=0.15)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fidelity": 0.0}, "fidelity must be positive"),
        ({"fidelity": -1.0}, "fidelity must be positive"),
        ({"boundary_price": 0.0}, "boundary_price must be positive"),
        ({"boundary_price": torch.tensor([0.1, -0.1])}, "boundary_price must be positive"),
        ({"n_bins": 1}, "n_bins must be at least 2; got 1"),
        ({"n_iterations": 0}, "n_iterations must be at least 1; got 0"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"data": torch.zeros(2, 4, 5)}, r"equal sides; got the shape \(2, 4, 5\)"),
        ({"data": torch.zeros(4)}, r"equal sides; got the shape \(4,\)"),
        ({"data": torch.full((2, 4), torch.nan)}, "data must be finite"),
    ],
)
def test_the_solver_refuses(change, message):
    arguments = {"data": torch.zeros(2, 4, 4), "fidelity": 10.0, "boundary_price": 0.1} | change
    with pytest.raises(ValueError, match=message):
        lifted_mumford_shah(**arguments)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fidelity", "price", "name"), [(0.0, 1.0, "fidelity"), (1.0, -1.0, "boundary_price")]
)
def test_the_line_refuses(fidelity, price, name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        mumford_shah_on_a_line(torch.zeros(4), fidelity, price)


@pytest.mark.bad_input
def test_the_line_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="data must be finite"):
        mumford_shah_on_a_line(torch.tensor([0.0, torch.nan, 1.0]), 1.0, 1.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("points", "values", "n_cells", "message"),
    [
        (torch.rand(5, 2), torch.rand(4), 2, "one length; got 5 and 4"),
        (torch.rand(5, 2), torch.tensor([0, 1, torch.nan, 2, 3]), 2, "infinity in row 2"),
        (torch.tensor([[0.1], [torch.inf]]), torch.rand(2), 2, "infinity in row 1"),
        (torch.tensor([[0.1], [1.5]]), torch.rand(2), 2, r"points must be in \[0, 1\]; got a range"),
        (torch.rand(5, 2), torch.rand(5), 1, "n_cells must be at least 2; got 1"),
    ],
)
def test_the_grid_refuses(points, values, n_cells, message):
    with pytest.raises(ValueError, match=message):
        cast_to_grid(points, values, n_cells)


@pytest.mark.bad_input
def test_noise_needs_fifty_points():
    with pytest.raises(ValueError, match="at least 50 points; got 49; give noise_std"):
        nearest_neighbour_noise(torch.rand(49, 1), torch.rand(49))


@pytest.mark.bad_input
def test_jumps_need_a_positive_threshold():
    with pytest.raises(ValueError, match="threshold must be positive"):
        find_jumps(torch.zeros(4), 0.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fidelities": [100.0, 0.0]}, "fidelities must be positive"),
        ({"boundary_prices": [-0.1]}, "boundary_prices must be positive"),
        ({"noise_std": 0.0}, "noise_std must be positive"),
        ({"values": torch.ones(200)}, "there is nothing to scale"),
    ],
)
def test_the_whole_refuses(change, message):
    points = torch.rand(200, 1, generator=seeded())
    arguments = {"points": points, "values": points[:, 0], "n_cells": 8, "fidelities": [100.0]}
    arguments |= {"boundary_prices": [0.1]} | change
    with pytest.raises(ValueError, match=message):
        free_discontinuity_regression(**arguments)


@pytest.mark.bad_input
def test_a_gap_above_the_tolerance_is_reported():
    points = torch.rand(200, 1, generator=seeded())
    with pytest.warns(UserWarning, match="the relative gap is"):
        free_discontinuity_regression(
            points,
            points[:, 0],
            n_cells=8,
            fidelities=[100.0],
            boundary_prices=[0.1],
            noise_std=0.1,
            n_iterations=1,
            tolerance=1e-9,
        )
