"""SVH-PSL against its authors' double loop, automatic differentiation, pymoo, closed-form fronts and invariances.

The Gaussian processes, the hypervolume and the median bandwidth have their own tests in `tests/foundations`.
"""

import math
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem as PymooProblem
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from scipy import stats
from scipy.optimize import minimize as scipy_minimize

from regularity.foundations.gaussian_processes import sample_jointly
from regularity.foundations.metrics import hypervolume, nondominated
from regularity.stein.stein_pareto import (
    PROBLEMS,
    PSL_MOBO,
    SVH_PSL,
    UNCOUPLED,
    Method,
    ParetoSetModel,
    Problem,
    acquire_by_expected_improvement,
    acquire_from_pareto_set,
    check_preferences,
    even_preferences,
    fit_surrogate,
    latin_hypercube,
    learn_pareto_set,
    objective_kernel,
    optimise,
    sample_preferences,
    select_batch,
    stack_methods,
    stein_direction_by_particles,
    stein_hypernetwork_direction,
    tchebycheff,
)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def surrogate_of(name="RE21", seeds=(0,), n=15, **options):
    """A surrogate of a Latin hypercube."""
    problem = PROBLEMS[name]
    solutions = latin_hypercube(n, problem.n_variables, seeds)
    return fit_surrogate(solutions, problem.evaluate(solutions), n_steps=40, **options)


def network_on(surrogate, seeds=(0,), width=7):
    """Small networks in double precision, enlarged, as at first all solutions lie too close for a kernel."""
    m, d = surrogate.ideal.shape[-1], surrogate.solutions.shape[-1]
    network = ParetoSetModel(m, d, width=width, generators=seeded(*seeds), dtype=torch.float64)
    with torch.no_grad():
        for layer in network.layers:
            layer.mul_(4)
    return network


# --- Problems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ZDT1", "ZDT2", "ZDT3"])
def test_zdt_is_that_of_pymoo(name):
    solutions = uniform(30, 20)
    expected = get_problem(name.lower(), n_var=20).evaluate(solutions.numpy())
    np.testing.assert_allclose(PROBLEMS[name].evaluate(solutions), expected, atol=1e-13)


FRONT_SOLUTIONS = {
    "ZDT1": lambda t: torch.cat([t, torch.zeros(len(t), 19)], dim=1),
    "ZDT2": lambda t: torch.cat([t, torch.zeros(len(t), 19)], dim=1),
    "F2": lambda t: t ** torch.tensor([1.0, 0.5, 0.875, 1.25, 1.625, 2.0]),
    "VLMOP2": lambda t: 0.5 + (t - 0.5) / (2 * math.sqrt(6)) * torch.ones(6),
}


