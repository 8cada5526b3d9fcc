"""Thresholds against bisection and dense operators, networks against autograd, norms against exact means."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from regularity.dynamics import dynamical_stability as stability
from regularity.dynamics.dynamical_stability import (
    DiagonalNetwork,
    ReluNetwork,
    alignment,
    critical_learning_rate,
    descend,
    experiment,
    gram_matrix,
    growth_rate,
    second_moment_step,
    sharpness,
    sparse_regression,
    teacher_directions,
    teacher_regression,
)
from tests.draws import random, seeded

JACOBIAN = random(9, 4, seed=1)
UNIT = JACOBIAN / JACOBIAN.norm(dim=1, keepdim=True)
BATCHES = (1, 2, 5, math.inf)


def dense_operator(jacobian, learning_rate, batch_size):
    """The matrix of T on row-major vectors of moments, by Kronecker products."""
    g = jacobian.numpy()
    hessian = g.T @ g / len(g)
    decay = np.eye(g.shape[1]) - learning_rate * hessian
    each = np.mean([np.kron(np.outer(r, r), np.outer(r, r)) for r in g], axis=0)
    noise = each - np.kron(hessian, hessian)
    return np.kron(decay, decay) + learning_rate**2 / batch_size * noise


def spectral_radius(jacobian, learning_rate, batch_size):
    return np.abs(np.linalg.eigvals(dense_operator(jacobian, learning_rate, batch_size))).max()


# --- The operator --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", BATCHES)
def test_the_second_moment_step_is_its_dense_matrix(batch_size):
    moment = random(4, 4, seed=2)
    ours = second_moment_step(moment, JACOBIAN, learning_rate=0.3, batch_size=batch_size)
    dense = dense_operator(JACOBIAN, 0.3, batch_size) @ moment.flatten().numpy()
    np.testing.assert_allclose(ours.flatten(), dense, rtol=1e-12)


def test_the_second_moment_step_averages_all_batches():
    """Every pair of samples, drawn with replacement, carried through the linear step."""
    offset, mean = random(4, seed=3), torch.zeros(4, 4, dtype=torch.float64)
    for first in JACOBIAN:
        for second in JACOBIAN:
            after = offset - 0.3 / 2 * ((first @ offset) * first + (second @ offset) * second)
            mean += torch.outer(after, after) / 81
    ours = second_moment_step(torch.outer(offset, offset), JACOBIAN, learning_rate=0.3, batch_size=2)
    torch.testing.assert_close(ours, mean)


def test_one_sample_in_one_dimension_by_hand():
    ours = second_moment_step(
        torch.ones(1, 1).double(), torch.tensor([[2.0]]).double(), learning_rate=0.25, batch_size=1
    )
    assert ours.item() == pytest.approx((1 - 0.25 * 4) ** 2)


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("learning_rate", [0.1, 0.4, 2.0])
def test_the_growth_rate_is_the_spectral_radius(batch_size, learning_rate):
    ours = growth_rate(gram_matrix(JACOBIAN), learning_rate=learning_rate, batch_size=batch_size)
    assert ours == pytest.approx(spectral_radius(JACOBIAN, learning_rate, batch_size), rel=1e-9)


def test_growth_is_judged_on_the_range_of_the_hessian():
    """Three samples in eight dimensions: the other five directions never move."""
    wide = random(3, 8, seed=4)
    basis = torch.linalg.svd(wide, full_matrices=False).Vh
    expected = spectral_radius(wide @ basis.T, 0.05, 1)
    assert expected < 0.99
    assert growth_rate(gram_matrix(wide), learning_rate=0.05) == pytest.approx(expected, rel=1e-9)


# --- The threshold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jacobian", [JACOBIAN, UNIT, random(3, 8, seed=4) @ random(8, 3, seed=5)])
@pytest.mark.parametrize("batch_size", BATCHES)
def test_the_critical_rate_is_where_the_spectral_radius_passes_one(jacobian, batch_size):
    ours = critical_learning_rate(gram_matrix(jacobian), batch_size)
    crossing = optimize.brentq(
        lambda rate: spectral_radius(jacobian, rate, batch_size) - 1, 0.5 * ours, 3 * ours, xtol=1e-13
    )
    assert ours == pytest.approx(crossing, rel=1e-8)


def test_equal_gradients_are_stable_up_to_the_trace_bound():
    assert critical_learning_rate(gram_matrix(UNIT)) == pytest.approx(2 / sharpness(gram_matrix(UNIT)).trace)


def test_unequal_gradients_lose_stability_before():
    gram = gram_matrix(JACOBIAN)
    assert critical_learning_rate(gram) < 0.9 * 2 / sharpness(gram).trace.item()


def test_orthonormal_gradients_follow_the_closed_form():
    """Four orthonormal samples: G = I/4, and the sufficient condition is tight at every batch size."""
    gram = gram_matrix(torch.eye(4, dtype=torch.float64))
    for batch_size in BATCHES:
        expected = 2 / ((1 - 1 / batch_size) / 4 + 1 / batch_size)
        assert critical_learning_rate(gram, batch_size) == pytest.approx(expected)


def test_full_batches_are_bound_by_the_largest_eigenvalue_only():
    gram = gram_matrix(JACOBIAN)
    largest = np.linalg.eigvalsh((JACOBIAN.T @ JACOBIAN / 9).numpy())[-1]
    assert critical_learning_rate(gram, math.inf) == pytest.approx(2 / largest)


def test_larger_batches_are_never_less_stable():
    """Theorem of Mulayoff and Michaeli, arXiv 2306.07850."""
    rates = [critical_learning_rate(gram_matrix(JACOBIAN), size) for size in (1, 2, 3, 5, 9, 50, math.inf)]
    assert all(np.diff(rates) > 0)


def test_the_first_step_of_lanczos_is_the_bound_by_the_projection():
    lengths, trace = JACOBIAN.square().sum(dim=1), JACOBIAN.square().sum() / 9
    bound = 2 * trace / lengths.square().mean()
    ours = critical_learning_rate(gram_matrix(JACOBIAN), n_steps=1)
    assert ours == pytest.approx(bound.item())
    assert ours <= 2 / trace


def test_the_critical_rate_scales_inversely():
    gram = gram_matrix(JACOBIAN)
    assert critical_learning_rate(1e-150 * gram) == pytest.approx(1e150 * critical_learning_rate(gram))
    assert critical_learning_rate(0 * gram) == math.inf


# --- The Frobenius norm --------------------------------------------------------------------------------------------


def test_the_alignment_is_a_minimum_over_displacements():
    g, n = JACOBIAN.numpy(), 9
    hessian = g.T @ g / n
    noise = sum((r @ hessian @ r) * np.outer(r, r) for r in g) / n - hessian @ hessian @ hessian

    def ratio(offset):
        return (offset @ noise @ offset) / (offset @ hessian @ offset) / np.sum(hessian**2)

    starts = random(8, 4, seed=6).numpy()
    found = min(optimize.minimize(ratio, start, tol=1e-14).fun for start in starts)
    assert alignment(gram_matrix(JACOBIAN)) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_loss_grows_at_least_as_the_alignment_says(batch_size):
    gram, hessian = gram_matrix(JACOBIAN), JACOBIAN.T @ JACOBIAN / 9
    rate, offset = 1.1, random(4, seed=7)
    after = second_moment_step(
        torch.outer(offset, offset), JACOBIAN, learning_rate=rate, batch_size=batch_size
    )
    growth = (after * hessian).sum() / (offset @ hessian @ offset)
    assert growth >= rate**2 / batch_size * alignment(gram) * gram.square().sum()


def test_a_single_sample_has_no_noise():
    """SGD is GD then, stable up to 2/‖G‖: a bound by the Frobenius norm must be void."""
    gram = gram_matrix(random(1, 4))
    assert alignment(gram) == 0
    assert critical_learning_rate(gram) == pytest.approx(2 / gram.item())


# --- Networks ----------------------------------------------------------------------------------------------------


def small_runs(network, n_problems=2, n_rates=3, n=5, d=4):
    """Parameters, inputs and targets in double precision."""
    start = network.start(n_problems, d, seeded(8))
    layers = tuple(layer.double().repeat_interleave(n_rates, dim=1) for layer in start)
    layers = tuple(layer * (1 + 0.3 * random(*layer.shape, seed=9)) for layer in layers)
    return layers, random(n_problems, n, d, seed=10), random(n_problems, n, seed=11)


def one_prediction(network, inner, outer, x):
    """The network's formula for one run and one sample, written out."""
    if isinstance(network, DiagonalNetwork):
        return (inner * outer * x).sum()
    return (outer * torch.relu(inner @ x)).sum()


