"""Differences against NumPy, projections against their optimality, total variation against peers and closed forms."""

import cvxpy
import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from regularity.foundations.proximal import (
    denoise_total_variation,
    divergence,
    forward_gradient,
    lengths,
    project_ball,
    shrink,
    total_variation,
)
from tests.draws import random, seeded

# --- Differences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 8), (4, 3, 6)])
def test_gradient_is_numpys_difference_and_zero_at_the_end(shape):
    values = random(2, *shape)
    gradient = forward_gradient(values, len(shape))
    assert gradient.shape == (2, len(shape), *shape)
    for axis in range(len(shape)):
        last = np.take(values.numpy(), [-1], axis=axis + 1)
        expected = np.diff(values.numpy(), axis=axis + 1, append=last)
        np.testing.assert_array_equal(gradient[:, axis], expected)


@pytest.mark.parametrize("shape", [(7,), (5, 8), (4, 3, 6)])
def test_divergence_is_minus_the_adjoint(shape):
    values, field = random(3, *shape), random(3, len(shape), *shape, seed=1)
    left = (forward_gradient(values, len(shape)) * field).sum()
    right = -(values * divergence(field, len(shape))).sum()
    assert left.item() == pytest.approx(right.item(), abs=1e-12)


def test_what_flows_out_of_a_cell_flows_into_another():
    assert divergence(random(4, 2, 6, 5), 2).sum(dim=(1, 2)).abs().max() < 1e-12


def test_batches_of_any_number_of_axes():
    values = random(2, 3, 5, 4)
    together = forward_gradient(values, 2)
    for i in range(2):
        for j in range(3):
            assert torch.equal(together[i, j], forward_gradient(values[i, j], 2))
    assert torch.equal(divergence(together, 2)[1, 2], divergence(together[1, 2], 2))


# --- Projections and proximal maps --------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_lengths_are_numpys_norms(dim):
    field = random(4, 3, 5)
    expected = np.linalg.norm(field.numpy(), axis=dim, keepdims=True)
    np.testing.assert_allclose(lengths(field, dim), expected, rtol=1e-14)


def test_lengths_of_one_component_are_absolute_values():
    field = random(4, 1, 5)
    assert torch.equal(lengths(field, 1), field.abs())


def test_projection_onto_a_ball_is_the_nearest_point_of_it():
    """The defining inequality: ⟨x − Px, q − Px⟩ ≤ 0 for every q in the ball."""
    field, radius = 2 * random(200, 3), torch.rand(200, 1, generator=seeded(1), dtype=torch.float64)
    projected = project_ball(field, radius, 1)
    assert (lengths(projected, 1) <= radius * (1 + 1e-14)).all()
    inside = radius * torch.nn.functional.normalize(random(500, 1, 3, seed=2), dim=-1)
    products = ((field - projected) * (inside - projected)).sum(dim=-1)
    assert products.max() < 1e-12
    small = lengths(field, 1) < radius
    assert torch.equal(projected[small[:, 0]], field[small[:, 0]])


def test_zero_stays_zero():
    zero = torch.zeros(2, 3, 4)
    assert torch.equal(project_ball(zero, 0.0, 1), zero)
    assert torch.equal(shrink(zero, 0.5, 1), zero)
    assert torch.equal(shrink(zero, 0.0, 1), zero)


def test_moreau_joins_shrinking_and_projecting():
    field = random(50, 4)
    torch.testing.assert_close(shrink(field, 0.8, 1) + project_ball(field, 0.8, 1), field, rtol=0, atol=1e-14)


def test_shrinking_minimises_its_objective():
    field, threshold = random(1, 3), 0.7
    best = shrink(field, threshold, 1)

    def objective(point):
        return 0.5 * (point - field).square().sum(dim=-1) + threshold * lengths(point, -1)[..., 0]

    nearby = best + 0.01 * random(1000, 1, 3, seed=3)
    assert (objective(nearby) > objective(best)).all()
    torch.testing.assert_close(shrink(field, 100.0, 1), torch.zeros_like(field))


# --- Total variation ----------------------------------------------------------------------------------------------


def test_total_variation_of_patterns_by_hand():
    """A step of height 3 across 4 rows, a chessboard, and a slope that is steep both ways."""
    step = torch.zeros(4, 5, dtype=torch.float64)
    step[:, 2:] = 3
    board = (torch.arange(4)[:, None] + torch.arange(5)).double() % 2
    slope = 3 * torch.arange(4.0).double()[:, None] + 4 * torch.arange(5.0).double()
    grids = torch.stack([step, board, slope])
    edges = torch.tensor([12, 4 * 4 + 3 * 5, 3 * 15 + 4 * 16]).double()
    lengths_of = torch.tensor([12, 12 * 2**0.5 + 4 + 3, 12 * 5 + 3 * 3 + 4 * 4]).double()
    torch.testing.assert_close(total_variation(grids, 2), lengths_of)
    torch.testing.assert_close(total_variation(grids, 2, form="anisotropic"), edges)
    torch.testing.assert_close(total_variation(grids, 2, form="mean"), torch.tensor([12 / 16, 2, 7]).double())
    torch.testing.assert_close(total_variation(grids[0, 0], 1), torch.tensor(3.0).double())