@pytest.mark.parametrize("name", FRONT_SOLUTIONS)
def test_solutions_of_closed_form_lie_on_the_front(name):
    problem = PROBLEMS[name]
    reached = problem.evaluate(FRONT_SOLUTIONS[name](torch.linspace(0, 1, 41, dtype=torch.float64)[:, None]))
    order = reached[:, 0].argsort()
    torch.testing.assert_close(
        reached[order], problem.front(41)[problem.front(41)[:, 0].argsort()], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("name", ["ZDT1", "ZDT2", "F2", "VLMOP2", "RE21"])
def test_nothing_dominates_the_front(name):
    problem = PROBLEMS[name]
    front = problem.scale(problem.front(500))
    assert nondominated(front).all()
    near = uniform(4000, problem.n_variables) ** 4  # many near the faces, where these fronts are
    values = torch.cat([problem.evaluate(near), problem.evaluate(1 - near)])
    better = ((values[:, None] < front - 1e-9).all(dim=2)).any(dim=1)
    assert not better.any()


def test_front_of_the_truss_is_what_a_search_approaches():
    """NSGA-II with 20,000 evaluations comes within 1 % of the closed form's hypervolume, and not above."""
    problem = PROBLEMS["RE21"]

    class Truss(PymooProblem):
        def __init__(self):
            super().__init__(n_var=4, n_obj=2, xl=0, xu=1)

        def _evaluate(self, x, out):
            out["F"] = problem.evaluate(torch.as_tensor(x)).numpy()

    found = minimize(Truss(), NSGA2(pop_size=100), ("n_evals", 20_000), seed=1).F
    reference = torch.tensor(problem.reference, dtype=torch.float64)
    exact = hypervolume(problem.scale(problem.front(5000)), reference).item()
    reached = hypervolume(torch.as_tensor(found), reference).item()
    assert exact - 0.01 < reached < exact
    # And its ends are the ideal and the nadir that scale the objectives.
    front = problem.scale(problem.front(5000))
    torch.testing.assert_close(front.amin(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(front.amax(dim=0), torch.ones(2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_injector_has_the_published_ideal_point():
    """The least value of each response surface over the cube: the best of a grid, then a local search from there."""
    problem = PROBLEMS["RE37"]
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 13, dtype=torch.float64)] * 4)
    values = problem.evaluate(grid)
    for k in range(3):

        def scaled(x, k=k):
            return problem.evaluate(torch.as_tensor(np.clip(x, 0, 1))[None])[0, k].item()

        start = grid[values[:, k].argmin()].numpy()
        best = scipy_minimize(scaled, start, method="L-BFGS-B", bounds=[(0, 1)] * 4).fun
        assert best == pytest.approx(0, abs=2e-3)


# --- Preferences --------------------------------------------------------------------------------------------------


def test_preferences_are_uniform_on_the_simplex():
    """A weight of two is uniform; one of three has the law Beta(1, 2)."""
    for m, law in ((2, stats.uniform()), (3, stats.beta(1, 2))):
        drawn = sample_preferences((5000, m), seeded(0), offset=0.0)[0]
        torch.testing.assert_close(drawn.sum(dim=1), torch.ones(5000, dtype=torch.float64))
        for k in range(m):
            assert stats.kstest(drawn[:, k].numpy(), law.cdf).pvalue > 1e-3


def test_even_preferences_are_the_lattice_of_the_simplex():
    two, three = even_preferences(2, 5), even_preferences(3, 20)
    torch.testing.assert_close(two[:, 0], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
    assert three.shape == (15, 3)  # 4 steps a side: 15 points; 5 steps would make 21
    assert len({tuple(row) for row in three.tolist()}) == 15
    for rows in (two, three):
        torch.testing.assert_close(rows.sum(dim=1), torch.ones(len(rows), dtype=torch.float64))


# --- The direction ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["local", "global"])
@pytest.mark.parametrize("name", ["RE21", "RE37"])
@pytest.mark.parametrize("scalarisation", ["multiply", "divide"])
def test_direction_is_the_double_loop_of_the_authors(name, kernel, scalarisation):
    surrogate = surrogate_of(name)
    network = network_on(surrogate)
    method = Method(scalarisation=scalarisation, kernel=kernel, repulsion=0.7, bandwidth=0.6)
    preferences = sample_preferences((6, surrogate.ideal.shape[-1]), seeded(3))
    direction = stein_hypernetwork_direction(network, preferences, surrogate, stack_methods([method]))
    expected = stein_direction_by_particles(network, preferences, surrogate, method)
    for total, repulsion, whole in zip(direction.total(), direction.repulsion, expected, strict=True):
        torch.testing.assert_close(total, whole, rtol=0, atol=1e-12)
        assert repulsion.abs().max() > 1e-6  # both terms are there to be compared


def test_drive_is_a_weighted_sum_of_gradients_by_automatic_differentiation():
    """Σ_j w_j ĝ_j, each g_j by `vmap(grad)` through network and surrogate, both by torch alone."""
    surrogate = surrogate_of()
    network = network_on(surrogate)
    preferences = sample_preferences((5, 2), seeded(4))
    direction = stein_hypernetwork_direction(network, preferences, surrogate, stack_methods([SVH_PSL]))

    process = surrogate.process

    def bound(x):
        """V at one solution, written out."""
        differences = (x - surrogate.solutions[0]) / process.parameters.lengthscale[0][:, None, :]
        r = math.sqrt(5) * differences.square().sum(dim=-1).sqrt()
        k = process.parameters.variance[0][:, None] * (1 + r + r**2 / 3) * torch.exp(-r)
        variance = process.parameters.variance[0] - torch.einsum("kn,knl,kl->k", k, process.precision[0], k)
        return (k * process.weights[0]).sum(dim=-1) - 0.1 * variance.sqrt()

    def scalarised(layers, preference):
        values = preference
        for depth, layer in enumerate(layers):
            values = values @ layer[:-1] + layer[-1]
            values = torch.relu(values) if depth < 2 else torch.sigmoid(values)
        return (preference * (bound(values) - surrogate.ideal[0])).max()

    layers = tuple(layer.detach()[0] for layer in network.layers)
    gradients = torch.func.vmap(torch.func.grad(scalarised), in_dims=(None, 0))(layers, preferences[0])
    for drive, gradient in zip(direction.drive, gradients, strict=True):
        length = gradient.square().sum(dim=0).sqrt()
        unit = torch.where(length > 0, gradient / length, 0.0)
        expected = torch.einsum("j,jio->io", direction.weights[0], unit) / 5
        torch.testing.assert_close(drive[0], expected, rtol=1e-6, atol=1e-9)


def test_runs_without_a_kernel_are_the_base_method():
    """PSL-MOBO: unit gradients in the solutions, pushed back through the network by torch."""
    surrogate = surrogate_of()
    network = network_on(surrogate)
    preferences = sample_preferences((5, 2), seeded(5))
    direction = stein_hypernetwork_direction(network, preferences, surrogate, stack_methods([PSL_MOBO]))
    solutions = network(preferences)
    values, slopes = surrogate.lower_bound(solutions.detach(), 0.1)
    active = ((values - surrogate.ideal[:, None]) / preferences).argmax(dim=-1)[0]
    wishes = torch.stack([slopes[0, i, k] / preferences[0, i, k] for i, k in enumerate(active)])
    wishes = wishes + 0.01 * slopes[0].sum(dim=1)
    wishes = wishes / wishes.norm(dim=1, keepdim=True)
    expected = torch.autograd.grad((solutions[0] * wishes).sum() / 5, list(network.layers))
    for drive, whole in zip(direction.drive, expected, strict=True):
        torch.testing.assert_close(drive, whole, rtol=0, atol=1e-13)
    assert (direction.weights == 1).all()


def test_preferences_have_no_order():
    surrogate = surrogate_of()
    network, stack = network_on(surrogate), stack_methods([replace(SVH_PSL, repulsion=0.5)])
    preferences = sample_preferences((6, 2), seeded(6))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one = stein_hypernetwork_direction(network, preferences, surrogate, stack)
    other = stein_hypernetwork_direction(network, preferences[:, order], surrogate, stack)
    torch.testing.assert_close(other.weights, one.weights[:, order])
    for ours, theirs in zip((*one.drive, *one.repulsion), (*other.drive, *other.repulsion), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_directions_of_a_batch_are_those_of_its_runs():
    methods = [replace(SVH_PSL, repulsion=0.5), UNCOUPLED, PSL_MOBO, replace(SVH_PSL, kernel="global")]
    seeds = (0, 1, 2, 3)
    surrogate = surrogate_of(seeds=seeds)
    network, preferences = network_on(surrogate, seeds), sample_preferences((6, 2), seeded(*seeds))
    together = stein_hypernetwork_direction(network, preferences, surrogate, stack_methods(methods))
    for run, method in enumerate(methods):
        one = surrogate_of(seeds=seeds[run : run + 1])
        alone = stein_hypernetwork_direction(
            network_on(one, seeds[run : run + 1]), preferences[run : run + 1], one, stack_methods([method])
        )
        for ours, theirs in zip(together.total(), alone.total(), strict=True):
            torch.testing.assert_close(ours[run], theirs[0], rtol=1e-6, atol=1e-9)
        assert together.repulsion_share()[run].item() == pytest.approx(
            alone.repulsion_share().item(), rel=1e-5
        )
    assert (together.repulsion_share() > 0).tolist() == [True, False, False, True]


def test_both_ends_of_the_bandwidth_are_uncoupled():
    """K = I and K = 11ᵀ weigh all preferences alike, by 1 and by n; in between they do not."""
    surrogate = surrogate_of(seeds=(0, 0, 0, 0))
    methods = [replace(SVH_PSL, bandwidth=bandwidth) for bandwidth in (1e-12, 1e12, 1.0)]
    preferences = sample_preferences((6, 2), seeded(7)).expand(4, -1, -1)
    direction = stein_hypernetwork_direction(
        network_on(surrogate, (1, 1, 1, 1)), preferences, surrogate, stack_methods([*methods, UNCOUPLED])
    )
    for narrow, wide, medium, uncoupled in direction.drive:
        torch.testing.assert_close(narrow, uncoupled, rtol=0, atol=1e-12)
        torch.testing.assert_close(wide, 6 * uncoupled, rtol=0, atol=1e-8)
        assert (medium - uncoupled * medium.norm() / uncoupled.norm()).norm() > 0.02 * medium.norm()


def test_preferences_that_crowd_are_uncoupled():
    """h goes with the square of a squared distance: among solutions close by, K = I and nothing repels."""
    surrogate = surrogate_of()
    preferences = sample_preferences((6, 2), seeded(7))
    crowded = ParetoSetModel(2, 4, width=7, generators=seeded(0), dtype=torch.float64)
    direction = stein_hypernetwork_direction(crowded, preferences, surrogate, stack_methods([SVH_PSL]))
    assert crowded(preferences).std(dim=1).max() < 0.03
    assert direction.weights.max() < 1.3
    assert max(part.abs().max().item() for part in direction.repulsion) < 1e-6


# --- The kernel ---------------------------------------------------------------------------------------------------


def written_out_kernel(values, active, local, scale):
    """The authors' kernel, one entry after the other."""
    n, m = values.shape
    pairs = [[(values[i] - values[j]).square() for j in range(n)] for i in range(n)]
    kernel = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            counted = [active[j]] if local else list(range(m))
            medians = np.median([pairs[a][b][counted].sum().item() for a in range(n) for b in range(n)])
            kernel[i, j] = torch.exp(-pairs[i][j][counted].sum() / (scale * medians**2 / math.log(n)))
    return kernel


@pytest.mark.parametrize("local", [True, False])
def test_kernel_entry_by_entry(local):
    values, active = 2 * uniform(5, 3), [0, 2, 1, 1, 2]
    chosen = torch.eye(3, dtype=torch.float64)[active][None]
    kernel, _ = objective_kernel(
        values[None], chosen, torch.tensor([local]), torch.tensor([0.8], dtype=torch.float64)
    )
    torch.testing.assert_close(kernel[0], written_out_kernel(values, active, local, 0.8))
    assert torch.equal(kernel[0].T, kernel[0]) is not local  # the local kernel is not symmetric


@pytest.mark.parametrize("local", [True, False])
def test_gradient_of_the_kernel_by_central_differences(local):
    """The bandwidth, a median, is held: h is computed once, at the values themselves."""
    values, active = 2 * uniform(1, 5, 3), torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1, 2]][None]
    settings = torch.tensor([local]), torch.tensor([0.8], dtype=torch.float64)
    kernel, gradient = objective_kernel(values, active, *settings)
    counted = active if local else torch.ones_like(active)

    def distances(values):
        return (counted[:, None] * (values[:, :, None] - values[:, None]).square()).sum(dim=-1)

    h = -distances(values) / kernel.log()  # from the kernel itself; not a number on the diagonal
    h = torch.where(torch.isfinite(h), h, 1.0)
    for i in range(5):
        for k in range(3):
            step = torch.zeros_like(values)
            step[0, i, k] = 1e-6
            ahead, behind = (torch.exp(-distances(values + sign * step) / h).sum() for sign in (1, -1))
            assert gradient[0, i, k].item() == pytest.approx(((ahead - behind) / 2e-6).item(), abs=1e-7)


def test_kernel_sees_differences_and_their_units():
    """A shift of an objective changes nothing; another unit does, as the bandwidth has the unit's fourth power."""
    values, active = uniform(1, 6, 2), torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1, 0]][None]
    settings = torch.tensor([True]), torch.ones(1, dtype=torch.float64)
    kernel, gradient = objective_kernel(values, active, *settings)
    shifted = objective_kernel(values + torch.tensor([5.0, -3.0]), active, *settings)
    torch.testing.assert_close(shifted[0], kernel)
    torch.testing.assert_close(shifted[1], gradient)
    torch.testing.assert_close(
        gradient.sum(dim=1), torch.zeros(1, 2, dtype=torch.float64), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(objective_kernel(3 * values, active, *settings)[0], kernel ** (1 / 9))


def test_tchebycheff_value_by_its_definition():
    values, ideal = uniform(2, 6, 3), -uniform(2, 3, seed=1)
    preferences = sample_preferences((6, 3), seeded(0, 1))
    weights, active = tchebycheff(values, preferences, ideal, torch.tensor([False, True]))
    found = (active * weights * (values - ideal[:, None])).sum(dim=-1)
    gaps = values - ideal[:, None]
    torch.testing.assert_close(found[0], (preferences[0] * gaps[0]).amax(dim=-1))
    torch.testing.assert_close(found[1], (gaps[1] / preferences[1]).amax(dim=-1))
    moved, _ = tchebycheff(values + 7, preferences, ideal + 7, torch.tensor([False, True]))
    torch.testing.assert_close(moved, weights)


# --- Learning and choosing ----------------------------------------------------------------------------------------


def test_a_learned_set_is_near_the_front_of_its_surrogate():
    """Against a dense search of the same surrogate: most of its hypervolume, by a network of 20 units."""
    surrogate = surrogate_of(n=25)
    learned = learn_pareto_set(
        surrogate, [SVH_PSL], seeded(0), width=20, n_steps=400, learning_rate=0.01, checkpoint_every=20
    )
    with torch.no_grad():
        solutions = learned.network(even_preferences(2, 100)[None].float()).double()
    values = surrogate.lower_values(solutions, 0.1)
    reference = surrogate.values.amax(dim=1)
    dense = surrogate.lower_values(uniform(1, 20_000, 4) ** 2, 0.1)
    assert hypervolume(values, reference) > 0.85 * hypervolume(dense, reference)
    assert 0.1 < learned.weight_variation.item() < 0.6
    assert 0 < learned.repulsion_share.item() < 0.1


def test_the_checkpoint_keeps_the_best_network_and_the_base_method_the_last():
    """At a rate at which training runs away, the kept network is that of the largest hypervolume."""
    surrogate = surrogate_of(seeds=(0, 0))
    options = {"width": 10, "learning_rate": 0.3, "checkpoint_every": 1}
    reference = surrogate.values.amax(dim=1).clamp_min(0) + 0.5

    def volume(n_steps, method):
        network = learn_pareto_set(surrogate, [method] * 2, seeded(1, 1), n_steps=n_steps, **options).network
        with torch.no_grad():
            solutions = network(even_preferences(2, 100).expand(2, -1, -1).float()).double()
        return hypervolume(surrogate.lower_values(solutions, 0.1), reference)[0].item()

    # Equal seeds draw equal preferences step by step only within one length, so compare with the last network.
    last, kept = volume(40, replace(SVH_PSL, checkpoint=False)), volume(40, SVH_PSL)
    assert kept > last + 0.1


def test_batches_are_chosen_as_a_plain_greedy_search_would():
    front, candidates = uniform(2, 8, 2), uniform(2, 12, 2, seed=1) - 0.1
    reference = torch.ones(2, 2, dtype=torch.float64)
    chosen = select_batch(candidates, front, reference, 4)
    measure = HV(ref_point=np.ones(2))
    for run in range(2):
        known, taken = front[run].numpy(), []
        for _ in range(4):
            left = [c for c in range(12) if c not in taken]
            volumes = [measure(np.vstack([known, candidates[run, c].numpy()])) for c in left]
            taken.append(left[int(np.argmax(volumes))])
            known = np.vstack([known, candidates[run, taken[-1]].numpy()])
        assert chosen[run].tolist() == taken


def test_a_batch_of_all_candidates_repeats_none():
    same = torch.full((1, 5, 2), 0.5, dtype=torch.float64)  # after the first, none adds anything
    chosen = select_batch(same, same + 0.1, torch.ones(1, 2, dtype=torch.float64), 5)
    assert sorted(chosen[0].tolist()) == [0, 1, 2, 3, 4]


def test_expected_improvement_is_that_of_pymoo_on_the_same_samples():
    """The first solution of a batch has the largest mean improvement over the samples, one set after the other."""
    surrogate = surrogate_of(n=8)
    proposal = acquire_by_expected_improvement(surrogate, seeded(0), 1, pool_size=30, n_samples=6)
    generator = seeded(0)[0]
    known = surrogate.solutions[0, nondominated(surrogate.values)[0]]
    centres = known[torch.randint(len(known), (15,), generator=generator)]
    scales = torch.tensor([0.02, 0.1, 0.3]).double()[torch.randint(3, (15, 1), generator=generator)]
    moved = torch.rand(15, 4, generator=generator) < 0.5
    near = centres + moved * scales * torch.randn(15, 4, generator=generator, dtype=torch.float64)
    pool = torch.cat([torch.rand(15, 4, generator=generator, dtype=torch.float64), near.clamp(0, 1)])
    normals = torch.randn(2, 6, 30, generator=generator, dtype=torch.float64)
    samples = sample_jointly(surrogate.process, pool[None, None], normals[None])[
        0
    ]  # objectives, samples, pool

    values = surrogate.values[0].numpy()
    front = values[nondominated(surrogate.values)[0].numpy()]
    reference = front.max(axis=0) + np.maximum(0.1 * (front.max(axis=0) - front.min(axis=0)), 0.5)
    measure = HV(ref_point=reference)
    improvements = [
        np.mean([measure(np.vstack([values, samples[:, s, c].numpy()])) for s in range(6)]) for c in range(30)
    ]
    torch.testing.assert_close(proposal.solutions[0, 0], pool[int(np.argmax(improvements))])


# --- The loop -----------------------------------------------------------------------------------------------------

TRAINING = {"width": 8, "n_steps": 20, "n_candidates": 40, "checkpoint_every": 10, "dtype": torch.float64}


def run(methods, seeds, name="RE21", **options):
    acquire = partial(acquire_from_pareto_set, methods=methods, **TRAINING)
    settings = {"n_initial": 8, "n_iterations": 2, "batch_size": 3, "n_fit_steps": (20, 10)} | options
    return optimise(PROBLEMS[name], acquire, seeds, **settings)


def test_initial_designs_are_latin_hypercubes():
    designs = latin_hypercube(9, 4, [0, 1, 0])
    for column in designs[0].T:
        assert sorted((9 * column).floor().int().tolist()) == list(range(9))
    assert torch.equal(designs[0], designs[2])
    assert not torch.equal(designs[0], designs[1])


def test_a_batch_of_runs_is_its_runs_one_by_one():
    methods, seeds = [SVH_PSL, PSL_MOBO, SVH_PSL], [3, 3, 4]
    together = run(methods, seeds, standardise=[True, False, True])
    for index in range(3):
        alone = run(
            methods[index : index + 1], seeds[index : index + 1], standardise=[True, False, True][index]
        )
        torch.testing.assert_close(together.solutions[index], alone.solutions[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(together.hypervolume[index], alone.hypervolume[0], rtol=0, atol=1e-6)
    assert torch.equal(together.solutions[0, :8], together.solutions[1, :8])  # a shared design
    assert not torch.equal(together.solutions[0, :8], together.solutions[2, :8])


@pytest.mark.parametrize("name", ["RE21", "RE37"])
def test_traces_hold_what_was_evaluated(name):
    trace = run([SVH_PSL, UNCOUPLED], [0, 1], name)
    problem = PROBLEMS[name]
    assert trace.n_evaluations.tolist() == [8, 11, 14]
    torch.testing.assert_close(problem.evaluate(trace.solutions), trace.objectives)
    assert (trace.hypervolume.diff(dim=1) >= -1e-12).all()
    for count, volumes in zip(trace.n_evaluations, trace.hypervolume.T, strict=True):
        for one, volume in zip(trace.objectives, volumes, strict=True):
            expected = HV(ref_point=np.array(problem.reference))(one[:count].numpy())
            assert volume.item() == pytest.approx(expected, abs=1e-12)
    assert (trace.surrogate.values.amin(dim=1) - 0.1 >= trace.surrogate.ideal).all()
    assert trace.repulsion_share[1] == 0 < trace.repulsion_share[0]


def test_surrogates_bring_more_than_their_initial_design():
    trace = optimise(
        PROBLEMS["RE21"], acquire_by_expected_improvement, [0, 1], n_iterations=3, n_fit_steps=(60, 20)
    )
    design = PROBLEMS["RE21"].evaluate(latin_hypercube(35, 4, [0, 1]))
    assert (trace.hypervolume[:, -1] > hypervolume(design, torch.tensor([1.1, 1.1]).double()) + 0.05).all()


def test_raw_targets_keep_their_units_and_standardised_ones_do_not():
    """Both kinds of run see the same processes; only what the networks get differs."""
    problem = PROBLEMS["RE21"]
    solutions = latin_hypercube(10, 4, [0, 0])
    objectives = problem.evaluate(solutions)
    surrogate = fit_surrogate(solutions, objectives, standardise=[True, False], n_steps=5)
    torch.testing.assert_close(surrogate.values[1], objectives[1])
    torch.testing.assert_close(surrogate.values[0].mean(dim=0), torch.zeros(2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(surrogate.values[0].std(dim=0, correction=0), torch.ones(2).double())
    points = uniform(1, 5, 4).expand(2, -1, -1)
    (scaled, raw), slopes = surrogate.lower_bound(points, 0.1)
    mean, std = objectives[0].mean(dim=0), objectives[0].std(dim=0, correction=0)
    torch.testing.assert_close(raw, mean + std * scaled)
    torch.testing.assert_close(slopes[1], std[:, None] * slopes[0])
    torch.testing.assert_close(surrogate.lower_values(points, 0.1)[1], raw)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ([[0.5, 0.5], [1.0, 0.0]], "preferences must be positive; got 0"),
        ([[0.5, 0.5], [1.2, -0.2]], "preferences must be positive; got -0.2"),
        ([[0.5, 0.5], [0.5, 0.9]], r"preferences must add to 1; got a row that is 0\.4 away"),
        ([[0.5, 0.5]], "a kernel needs at least 2 preferences; got 1"),
    ],
)
def test_preferences_are_checked(preferences, message):
    with pytest.raises(ValueError, match=message):
        check_preferences(torch.tensor([preferences], dtype=torch.float64))


@pytest.mark.bad_input
def test_solutions_and_evaluations_are_checked():
    problem = PROBLEMS["RE21"]
    with pytest.raises(ValueError, match=r"solutions must be in \[0, 1\]; got a range of \[0, 1.5\]"):
        problem.evaluate(torch.tensor([[0.0, 0.5, 1.0, 1.5]]))
    with pytest.raises(ValueError, match="solutions must have 4 variables; got 3"):
        problem.evaluate(torch.zeros(2, 3))
    broken = Problem(lambda x: x.log()[..., :2], 2, (0.0, 0.0), (1.0, 1.0), (1.1, 1.1))
    with pytest.raises(ValueError, match="objectives must be finite; got evaluation 1: "):
        broken.evaluate(torch.tensor([[0.5, 0.5], [0.0, 0.5]]))


@pytest.mark.bad_input
def test_constant_objectives_have_no_surrogate():
    solutions = latin_hypercube(6, 2, [0, 1])
    objectives = torch.stack([solutions[..., 0], torch.ones(2, 6).double()], dim=-1)
    with pytest.raises(ValueError, match="got objective 1 constant on the initial design of run 0"):
        fit_surrogate(solutions, objectives)


@pytest.mark.bad_input
def test_batches_must_not_exceed_their_candidates():
    values = torch.rand(1, 3, 2)
    with pytest.raises(ValueError, match="batch_size must be between 1 and the candidates, 3; got 4"):
        select_batch(values, values, torch.ones(1, 2), 4)


@pytest.mark.bad_input
def test_three_objectives_at_most():
    with pytest.raises(ValueError, match="n_objectives must be 2 or 3; got 4"):
        even_preferences(4, 10)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth must be positive and finite; got 0.0"),
        ({"repulsion": -1.0}, "repulsion must not be negative; got -1.0"),
        ({"sum_weight": -0.1}, "sum_weight must not be negative; got -0.1"),
    ],
)
def test_methods_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Method(**options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1; got 0"),
        ({"n_preferences": 1}, "a kernel needs at least 2 preferences; got 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive and finite; got -1.0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1; got 0"),
        ({"width": 0}, "width must be at least 1; got 0"),
    ],
)
def test_training_settings_are_checked(options, message):
    settings = {"width": 4, "n_steps": 2} | options
    with pytest.raises(ValueError, match=message):
        learn_pareto_set(surrogate_of(n=6), [SVH_PSL], seeded(0), **settings)