NETWORKS = [DiagonalNetwork(), ReluNetwork(6)]


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_and_gram_matrices_are_autograds(network):
    layers, inputs, targets = small_runs(network)
    slopes, grams = network.gradient(layers, inputs, targets), network.gram(layers, inputs)
    traces, predictions = network.trace(layers, inputs), network.predict(layers, inputs)
    for s, r in ((0, 0), (1, 2)):
        flat = [layer[s, r].clone().requires_grad_() for layer in layers]
        each = torch.stack([one_prediction(network, *flat, x) for x in inputs[s]])
        torch.testing.assert_close(predictions[s, r], each)
        rows = [
            torch.cat([part.flatten() for part in torch.autograd.grad(value, flat, retain_graph=True)])
            for value in each
        ]
        jacobian = torch.stack(rows)
        torch.testing.assert_close(grams[s, r], jacobian @ jacobian.T / 5)
        torch.testing.assert_close(traces[s, r], jacobian.square().sum() / 5)
        loss = (each - targets[s]).square().mean() / 2
        expected = torch.autograd.grad(loss, flat)
        for ours, theirs in zip(slopes, expected, strict=True):
            torch.testing.assert_close(ours[s, r], theirs)


@pytest.mark.parametrize("network", NETWORKS)
def test_sharpness_is_that_of_the_hessian_at_an_interpolant(network):
    layers, inputs, _ = small_runs(network)
    found = sharpness(network.gram(layers, inputs))
    inner, outer = (layer[0, 0] for layer in layers)
    targets = torch.stack([one_prediction(network, inner, outer, x) for x in inputs[0]])

    def loss(point):
        first, second = point.split([inner.numel(), outer.numel()])
        parts = first.reshape(inner.shape), second.reshape(outer.shape)
        predictions = torch.stack([one_prediction(network, *parts, x) for x in inputs[0]])
        return (predictions - targets).square().mean() / 2

    point = torch.cat([inner.flatten(), outer.flatten()])
    hessian = torch.autograd.functional.hessian(loss, point)
    assert found.trace[0, 0].item() == pytest.approx(hessian.trace().item())
    assert found.frobenius[0, 0].item() == pytest.approx(hessian.norm().item())
    assert found.spectral[0, 0].item() == pytest.approx(torch.linalg.matrix_norm(hessian, 2).item())


