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
from pymoo.indicators.hv import HV
from pymoo.problems import get_problem
from scipy import stats
from scipy.optimize import minimize as scipy_minimize

from regularity.foundations.gaussian_processes import predict, sample_jointly
from regularity.foundations.metrics import hypervolume, nondominated
from regularity.stein.stein_pareto import (
    PROBLEMS,
    PSL_MOBO,
    SVH_PSL,
    UNCOUPLED,
    LearnedSet,
    Method,
    ParetoSetModel,
    Problem,
    acquire_by_expected_improvement,
    acquire_from_pareto_set,
    check_preferences,
    even_preferences,
    fit_surrogate,
    global_kernel,
    latin_hypercube,
    learn_pareto_set,
    local_kernel,
    measure_learned_set,
    no_kernel,
    optimise,
    preference_regret,
    sample_preferences,
    search_by_nsga2,
    select_batch,
    stein_direction_by_particles,
    stein_hypernetwork_direction,
    tchebycheff,
    trapped_shares,
    volumes_of_latin_hypercubes,
    volumes_of_nsga2,
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
    network = ParetoSetModel(m, d, seeded(*seeds), width=width, dtype=torch.float64)
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
    """NSGA-II with 6,000 evaluations comes within 1 % of the closed form's hypervolume, and not above."""
    problem = PROBLEMS["RE21"]

    found = search_by_nsga2(problem, 1, population=100, n_evaluations=6000)
    reference = torch.tensor(problem.reference, dtype=torch.float64)
    exact = hypervolume(problem.scale(problem.front(5000)), reference).item()
    reached = hypervolume(found, reference).item()
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


@pytest.mark.parametrize("kernel", ["local", "global", "none"])
@pytest.mark.parametrize("name", ["RE21", "RE37"])
@pytest.mark.parametrize("scalarisation", ["multiply", "divide"])
def test_direction_is_the_double_loop_of_the_authors(name, kernel, scalarisation):
    surrogate = surrogate_of(name)
    network = network_on(surrogate)
    method = Method(scalarisation=scalarisation, kernel=kernel, repulsion=0.7, bandwidth=0.6)
    preferences = sample_preferences((6, surrogate.ideal.shape[-1]), seeded(3))
    direction = stein_hypernetwork_direction(network, preferences, surrogate, method)
    expected = stein_direction_by_particles(network, preferences, surrogate, method)
    for total, whole in zip(direction.total(), expected, strict=True):
        torch.testing.assert_close(total, whole, rtol=0, atol=1e-12)
    # Both terms are there to be compared; without a kernel nothing repels, whatever its weight.
    assert len(direction.repulsion) == (0 if kernel == "none" else 3)
    assert all(part.abs().max() > 1e-6 for part in direction.repulsion)


def test_drive_is_a_weighted_sum_of_gradients_by_automatic_differentiation():
    """Σ_j w_j ĝ_j, each g_j by `vmap(grad)` through network and surrogate, both by torch alone."""
    surrogate = surrogate_of()
    network = network_on(surrogate)
    preferences = sample_preferences((5, 2), seeded(4))
    direction = stein_hypernetwork_direction(network, preferences, surrogate, SVH_PSL)

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
    direction = stein_hypernetwork_direction(network, preferences, surrogate, PSL_MOBO)
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
    network, method = network_on(surrogate), replace(SVH_PSL, repulsion=0.5)
    preferences = sample_preferences((6, 2), seeded(6))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one = stein_hypernetwork_direction(network, preferences, surrogate, method)
    other = stein_hypernetwork_direction(network, preferences[:, order], surrogate, method)
    torch.testing.assert_close(other.weights, one.weights[:, order])
    for ours, theirs in zip((*one.drive, *one.repulsion), (*other.drive, *other.repulsion), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "method", [replace(SVH_PSL, repulsion=0.5), PSL_MOBO, replace(SVH_PSL, kernel="global", repulsion=0.5)]
)
def test_directions_of_a_batch_are_those_of_its_runs(method):
    seeds = (0, 1, 2)
    surrogate = surrogate_of(seeds=seeds)
    network, preferences = network_on(surrogate, seeds), sample_preferences((6, 2), seeded(*seeds))
    together = stein_hypernetwork_direction(network, preferences, surrogate, method)
    for run in range(3):
        one = surrogate_of(seeds=seeds[run : run + 1])
        alone = stein_hypernetwork_direction(
            network_on(one, seeds[run : run + 1]), preferences[run : run + 1], one, method
        )
        for ours, theirs in zip(together.total(), alone.total(), strict=True):
            torch.testing.assert_close(ours[run], theirs[0], rtol=1e-6, atol=1e-9)
        share, value = together.repulsion_share()[run].item(), together.value[run].item()
        assert share == pytest.approx(alone.repulsion_share().item(), rel=1e-5)
        assert value == pytest.approx(alone.value.item(), rel=1e-6)


def test_both_ends_of_the_bandwidth_are_uncoupled():
    """K = I and K = 11ᵀ weigh all preferences alike, by 1 and by n; in between they do not."""
    surrogate = surrogate_of()
    preferences = sample_preferences((6, 2), seeded(7))
    methods = [*(replace(SVH_PSL, bandwidth=bandwidth) for bandwidth in (1e-12, 1e12, 1.0)), UNCOUPLED]
    network = network_on(surrogate, (1,))
    drives = [stein_hypernetwork_direction(network, preferences, surrogate, one).drive for one in methods]
    for narrow, wide, medium, uncoupled in zip(*drives, strict=True):
        torch.testing.assert_close(narrow, uncoupled, rtol=0, atol=1e-12)
        torch.testing.assert_close(wide, 6 * uncoupled, rtol=0, atol=1e-8)
        assert (medium - uncoupled * medium.norm() / uncoupled.norm()).norm() > 0.02 * medium.norm()


def test_preferences_that_crowd_are_uncoupled():
    """h goes with the square of a squared distance: among solutions close by, K = I and nothing repels."""
    surrogate = surrogate_of()
    preferences = sample_preferences((6, 2), seeded(7))
    crowded = ParetoSetModel(2, 4, seeded(0), width=7, dtype=torch.float64)
    direction = stein_hypernetwork_direction(crowded, preferences, surrogate, SVH_PSL)
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
    kernel, _ = (local_kernel if local else global_kernel)(values[None], chosen, 0.8)
    torch.testing.assert_close(kernel[0], written_out_kernel(values, active, local, 0.8))
    assert torch.equal(kernel[0].T, kernel[0]) is not local  # the local kernel is not symmetric


def test_without_a_kernel_each_counts_once_and_nothing_repels():
    values = uniform(2, 5, 3)
    kernel, gradient = no_kernel(values, torch.ones_like(values), 1.0)
    assert torch.equal(kernel, torch.eye(5, dtype=torch.float64).expand(2, 5, 5))
    assert not gradient.any()


@pytest.mark.parametrize("compare", [local_kernel, global_kernel])
def test_gradient_of_the_kernel_by_central_differences(compare):
    """The bandwidth, a median, is held: h is computed once, at the values themselves."""
    values, active = 2 * uniform(1, 5, 3), torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1, 2]][None]
    kernel, gradient = compare(values, active, 0.8)
    counted = active if compare is local_kernel else torch.ones_like(active)

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
    kernel, gradient = local_kernel(values, active, 1.0)
    shifted = local_kernel(values + torch.tensor([5.0, -3.0]), active, 1.0)
    torch.testing.assert_close(shifted[0], kernel)
    torch.testing.assert_close(shifted[1], gradient)
    torch.testing.assert_close(
        gradient.sum(dim=1), torch.zeros(1, 2, dtype=torch.float64), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(local_kernel(3 * values, active, 1.0)[0], kernel ** (1 / 9))


@pytest.mark.parametrize("scalarisation", ["multiply", "divide"])
def test_tchebycheff_value_by_its_definition(scalarisation):
    values, ideal = uniform(2, 6, 3), -uniform(2, 3, seed=1)
    preferences = sample_preferences((6, 3), seeded(0, 1))
    weights, active = tchebycheff(values, preferences, ideal, scalarisation)
    gaps = values - ideal[:, None]
    terms = preferences * gaps if scalarisation == "multiply" else gaps / preferences
    torch.testing.assert_close((active * weights * gaps).sum(dim=-1), terms.amax(dim=-1))
    moved, _ = tchebycheff(values + 7, preferences, ideal + 7, scalarisation)
    torch.testing.assert_close(moved, weights)


# --- Learning and choosing ----------------------------------------------------------------------------------------


def test_a_learned_set_is_near_the_front_of_its_surrogate():
    """Against a dense search of the same surrogate: most of its hypervolume, by a network of 20 units."""
    surrogate = surrogate_of(n=25)
    learned = learn_pareto_set(
        surrogate, SVH_PSL, seeded(0), width=20, n_steps=120, learning_rate=0.03, checkpoint_every=20
    )
    solutions = learned.answer(even_preferences(2, 100))
    values = surrogate.lower_values(solutions, 0.1)
    reference = surrogate.values.amax(dim=1)
    dense = surrogate.lower_values(uniform(1, 5000, 4) ** 2, 0.1)
    assert hypervolume(values, reference) > 0.85 * hypervolume(dense, reference)
    assert 0.1 < learned.weight_variation.item() < 0.6
    assert 0 < learned.repulsion_share.item() < 0.1


def test_training_is_the_authors_loop():
    """Step by step: fresh preferences, the double loop's direction, Adam; and both ways to end."""
    surrogate, settings = surrogate_of(), {"width": 6, "n_preferences": 5, "confidence": 0.4}
    method = replace(SVH_PSL, repulsion=0.3, checkpoint=False)
    learned = learn_pareto_set(
        surrogate, method, seeded(3), n_steps=4, learning_rate=0.2, dtype=torch.float64, **settings
    )
    generator = seeded(3)
    network = ParetoSetModel(2, 4, generator, width=6, dtype=torch.float64)
    optimiser = torch.optim.Adam(network.layers, lr=0.2)
    for preferences in sample_preferences((4, 5, 2), generator)[0]:
        total = stein_direction_by_particles(network, preferences[None], surrogate, method, confidence=0.4)
        for layer, whole in zip(network.layers, total, strict=True):
            layer.grad = whole
        optimiser.step()
    for ours, theirs in zip(learned.network.layers, network.layers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_the_checkpoint_keeps_the_best_network_and_the_base_method_the_last():
    """At a rate at which training runs away, the kept network is that of the largest hypervolume."""
    surrogate, even = surrogate_of(), even_preferences(2, 100)
    options = {"width": 10, "learning_rate": 0.3, "checkpoint_every": 1, "n_steps": 25}
    reference = surrogate.values.amax(dim=1).clamp_min(0) + 0.5

    def volume(method):
        learned = learn_pareto_set(surrogate, method, seeded(1), **options)
        return hypervolume(surrogate.lower_values(learned.answer(even), 0.1), reference)[0].item()

    last, kept = volume(replace(SVH_PSL, checkpoint=False)), volume(SVH_PSL)
    assert kept > last + 0.1


def test_the_checkpoint_looks_at_optimistic_values():
    """Of the networks after each step, that whose μ − βs has the largest hypervolume, and not whose μ has."""
    surrogate, even = surrogate_of(seeds=(1,), n=10), even_preferences(2, 100)
    front = surrogate.values[:, nondominated(surrogate.values)[0]]
    reference = front.amax(dim=1).clamp_min(0) + 0.5
    options = {"width": 10, "learning_rate": 0.3, "n_steps": 12, "confidence": 3.0, "dtype": torch.float64}
    kept = learn_pareto_set(surrogate, SVH_PSL, seeded(1), checkpoint_every=1, **options).answer(even)
    seen = []
    original = surrogate.lower_values

    class Watched(type(surrogate)):
        """A surrogate that keeps the solutions which it is asked for."""

        def lower_values(self, solutions, width):
            seen.append(solutions)
            return original(solutions, width)

    watched = Watched(**vars(surrogate))
    learn_pareto_set(watched, SVH_PSL, seeded(1), checkpoint_every=1, **options)
    best = {
        optimism: torch.cat(
            [hypervolume(original(solutions, optimism), reference) for solutions in seen]
        ).argmax()
        for optimism in (3.0, 0.0)
    }
    assert len(seen) == 12
    chosen, other = (seen[best[optimism]] for optimism in (3.0, 0.0))
    assert (chosen - other).abs().max() > 0.05
    torch.testing.assert_close(kept, chosen)


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


def test_batches_come_from_the_learned_set_by_its_optimistic_values():
    """With much optimism μ − βs chooses others than μ; the oracle is a greedy search by pymoo's hypervolume."""
    surrogate, settings = surrogate_of(n=10), {"width": 8, "n_steps": 30, "dtype": torch.float64}
    proposal = acquire_from_pareto_set(
        surrogate, seeded(5), 3, n_candidates=30, confidence=3.0, checkpoint_every=10, **settings
    )
    generator = seeded(5)
    learned = learn_pareto_set(
        surrogate, SVH_PSL, generator, confidence=3.0, checkpoint_every=10, **settings
    ).network
    with torch.no_grad():
        solutions = learned(sample_preferences((30, 2), generator))[0]
    mean, std = predict(surrogate.process, solutions[None, None])
    for optimism, agrees in ((3.0, True), (0.0, False)):
        values = (mean - optimism * std)[0].T.numpy()
        known = surrogate.values[0].numpy()
        front = known[nondominated(surrogate.values)[0].numpy()]
        measure = HV(ref_point=np.maximum(front.max(axis=0), values.max(axis=0)))
        taken = []
        for _ in range(3):
            gains = [-1 if c in taken else measure(np.vstack([known, values[c]])) for c in range(30)]
            taken.append(int(np.argmax(gains)))
            known = np.vstack([known, values[taken[-1]]])
        same = torch.equal(proposal.solutions[0], solutions[taken])
        assert same is agrees


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

TRAINING = {"width": 8, "n_steps": 10, "n_candidates": 40, "checkpoint_every": 5, "dtype": torch.float64}


def run(method, seeds, name="RE21", **options):
    acquire = partial(acquire_from_pareto_set, method=method, **TRAINING)
    settings = {"n_initial": 8, "n_iterations": 2, "batch_size": 3, "n_fit_steps": (10, 5)} | options
    return optimise(PROBLEMS[name], acquire, seeds, **settings)


def test_initial_designs_are_latin_hypercubes():
    designs = latin_hypercube(9, 4, [0, 1, 0])
    for column in designs[0].T:
        assert sorted((9 * column).floor().int().tolist()) == list(range(9))
    assert torch.equal(designs[0], designs[2])
    assert not torch.equal(designs[0], designs[1])


def test_a_batch_of_runs_is_its_runs_one_by_one():
    together = run(SVH_PSL, [3, 4], standardise=False)
    for index, seed in enumerate([3, 4]):
        alone = run(SVH_PSL, [seed], standardise=False)
        torch.testing.assert_close(together.solutions[index], alone.solutions[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(together.hypervolume[index], alone.hypervolume[0], rtol=0, atol=1e-6)
    assert not torch.equal(together.solutions[0, :8], together.solutions[1, :8])


def test_methods_with_the_same_seed_share_their_initial_design_and_draws():
    """What a comparison in pairs rests on: without a kernel and without repulsion SVH-PSL is its twin, to the bit."""
    twin, base = run(UNCOUPLED, [3]), run(PSL_MOBO, [3])
    assert torch.equal(twin.solutions, run(replace(SVH_PSL, kernel="none", repulsion=9.0), [3]).solutions)
    assert torch.equal(twin.solutions[:, :8], base.solutions[:, :8])
    assert not torch.equal(twin.solutions, base.solutions)


def test_a_later_fit_starts_from_the_kernels_of_the_last():
    solutions = latin_hypercube(12, 4, [0])
    objectives = PROBLEMS["RE21"].evaluate(solutions)
    first = fit_surrogate(solutions[:, :9], objectives[:, :9], n_steps=30)
    second = fit_surrogate(solutions, objectives, previous=first, n_steps=0)
    for name in ("lengthscale", "variance", "noise"):
        kept, started = (getattr(one.process.parameters, name) for one in (first, second))
        torch.testing.assert_close(started, kept)


def test_the_ideal_point_is_remembered():
    """z is the lowest of all surrogates, even where the new units would put it higher."""
    problem, solutions = PROBLEMS["RE21"], latin_hypercube(12, 4, [0])
    objectives = problem.evaluate(solutions)
    order = objectives[0, :, 0].argsort()
    low = order[:6]  # their mean is low: the lowest is few standard deviations below it
    first = fit_surrogate(solutions, objectives, n_steps=2)
    second = fit_surrogate(solutions[:, low], objectives[:, low], previous=first, n_steps=2)
    fresh = fit_surrogate(solutions[:, low], objectives[:, low], n_steps=2)
    torch.testing.assert_close(fresh.ideal, (fresh.values.amin(dim=1) - 0.1).clamp_max(0))
    torch.testing.assert_close(second.ideal, torch.minimum(first.ideal, fresh.ideal))
    assert (first.ideal < fresh.ideal - 0.1).any()


@pytest.mark.parametrize("name", ["RE21", "RE37"])
def test_traces_hold_what_was_evaluated(name):
    trace = run(SVH_PSL, [0, 1], name)
    problem = PROBLEMS[name]
    assert trace.n_evaluations.tolist() == [8, 11, 14]
    torch.testing.assert_close(problem.evaluate(trace.solutions), trace.objectives)
    assert (trace.hypervolume.diff(dim=1) >= -1e-12).all()
    assert torch.equal(trace.surrogate.solutions, trace.solutions[:, :11])  # fitted to all but the last batch
    for count, volumes in zip(trace.n_evaluations, trace.hypervolume.T, strict=True):
        for one, volume in zip(trace.objectives, volumes, strict=True):
            expected = HV(ref_point=np.array(problem.reference))(one[:count].numpy())
            assert volume.item() == pytest.approx(expected, abs=1e-12)
    assert (trace.surrogate.values.amin(dim=1) - 0.1 >= trace.surrogate.ideal).all()
    assert (trace.repulsion_share > 0).all()


def test_surrogates_bring_more_than_their_initial_design():
    trace = optimise(
        PROBLEMS["RE21"], acquire_by_expected_improvement, [0, 1], n_iterations=3, n_fit_steps=(60, 20)
    )
    design = PROBLEMS["RE21"].evaluate(latin_hypercube(35, 4, [0, 1]))
    assert (trace.hypervolume[:, -1] > hypervolume(design, torch.tensor([1.1, 1.1]).double()) + 0.05).all()


def test_raw_targets_keep_their_units_and_standardised_ones_do_not():
    """Both kinds of run see the same processes; only what the networks get differs."""
    solutions = latin_hypercube(10, 4, [0])
    objectives = PROBLEMS["RE21"].evaluate(solutions)
    standard, raw = (
        fit_surrogate(solutions, objectives, standardise=one, n_steps=5) for one in (True, False)
    )
    torch.testing.assert_close(raw.values, objectives)
    torch.testing.assert_close(standard.values.mean(dim=1), torch.zeros(1, 2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(standard.values.std(dim=1, correction=0), torch.ones(1, 2).double())
    points = uniform(1, 5, 4)
    (scaled, slopes), (own, own_slopes) = (one.lower_bound(points, 0.1) for one in (standard, raw))
    mean, std = objectives.mean(dim=1), objectives.std(dim=1, correction=0)
    torch.testing.assert_close(own, mean + std * scaled)
    torch.testing.assert_close(own_slopes, std[..., None] * slopes)
    torch.testing.assert_close(raw.lower_values(points, 0.1), own)


# --- What the chapter measures ------------------------------------------------------------------------------------


class Answers(LearnedSet):
    """A learned set whose answers are known."""

    def __init__(self, answer):
        object.__setattr__(self, "_answer", answer)

    def answer(self, preferences):
        return self._answer(preferences)


def test_learned_sets_are_scored_by_the_true_objectives():
    """A surrogate that promises much changes the optimistic volume, and not the true one."""
    problem = PROBLEMS["RE21"]
    surrogate = surrogate_of(n=20)
    learned = learn_pareto_set(surrogate, SVH_PSL, seeded(0), width=8, n_steps=60, checkpoint_every=20)
    quality = measure_learned_set(problem, surrogate, learned)
    truth = problem.evaluate(learned.answer(even_preferences(2, 100)))[0]
    assert quality.volume.item() == pytest.approx(
        HV(ref_point=np.array([1.1, 1.1]))(truth.numpy()), abs=1e-12
    )
    gaps = torch.stack([(truth - row).norm(dim=1).sort().values[1] for row in truth])
    assert quality.neighbours.item() == pytest.approx(gaps.mean().item())
    assert quality.stretch(torch.tensor([[0.0, 1.0], [2.0, 0.0]])).item() == pytest.approx(
        (truth[:, 0].max() - truth[:, 0].min()).item() / 2
    )
    boastful = measure_learned_set(problem, surrogate, learned, confidence=2.0)
    assert boastful.optimistic_volume > quality.optimistic_volume + 0.1
    assert torch.equal(boastful.volume, quality.volume)
    assert 0 < quality.error < 0.2


def test_regret_is_zero_on_the_front_alone():
    """Against a dense front's best answers the regret of the front's own best design is zero, others' positive."""
    problem, surrogate = PROBLEMS["VLMOP2"], surrogate_of("VLMOP2", n=20)
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    designs = FRONT_SOLUTIONS["VLMOP2"](t)
    front = problem.evaluate(designs)
    known = problem.evaluate(surrogate.solutions)
    gaps = (front - known.mean(dim=1)) / known.std(dim=1, correction=0) - surrogate.ideal

    def answer(preferences, shift):
        best = torch.stack([(one * gaps).amax(dim=1).argmin() for one in preferences])
        return (designs[best] + shift).clamp(0, 1)[None]

    best, worse = (
        preference_regret(problem, surrogate, Answers(partial(answer, shift=shift)), front)
        for shift in (0.0, 0.1)
    )
    torch.testing.assert_close(best, torch.zeros(1).double(), atol=1e-9, rtol=0)
    assert worse > 0.05


def test_traps_are_found_where_they_are():
    """Data with two valleys in each objective, one of them shallow: who sits there is trapped."""
    x = torch.linspace(0, 1, 15, dtype=torch.float64)[None, :, None]
    shallow, deep = (torch.exp(-((x - centre) / 0.12).square()) for centre in (0.2, 0.8))
    objectives = 1 - 0.5 * shallow - torch.cat([deep, deep], dim=-1) * torch.tensor([1.0, 0.9])
    surrogate = fit_surrogate(x, objectives, n_steps=100)

    def all_at(place):
        return Answers(lambda preferences: torch.full((1, len(preferences), 1), place, dtype=torch.float64))

    shares = trapped_shares(surrogate, {"shallow": all_at(0.25), "deep": all_at(0.7)}, seeded(0), n_steps=60)
    assert shares["shallow"].item() > 0.9
    assert shares["deep"].item() == 0
    assert 0.2 < shares["each alone"].item() < 0.8  # half the interval leads to the shallow one


def test_baselines_are_those_of_pymoo_and_scipy():
    problem, counts = PROBLEMS["RE21"], torch.tensor([10, 30])
    reference = torch.tensor(problem.reference, dtype=torch.float64)
    volumes = volumes_of_nsga2(problem, counts, [0, 1])
    single = [volumes_of_nsga2(problem, counts, [0, 1], populations=[one]) for one in (10, 20)]
    assert torch.equal(volumes, torch.maximum(*single))
    designs = volumes_of_latin_hypercubes(problem, counts, [0, 1])
    for reached in (volumes, designs):
        assert (reached.diff(dim=1) >= 0).all()
        assert (reached[:, -1] < hypervolume(problem.scale(problem.front(2000)), reference)).all()


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
    with pytest.raises(ValueError, match="solutions must"):
        problem.evaluate(torch.tensor([[0.0, 0.5, 1.0, 1.5]]))
    with pytest.raises(ValueError, match="solutions must"):
        problem.evaluate(torch.tensor([[0.0, 0.5, 1.0, math.nan]]))
    with pytest.raises(ValueError, match="solutions must have 4 variables; got 3"):
        problem.evaluate(torch.zeros(2, 3))
    broken = Problem(lambda x: x.log()[..., :2], 2, (0.0, 0.0), (1.0, 1.0), (1.1, 1.1))
    with pytest.raises(ValueError, match="objectives must be finite; got evaluation 1: "):
        broken.evaluate(torch.tensor([[0.5, 0.5], [0.0, 0.5]]))


@pytest.mark.bad_input
@pytest.mark.parametrize("constant", [1.0, 0.1, 1e9])
def test_constant_objectives_have_no_surrogate(constant):
    solutions = latin_hypercube(7, 2, [0, 1])
    objectives = torch.stack([solutions[..., 0], torch.full((2, 7), constant).double()], dim=-1)
    with pytest.raises(ValueError, match="got objective 1 constant on the initial design of run 0"):
        fit_surrogate(solutions, objectives)


@pytest.mark.bad_input
def test_objectives_that_are_not_finite_are_refused_by_name():
    solutions = latin_hypercube(6, 4, [0])
    objectives = PROBLEMS["RE21"].evaluate(solutions)
    objectives[0, 2, 1] = math.nan
    with pytest.raises(ValueError, match="objectives must be finite"):
        fit_surrogate(solutions, objectives)
    with pytest.raises(ValueError, match="candidates must be finite"):
        select_batch(objectives, objectives.nan_to_num(), torch.ones(1, 2).double(), 1)


def test_solutions_may_be_rounded_beyond_the_cube():
    problem, solutions = PROBLEMS["RE21"], torch.ones(1, 4, dtype=torch.float64)
    beyond = solutions * (1 + 2**-52)
    assert (beyond > 1).all()
    torch.testing.assert_close(problem.evaluate(beyond), problem.evaluate(solutions))


@pytest.mark.bad_input
def test_batches_must_not_exceed_their_candidates():
    values = torch.rand(1, 3, 2)
    with pytest.raises(ValueError, match="batch_size must be between 1 and the candidates, 3; got 4"):
        select_batch(values, values, torch.ones(1, 2), 4)


@pytest.mark.bad_input
def test_even_preferences_have_two_or_three_objectives_and_their_corners():
    with pytest.raises(ValueError, match="n_objectives must be 2 or 3; got 4"):
        even_preferences(4, 10)
    for m in (2, 3):
        with pytest.raises(ValueError, match=f"n must be at least {m}; got 1"):
            even_preferences(m, 1)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth must be positive and finite; got 0.0"),
        ({"repulsion": -1.0}, "repulsion must be finite and not negative; got -1.0"),
        ({"sum_weight": math.nan}, "sum_weight must be finite and not negative; got nan"),
        (
            {"kernel": "locall"},
            "kernel must be one of 'local', 'global', 'none'; got 'locall'; did you mean 'local'",
        ),
        ({"scalarisation": "times"}, "scalarisation must be one of 'multiply', 'divide'; got 'times'"),
        ({"normalisation": "particles"}, "normalisation must be .* got 'particles'; did you mean 'particle'"),
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
        learn_pareto_set(surrogate_of(n=6), SVH_PSL, seeded(0), **settings)


@pytest.mark.bad_input
def test_runs_have_one_generator_each():
    with pytest.raises(ValueError, match="generators must have one entry a run, 1; got 2"):
        learn_pareto_set(surrogate_of(n=6), SVH_PSL, seeded(0, 1))
    with pytest.raises(ValueError, match="generators must not be empty"):
        ParetoSetModel(2, 4, [])


@pytest.mark.bad_input
def test_the_double_loop_normalises_by_coordinate():
    surrogate = surrogate_of(n=6)
    with pytest.raises(ValueError, match="method must normalise by coordinate; got 'particle'"):
        stein_direction_by_particles(
            network_on(surrogate), sample_preferences((3, 2), seeded(0)), surrogate, PSL_MOBO
        )


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
        run(SVH_PSL, seeds, **options)


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