def test_total_variation_agrees_with_a_cone_solver():
    noisy, weight = random(1, 7, 6), 0.4
    u = cvxpy.Variable((7, 6))
    down = cvxpy.vstack([u[1:] - u[:-1], np.zeros((1, 6))])
    right = cvxpy.hstack([u[:, 1:] - u[:, :-1], np.zeros((7, 1))])
    steps = cvxpy.vstack([cvxpy.vec(down, order="C"), cvxpy.vec(right, order="C")])
    objective = 0.5 * cvxpy.sum_squares(u - noisy[0].numpy()) + weight * cvxpy.sum(cvxpy.norm(steps, axis=0))
    cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver="CLARABEL")
    denoised = denoise_total_variation(noisy, weight, n_iterations=1500)
    np.testing.assert_allclose(denoised.values[0], u.value, atol=1e-4)
    assert denoised.gap.item() < 1e-7


def test_total_variation_agrees_with_scikit_image():
    noisy = torch.rand(1, 24, 20, generator=seeded(), dtype=torch.float64)
    ours = denoise_total_variation(noisy, 0.1, n_iterations=500).values[0]
    theirs = denoise_tv_chambolle(noisy[0].numpy(), weight=0.1, eps=1e-12, max_num_iter=20_000)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_step_keeps_its_place_and_loses_height(weight):
    """Two plateaus of m and n cells on a line: each moves towards the other by weight over its length."""
    noisy = torch.cat([torch.zeros(6), torch.ones(9)]).double()[None]
    denoised = denoise_total_variation(noisy, weight, n_iterations=1000).values[0]
    expected = torch.cat([torch.full((6,), weight / 6), torch.full((9,), 1 - weight / 9)]).double()
    torch.testing.assert_close(denoised, expected, rtol=0, atol=1e-5)


def test_a_large_weight_leaves_the_mean():
    noisy = random(2, 5, 5, 4)
    denoised = denoise_total_variation(noisy, 1e3, n_iterations=1000).values
    means = noisy.mean(dim=(1, 2, 3), keepdim=True).expand_as(noisy)
    torch.testing.assert_close(denoised, means, rtol=0, atol=1e-6)


def test_the_gap_bounds_the_excess_and_the_distance_falls_as_the_theorem_says():
    noisy, weight = random(1, 16, 16), 0.3

    def objective(values):
        return 0.5 * (values - noisy).square().sum() + weight * lengths(forward_gradient(values, 2), 1).sum()

    best = denoise_total_variation(noisy, weight, n_iterations=1500).values
    for n_iterations in (1, 10, 100, 300):
        found = denoise_total_variation(noisy, weight, n_iterations=n_iterations)
        assert -1e-9 < objective(found.values) - objective(best) <= found.gap.item() + 1e-9
        # Dual value within 2L‖p‖²/(k + 1)² of its maximum, L = 8, |p| ≤ weight in 256 cells; it bounds ½‖u − u*‖².
        distance = 0.5 * (found.values - best).square().sum()
        assert distance <= 2 * 8 * 256 * weight**2 / (n_iterations + 1) ** 2


def test_weights_of_a_batch_are_each_ones_own():
    noisy, weights = random(3, 8, 8), torch.tensor([0.05, 0.2, 0.8], dtype=torch.float64)
    together = denoise_total_variation(noisy, weights)
    for i, weight in enumerate(weights.tolist()):
        alone = denoise_total_variation(noisy[i : i + 1], weight)
        torch.testing.assert_close(together.values[i], alone.values[0])
        assert together.gap[i].item() == pytest.approx(alone.gap.item())


def test_a_constant_grid_does_not_hide_a_neighbour_that_has_not_converged():
    grids = torch.stack([torch.full((6, 6), 0.3).double(), random(6, 6)])
    gap = denoise_total_variation(grids, 0.5, n_iterations=3).gap
    assert gap[0] == 0
    assert gap[1] > 1e-3


@pytest.mark.bad_input
def test_a_weight_is_not_cut_to_the_type_of_whole_numbers():
    counts = torch.tensor([[0, 0, 5, 5], [3, 9, 1, 7]])
    found = denoise_total_variation(counts, 0.9)
    expected = denoise_total_variation(counts.double(), 0.9)
    torch.testing.assert_close(found.values, expected.values.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.values[0].double(), torch.tensor([0.45, 0.45, 4.55, 4.55]).double())


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("n_axes", [0, 4])
def test_number_of_axes_must_fit(n_axes):
    with pytest.raises(ValueError, match=f"n_axes must lie between 1 and 3; got {n_axes}"):
        forward_gradient(torch.zeros(2, 3, 4), n_axes)


@pytest.mark.bad_input
def test_a_field_needs_a_component_for_each_axis():
    with pytest.raises(ValueError, match="field must have 2 components; got 3"):
        divergence(torch.zeros(3, 4, 5), 2)


@pytest.mark.bad_input
@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weight_must_be_positive(weight):
    with pytest.raises(ValueError, match="weight must be positive and finite"):
        denoise_total_variation(torch.zeros(1, 4, 4), weight)


@pytest.mark.bad_input
def test_noisy_must_be_finite_and_iterations_positive():
    with pytest.raises(ValueError, match="noisy must be finite"):
        denoise_total_variation(torch.full((1, 3, 3), torch.inf), 0.1)
    with pytest.raises(ValueError, match="n_iterations must be at least 1; got 0"):
        denoise_total_variation(torch.zeros(1, 3, 3), 0.1, n_iterations=0)