def test_the_diagonal_network_has_the_sharpness_of_its_norms_in_expectation():
    """Inputs whose sample covariance is exactly I/3: the equivalence is an identity there."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    inputs = (signs / 3**0.5)[None]
    layers = random(1, 1, 3), random(1, 1, 3, seed=1)
    found, norms = sharpness(DiagonalNetwork().gram(layers, inputs)), DiagonalNetwork().norms(layers)
    for kind, norm in norms.items():
        torch.testing.assert_close(getattr(found, kind), norm)


def test_the_relu_network_has_the_trace_of_its_norm_for_symmetric_inputs():
    """Inputs in pairs x, −x of an orthogonal frame: each neuron is open for half of them, and Σxxᵀ is round."""
    frame = 5**0.5 * torch.linalg.qr(random(5, 5)).Q
    inputs = torch.cat([frame, -frame])[None]
    network = ReluNetwork(7)
    layers = random(1, 1, 7, 5), random(1, 1, 7, seed=1)
    found, norms = sharpness(network.gram(layers, inputs)), network.norms(layers)
    torch.testing.assert_close(found.trace, norms["trace"])
    for kind in ("frobenius", "spectral"):
        assert (getattr(found, kind) <= norms[kind] * (1 + 1e-12)).all()  # the proved upper bounds


def test_the_upper_bounds_of_the_relu_network_are_attained():
    """All neurons alike and tiny: G is aa' times the mean of xx' over the open half, I/2."""
    frame = 5**0.5 * torch.linalg.qr(random(5, 5)).Q
    inputs = torch.cat([frame, -frame])[None]
    layers = 1e-6 * random(1, 1, 1, 5).expand(1, 1, 7, 5), random(1, 1, 7, seed=1)
    found, norms = sharpness(ReluNetwork(7).gram(layers, inputs)), ReluNetwork(7).norms(layers)
    for kind, norm in norms.items():
        torch.testing.assert_close(getattr(found, kind), norm)


def test_the_trace_bounds_the_path_norm_and_balance_attains_it():
    network = ReluNetwork(7)
    inner, outer = random(1, 1, 7, 5), random(1, 1, 7, seed=1)
    path = network.effective_norm((inner, outer))
    assert network.norms((inner, outer))["trace"] > 1.01 * 5**0.5 * path
    ratio = (inner.norm(dim=-1) / (5**0.5 * outer.abs())).sqrt()  # to ‖w‖ = √d |a|
    balanced = inner / ratio[..., None], outer * ratio
    inputs = random(1, 4, 5)
    torch.testing.assert_close(network.predict(balanced, inputs), network.predict((inner, outer), inputs))
    torch.testing.assert_close(network.effective_norm(balanced), path)
    torch.testing.assert_close(network.norms(balanced)["trace"], 5**0.5 * path)


# --- The descent -------------------------------------------------------------------------------------------------


def test_full_batches_follow_gradient_descent_by_autograd():
    network = ReluNetwork(6)
    layers, inputs, targets = small_runs(network)
    rates = torch.tensor([0.01, 0.03, 0.1]).double()
    ours = descend(network, layers, inputs, targets, rates, n_steps=4, batch_size=None, clip=1e9)
    for s, r in ((0, 1), (1, 2)):
        point = [layer[s, r].clone().requires_grad_() for layer in layers]
        for _ in range(4):
            each = torch.stack([one_prediction(network, *point, x) for x in inputs[s]])
            slopes = torch.autograd.grad((each - targets[s]).square().mean() / 2, point)
            point = [(p - rates[r] * g).detach().requires_grad_() for p, g in zip(point, slopes, strict=True)]
        for layer, expected in zip(ours.parameters, point, strict=True):
            torch.testing.assert_close(layer[s, r], expected.detach())


def test_a_step_of_sgd_balances_the_layers_as_the_identity_says():
    """a² − b² shrinks by 1 − (ηrx)², for the residual r of the sample x that was drawn."""
    layers, inputs, targets = small_runs(DiagonalNetwork(), n=1)
    rates = torch.tensor([0.1, 0.2, 0.3]).double()
    after = descend(DiagonalNetwork(), layers, inputs, targets, rates, n_steps=1, clip=1e9).parameters
    residual = DiagonalNetwork().predict(layers, inputs) - targets[:, None]
    shrink = 1 - (rates[None, :, None] * residual * inputs).square()
    before = (layers[0].square() - layers[1].square()) * shrink
    torch.testing.assert_close(after[0].square() - after[1].square(), before, rtol=0, atol=1e-12)


def test_batches_are_drawn_from_the_generator_for_each_problem():
    network, (layers, inputs, targets) = DiagonalNetwork(), small_runs(DiagonalNetwork())
    rates = torch.tensor([0.1, 0.1, 0.2]).double()
    run = {"n_steps": 3, "clip": 1e9}
    equal = tuple(layer[:, :1].expand(-1, 3, -1) for layer in layers)
    first, again, other = (
        descend(network, equal, inputs, targets, rates, generator=seeded(s), **run).parameters[0]
        for s in (1, 1, 2)
    )
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(first[:, 0], first[:, 1])  # the same rate, the same batches
    drawn = torch.randint(5, (3, 2, 1), generator=seeded(1))
    point = tuple(layer[1, :1][None] for layer in equal)
    for rows in drawn:
        batch = inputs[1, rows[1]][None], targets[1, rows[1]][None]
        slopes = network.gradient(point, *batch)
        point = tuple(p - 0.1 * g for p, g in zip(point, slopes, strict=True))
    torch.testing.assert_close(first[1, 0], point[0][0, 0])


def test_a_long_gradient_is_cut_to_the_clip():
    layers, inputs, targets = small_runs(DiagonalNetwork())
    rates = torch.tensor([0.1, 0.2, 0.3]).double()
    run = {"n_steps": 1, "batch_size": None}
    after = descend(DiagonalNetwork(), layers, 10 * inputs, targets, rates, clip=0.5, **run)
    moved = sum((new - old).square().sum(dim=-1) for new, old in zip(after.parameters, layers, strict=True))
    torch.testing.assert_close(moved.sqrt(), (0.5 * rates).expand(2, 3))
    assert after.clipped.all()
    assert not descend(DiagonalNetwork(), layers, inputs, targets, rates, clip=1e9, **run).clipped.any()


def test_runs_that_diverge_are_infinite_and_leave_the_others_alone():
    layers, inputs, targets = small_runs(DiagonalNetwork())
    rates = torch.tensor([0.01, 1e30, 0.03]).double()
    ended = descend(
        DiagonalNetwork(), layers, inputs, targets, rates, n_steps=40, batch_size=None, clip=1e300, n_looks=4
    )
    assert ended.parameters[0][:, 1].isinf().all()
    assert ended.parameters[0][:, [0, 2]].isfinite().all()
    assert len(ended.steps) == 4
    assert not ended.traces.isnan().any()
    torch.testing.assert_close(ended.traces[0], DiagonalNetwork().trace(layers, inputs))


def test_sgd_stays_at_a_stable_minimum_and_leaves_an_unstable_one():
    """Equal gradient norms: one step in five hundred decides, on either side of the critical rate."""
    inputs = random(1, 8, 8, seed=12)
    inputs = inputs / inputs.norm(dim=2, keepdim=True)
    layers = torch.ones(1, 2, 8).double(), torch.ones(1, 2, 8).double()
    targets = DiagonalNetwork().predict(layers, inputs)[:, 0]
    critical = critical_learning_rate(DiagonalNetwork().gram(layers, inputs)[0, 0])
    assert critical == pytest.approx(1.0)  # ‖g‖² = 2, the trace is 2
    start = tuple(layer + 1e-6 * random(1, 1, 8, seed=13) for layer in layers)
    rates = critical * torch.tensor([0.9, 1.1]).double()
    ended = descend(DiagonalNetwork(), start, inputs, targets, rates, n_steps=500, generator=seeded(0))
    before, after = (
        (DiagonalNetwork().predict(layers, inputs) - targets).norm(dim=-1)[0]
        for layers in (start, ended.parameters)
    )
    assert after[0] < 0.5 * before[0]
    assert after[1] > 1e3 * before[1]


# --- Problems and the experiment -----------------------------------------------------------------------------------


def test_problems_have_the_moments_that_the_theory_asks_for():
    sparse = sparse_regression(2, 20_000, 6, seeded(0))
    assert sparse.inputs.square().mean().item() == pytest.approx(1 / 3, rel=0.01)
    torch.testing.assert_close(
        sparse.targets, sparse.inputs[..., 0] + sparse.inputs[..., 1] + sparse.inputs[..., 2]
    )
    directions = teacher_directions(2, 3, 6, seeded(1))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 3))
    round_ = teacher_regression(directions, 20_000, seeded(2))
    torch.testing.assert_close(round_.inputs.norm(dim=-1), torch.full((2, 20_000), 6**0.5))
    covariance = round_.inputs[0].T @ round_.inputs[0] / 20_000
    assert (covariance - torch.eye(6)).abs().max() < 0.05
    # A ReLU of w·x has the mean ‖w‖ √d Γ(d/2) / (2 √π Γ((d + 1)/2)).
    mean = 3 * 6**0.5 * math.gamma(3) / (2 * math.pi**0.5 * math.gamma(3.5))
    assert round_.targets.mean().item() == pytest.approx(mean, rel=0.02)


def streams(*names):
    return seeded(sum(map(ord, "".join(map(str, names)))))


@pytest.fixture(scope="module")
def grid():
    split = experiment.split_of(lambda n, draws: sparse_regression(3, n, 24, draws), 12, 200, streams)
    run = {"n_steps": 3000, "batch_size": 1, "clip": 50.0, "n_looks": 5}
    rates = [0.05, 0.1, 1e6]
    return split, experiment.run_grid(DiagonalNetwork(), split, rates, streams, **run)


def test_a_grid_knows_which_runs_are_at_a_minimum(grid):
    split, grid = grid
    assert grid.settled() == [0, 1]
    weights = grid.descent.parameters[0] * grid.descent.parameters[1]
    gaps = torch.einsum("pnd,pd->pn", split.test.inputs, weights[:, 1]) - split.test.targets
    torch.testing.assert_close(
        grid.test[:, 1], gaps.square().mean(dim=1).double() / split.test.targets.var(dim=1)
    )
    assert grid.loss[:, :2].max() < 1e-4
    assert not grid.test.isnan().any()
    assert grid.validation[:, 2].min() > 1e3


def test_a_run_that_was_too_short_is_not_at_a_minimum(grid):
    split, _ = grid
    run = {"n_steps": 2, "batch_size": 1, "clip": 50.0}
    assert experiment.run_grid(DiagonalNetwork(), split, [0.05], streams, **run).settled() == []


def test_the_rate_is_chosen_by_validation_on_the_tuning_problems_only(grid):
    _, grid = grid
    grid = grid.__class__(
        **grid.__dict__ | {"validation": torch.tensor([[1.0, 2, 9], [4, 2, 9], [0, 0, -99]])}
    )
    assert grid.choose(1) == 0
    assert grid.choose(2) == 1


def test_critical_rates_are_those_of_the_minima(grid):
    split, grid = grid
    rates = experiment.critical_rates(DiagonalNetwork(), grid, split.train.inputs, 1, n_tuning=1)
    assert rates[:, 2].isnan().all()
    assert rates[0].isnan().all()
    expected = critical_learning_rate(
        DiagonalNetwork().gram(grid.descent.parameters, split.train.inputs)[1, 0]
    )
    assert rates[1, 0].item() == pytest.approx(expected, rel=1e-3)


def test_a_spread_interpolant_fits_and_is_at_the_edge_of_gradient_descent():
    inputs, truth = random(6, 30, seed=14), torch.zeros(30).double()
    truth[:2] = 1
    (error, gram), (flatter, _) = (
        experiment.spread_interpolant(inputs, truth, 0.2, seeded(0), kind=kind)
        for kind in ("spectral", "trace")
    )
    assert sharpness(gram).spectral.item() == pytest.approx(2 / 0.2, rel=1e-3)
    assert critical_learning_rate(gram) < 0.2
    assert error > 0.1
    assert 0 < flatter < 0.1 * error


def test_a_spread_interpolant_fits_the_sample():
    """One sample (1, 1), the truth (1, 0): s(1, −1) is unseen, and the trace 2|1 + s| + 2|s| is 10 at s = 2 or −3."""
    inputs, truth = torch.ones(1, 2).double(), torch.tensor([1.0, 0.0]).double()
    error, _ = experiment.spread_interpolant(inputs, truth, 0.2, seeded(0), kind="trace")
    assert min(abs(error - 8), abs(error - 18)) < 0.1


def test_a_typical_run_of_one_dimension_follows_its_logarithm():
    """One weight, samples 0.5 and 2: the exponent is the mean of log (1 − ηg²)², its argument's mean the operator."""
    jacobian, rate = torch.tensor([[0.5], [2.0]]).double(), 0.45
    factors = (1 - rate * jacobian.square()).square()
    logs = experiment.log_distances(jacobian, rate, seeded(0), n_runs=500, n_steps=200)
    assert experiment.typical_growth(logs) == pytest.approx(factors.log().mean().exp().item(), rel=0.02)
    assert logs[0].exp().mean().item() == pytest.approx(factors.mean().item(), rel=0.05)
    mean = experiment.mean_distances(jacobian, rate, 3)
    np.testing.assert_allclose(mean, factors.mean().item() ** np.arange(1, 4))