@pytest.mark.bad_input
def test_runs_have_one_method_and_one_generator_each():
    with pytest.raises(ValueError, match="methods and generators must have one entry a run, 1; got 2 and 1"):
        learn_pareto_set(surrogate_of(n=6), [SVH_PSL, SVH_PSL], seeded(0))
    with pytest.raises(ValueError, match="methods must not be empty"):
        stack_methods([])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ([], {}, "seeds must not be empty"),
        ([0], {"n_initial": 1}, "n_initial must be at least 2; got 1"),
        ([0], {"n_iterations": 0}, "n_iterations must be at least 1; got 0"),
        ([0], {"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ],
)
def test_settings_of_the_loop_are_checked(seeds, options, message):
    with pytest.raises(ValueError, match=message):
        run([SVH_PSL] * len(seeds), seeds, **options)


@pytest.mark.bad_input
def test_an_unreachable_reference_is_warned_of():
    hopeless = replace(PROBLEMS["RE21"], reference=(-1.0, -1.0))
    with pytest.warns(UserWarning, match="no evaluation of 1 of 1 runs dominates the reference"):
        optimise(
            hopeless, acquire_by_expected_improvement, [0], n_initial=6, n_iterations=1, n_fit_steps=(5, 5)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimise(
            PROBLEMS["RE21"],
            acquire_by_expected_improvement,
            [0],
            n_initial=6,
            n_iterations=1,
            n_fit_steps=(5, 5),
        )