def test_a_typical_run_is_taken_from_its_last_three_quarters():
    logs = torch.tensor([5.0, 2, 3, 4, 5, 6, 7, 8])[:, None]
    assert experiment.typical_growth(logs) == pytest.approx(math.exp(6 / 6))


def test_the_explicit_baselines_are_what_they_are_called():
    sample = sparse_regression(1, 40, 60, seeded(3))
    errors = experiment.explicit_errors(sample)
    assert errors["Lasso, cross-validated"][0] < 0.01
    assert 0.1 < errors["least Euclidean norm"][0] < 0.7  # about 1 − n/d


# --- Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: critical_learning_rate(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "gram must be symmetric"),
        (lambda: critical_learning_rate(torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "gram must be positive"),
        (lambda: critical_learning_rate(torch.eye(2), 0), "batch_size"),
        (lambda: growth_rate(torch.eye(2), learning_rate=0.0), "learning_rate must be positive"),
        (lambda: alignment(torch.ones(2, 3)), "gram must be square"),
        (lambda: alignment(torch.eye(2).expand(3, 2, 2)), "gram must be one matrix"),
        (
            lambda: second_moment_step(torch.eye(3), JACOBIAN, learning_rate=0.1, batch_size=1),
            "moment must be square",
        ),
        (lambda: ReluNetwork(0), "n_neurons"),
        (lambda: sparse_regression(1, 5, 2, seeded(), n_relevant=3), "n_relevant"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": torch.tensor([0.1, 0.0, 0.1])}, "learning_rates must be positive"),
        ({"learning_rates": torch.tensor([0.1])}, "parameters must begin"),
        ({"targets": torch.ones(2, 4)}, "targets must have the shape"),
        ({"inputs": torch.ones(2, 5)}, "inputs must have the axes"),
        ({"batch_size": 0}, "batch_size"),
        ({"n_steps": 0}, "n_steps"),
        ({"clip": 0.0}, "clip"),
    ],
)
def test_descents_that_cannot_be_are_refused_by_name(change, message):
    layers, inputs, targets = small_runs(DiagonalNetwork())
    good = {"parameters": layers, "inputs": inputs, "targets": targets, "n_steps": 2}
    good["learning_rates"] = torch.tensor([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=message):
        descend(DiagonalNetwork(), **good | change)


def test_the_package_exports_what_it_lists():
    assert all(hasattr(stability, name) for name in stability.__all__)
