"""Certificates against exact solutions, problems against differentiation, solvers against SciPy and scikit-learn."""

import ast
import math
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from regularity.data import photograph
from regularity.foundations.hypergradients import conjugate_gradients, implicit_hypergradient
from regularity.tuning.inexact_bilevel import (
    BoundViolatedError,
    Bracket,
    Budget,
    Curvature,
    Eased,
    FieldOfExperts,
    NotStronglyConvexError,
    QuadraticProblem,
    Sensitivity,
    SoftmaxRegression,
    TotalVariation,
    certified_bracket,
    experiment,
    hoag,
    inexact_hypergradient,
    line_search,
    maid,
    plain_bracket,
    solve_lower,
)
from tests.draws import random, seeded

START = random(6, seed=8)
NOTEBOOK = Path(__file__).parents[2] / "notebooks/tuning/inexact_bilevel"


def quadratic(seed=0, m=40, d=6):
    first, second, third = (random(m, d, seed=10 * seed + k) / m**0.5 for k in range(3))
    second = second * torch.logspace(0, -0.5, d, dtype=torch.float64)
    third = 0.1 * third + second @ torch.linalg.qr(random(d, d, seed=10 * seed + 3))[0]
    return QuadraticProblem(
        first, second, third, random(m, seed=10 * seed + 4) / 9, random(m, seed=10 * seed + 5) / 9
    )


def images(n=2, height=9, width=11):
    """Steps and ramps with noise; not square, so that a swapped axis shows."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clean = torch.stack([(rows > k + 3) * 0.5 + 0.3 * columns / width for k in range(n)]).double()[:, None]
    return clean + 0.1 * random(n, 1, height, width), clean


def softmax(n=30, d=5, c=3):
    features, validation = random(n, d), random(20, d, seed=1)
    weights = random(d, c, seed=2)
    return SoftmaxRegression(
        features,
        (features @ weights + random(n, c, seed=3)).argmax(dim=1),
        validation,
        (validation @ weights).argmax(dim=1),
        c,
    )


def potential(problem, x, theta):
    """The lower objectives, written out with nothing of the module's but the filters' centring."""
    if isinstance(problem, QuadraticProblem):
        return (problem.second @ x + problem.third @ theta - problem.second_right).square().sum() / 2
    if isinstance(problem, SoftmaxRegression):
        loss = torch.nn.functional.cross_entropy(problem.features @ x, problem.labels)
        return loss + (theta.exp() * x.square()).sum() / 2
    total = (x - problem.noisy).square().sum() / 2
    if isinstance(problem, TotalVariation):
        weight, smoothing = theta.exp()
        for axis in (2, 3):
            total = total + weight / 2 * (torch.diff(x, dim=axis) ** 2 + smoothing**2).sqrt().sum()
        return total
    k, size = problem.n_filters, problem.filter_size
    filters = theta[1 + 2 * k :].reshape(k, size, size)
    for i in range(k):
        centred = filters[i] - filters[i].mean()
        height, width = x.shape[2] - size + 1, x.shape[3] - size + 1
        response = sum(
            centred[a, b] * x[:, :, a : a + height, b : b + width] for a in range(size) for b in range(size)
        )
        weight, smoothing = (theta[0] + theta[1 + i]).exp() / 2, theta[1 + k + i].exp()
        total = total + weight * (response**2 + smoothing**2).sqrt().sum()
    return total


def slopes(function, *points):
    """Gradients of a sum of values in each point, to be differentiated again; torch.func's take long to load."""
    points = [point if point.requires_grad else point.clone().requires_grad_() for point in points]
    gradients = torch.autograd.grad(
        function(*points).sum(), points, create_graph=True, materialize_grads=True
    )
    return gradients, points


def upper(problem, x, theta):
    """The upper objectives, written out."""
    if isinstance(problem, QuadraticProblem):
        return (problem.first @ x - problem.first_right).square().sum() / 2
    if isinstance(problem, SoftmaxRegression):
        return torch.nn.functional.cross_entropy(problem.validation_features @ x, problem.validation_labels)
    return (x - problem.clean).square().sum() / 2 / len(x)


def cases():
    """Every problem, with a θ and an x₀."""
    noisy, clean = images()
    experts = FieldOfExperts(noisy, clean, n_filters=3, filter_size=2)
    logistic = softmax()
    return {
        "quadratic": (quadratic(), random(6, seed=8), random(6, seed=9)),
        "total variation": (TotalVariation(noisy, clean), torch.tensor([-1.0, -3.0]).double(), noisy),
        "experts": (experts, experts.start(seeded(5), log_weight=-1.0, log_smoothing=-2.5), noisy),
        "one penalty": (logistic, torch.full((1, 1), -2.0).double(), torch.zeros(5, 3).double()),
        "a penalty a feature": (logistic, 0.5 * random(5, 1) - 2, random(5, 3, seed=4)),
        "a penalty a weight": (logistic, 0.5 * random(5, 3) - 2, random(5, 3, seed=4)),
    }


CASES = cases()
every_problem = pytest.mark.parametrize("name", CASES)


def exact(problem, theta, start):
    """Minimiser and hypergradient to 1e-10, by the module's solvers; these are tested against others below."""
    found = inexact_hypergradient(
        problem, theta, start, accuracy=1e-10, linear_accuracy=1e-11, n_iterations=20_000
    )
    return found.lower.values, found.values


@cache
def truth_of(name):
    """Minimiser and hypergradient of a case."""
    return exact(*CASES[name])


# --- The problems -------------------------------------------------------------------------------------------------


@every_problem
def test_derivatives_are_those_of_the_objective_written_out(name):
    problem, theta, x = CASES[name]
    vector = torch.randn(x.shape, generator=seeded(7), dtype=torch.float64)
    (slope, _), points = slopes(partial(potential, problem), x, theta)
    torch.testing.assert_close(problem.gradient(x, theta), slope.detach())
    change, mixed = torch.autograd.grad((slope * vector).sum(), points)  # the Hessian is symmetric
    torch.testing.assert_close(problem.hessian(x, theta)(vector), change)
    torch.testing.assert_close(problem.cross(x, theta, vector), mixed)
    value, right = problem.upper(x)
    assert value == pytest.approx(upper(problem, x, theta).item())
    (expected,), _ = slopes(lambda point: upper(problem, point, theta), x)
    torch.testing.assert_close(right, expected.detach())


@every_problem
def test_the_hessian_s_eigenvalues_lie_between_the_bounds(name):
    problem, theta, x = CASES[name]
    convexity, smoothness = problem.curvature(theta)
    for point in (x, x / 100):  # near zero the potentials are at their steepest
        product = problem.hessian(point, theta)
        unit = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
        spectrum = torch.linalg.eigvalsh(torch.stack([product(v).flatten() for v in unit]))
        assert spectrum[0] >= convexity * (1 - 1e-12)
        assert spectrum[-1] <= smoothness * (1 + 1e-12)
    assert spectrum[-1] > 0.3 * smoothness  # and the bound is not idle


@every_problem
def test_the_sensitivities_bound_what_moving_x_does(name):
    problem, theta, x = CASES[name]
    generator, worst = seeded(11), [0.0, 0.0, 0.0]
    adjoint = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    for radius in (1e-4, 0.03, 1.0):
        for _ in range(3):
            move = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            near = x + radius * move / move.norm()
            bounds = problem.sensitivity(x, theta, adjoint, radius)
            (_, along), (point, _) = slopes(partial(potential, problem), near, theta)
            rows = [
                torch.autograd.grad(each, point, retain_graph=True)[0].flatten() for each in along.flatten()
            ]
            true = (
                torch.linalg.matrix_norm(torch.stack(rows), 2),
                (problem.cross(near, theta, adjoint) - problem.cross(x, theta, adjoint)).norm() / radius,
                (problem.hessian(near, theta)(adjoint) - problem.hessian(x, theta)(adjoint)).norm() / radius,
            )
            for k, (measured, bound) in enumerate(zip(true, bounds, strict=True)):
                assert measured <= bound * (1 + 1e-9) + 1e-9
                worst[k] = max(worst[k], measured.item() / bound if bound > 0 else 1.0)
    assert worst[0] > 0.1
    assert min(worst) > 1e-3  # bounds, not just large numbers


@every_problem
def test_the_upper_level_is_as_smooth_as_it_says(name):
    problem, theta, x = CASES[name]
    hessian = torch.autograd.functional.hessian(lambda point: upper(problem, point, theta), x)
    spectrum = torch.linalg.eigvalsh(hessian.reshape(x.numel(), -1))
    assert spectrum[-1] <= problem.upper_smoothness * (1 + 1e-12)
    assert spectrum[0] >= -1e-12


# --- Solving the lower level --------------------------------------------------------------------------------------


@every_problem
def test_the_lower_solver_finds_the_minimiser_of_scipy(name):
    problem, theta, x = CASES[name]

    def value_and_slope(flat):
        point = torch.as_tensor(flat).reshape(x.shape)
        (slope,), _ = slopes(lambda at: potential(problem, at, theta), point)
        return potential(problem, point, theta).item(), slope.detach().flatten().numpy()

    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 0.0, "gtol": 1e-12, "maxcor": 30}
    found = minimize(value_and_slope, x.flatten().numpy(), jac=True, method="L-BFGS-B", options=options)
    best = torch.as_tensor(found.x).reshape(x.shape)
    spare = np.linalg.norm(value_and_slope(found.x)[1]) / problem.curvature(theta).convexity
    for accuracy in (1e-1, 1e-3, 1e-6):
        solution = solve_lower(problem, theta, x, accuracy=accuracy, n_iterations=20_000)
        assert solution.accuracy <= accuracy
        assert torch.linalg.norm(solution.values - best) <= solution.accuracy + spare
        slope = torch.linalg.norm(problem.gradient(solution.values, theta)).item()
        assert solution.accuracy == pytest.approx(slope / problem.curvature(theta).convexity, rel=1e-6)


def test_momentum_is_worth_the_root_of_the_condition_number():
    problem, theta, _ = CASES["total variation"]
    convexity, smoothness = problem.curvature(theta)
    solution = solve_lower(problem, theta, problem.noisy, accuracy=1e-8)
    rate = math.log(smoothness / 1e-8 * 10)  # twice of it for the distance; gradient descent pays L/μ of it
    assert solution.n_iterations < 2 * math.sqrt(smoothness / convexity) * rate
    assert smoothness > 20


def test_a_solved_problem_costs_one_gradient():
    problem, theta, _ = CASES["experts"]
    solution = solve_lower(problem, theta, truth_of("experts")[0], accuracy=1e-9)
    assert solution.n_iterations == 1


def test_one_penalty_is_scikit_learn_s():
    problem, _, start = CASES["one penalty"]
    penalty = 0.05
    theta = torch.full((1, 1), math.log(penalty), dtype=torch.float64)
    peer = LogisticRegression(
        C=1 / (penalty * len(problem.features)), fit_intercept=False, tol=1e-12, max_iter=5000
    )
    peer.fit(problem.features.numpy(), problem.labels.numpy())
    ours = solve_lower(problem, theta, start, accuracy=1e-9, n_iterations=20_000).values
    np.testing.assert_allclose(ours.T, peer.coef_, atol=1e-5)


# --- Hypergradients -----------------------------------------------------------------------------------------------


@every_problem
def test_hypergradients_are_differences_of_the_solved_problem(name):
    problem, theta, start = CASES[name]
    found, step = truth_of(name)[1], 1e-4
    for index in range(0, theta.numel(), max(theta.numel() // 3, 1)):
        shift = torch.zeros_like(theta).flatten()
        shift[index] = step
        shift = shift.reshape(theta.shape)
        ends = [problem.upper(exact(problem, t, start)[0])[0] for t in (theta + shift, theta - shift)]
        assert found.flatten()[index].item() == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-8
        )


@every_problem
def test_hypergradients_are_those_of_implicit_differentiation(name):
    problem, theta, _ = CASES[name]
    minimiser, found = truth_of(name)
    solve = partial(conjugate_gradients, tolerance=1e-12)
    other = implicit_hypergradient(
        partial(potential, problem), partial(upper, problem), minimiser, theta, solve=solve
    )
    torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-9)


def test_the_quadratic_s_closed_forms_agree_with_its_solvers():
    problem, theta, _ = CASES["quadratic"]
    minimiser, hypergradient = truth_of("quadratic")
    torch.testing.assert_close(problem.minimiser(theta), minimiser)
    torch.testing.assert_close(problem.exact_hypergradient(theta), hypergradient)
    assert problem.exact_hypergradient(problem.best_theta()).norm() < 1e-12


@every_problem
@pytest.mark.parametrize("accuracy", [1.0, 1e-2, 1e-5])
def test_the_bound_holds(name, accuracy):
    problem, theta, start = CASES[name]
    truth = truth_of(name)[1]
    for linear_accuracy in (accuracy, 1e-3 * accuracy):
        found = inexact_hypergradient(
            problem, theta, start, accuracy=accuracy, linear_accuracy=linear_accuracy, n_iterations=5000
        )
        error = (found.values - truth).norm().item()
        assert error <= found.bound + 1e-8  # the truth has errors too
        assert found.cost == found.lower.n_iterations + found.adjoint.n_products
        if accuracy == 1e-5:
            assert found.bound <= 0.05 * max(truth.norm().item(), 1.0)  # the bound closes in


@every_problem
def test_a_loose_linear_system_alone_is_in_the_bound(name):
    problem, theta, _ = CASES[name]
    minimiser, truth = truth_of(name)
    found = inexact_hypergradient(problem, theta, minimiser, accuracy=1e-8, linear_accuracy=0.02)
    error = (found.values - truth).norm().item()
    assert 1e-7 < error <= found.bound
    share = problem.sensitivity(minimiser, theta, found.adjoint.values, 0.0).cross_norm
    residual = found.adjoint.residual / problem.curvature(theta).convexity
    assert found.bound == pytest.approx(share * residual, rel=1e-2)


def test_the_bound_adds_up_its_parts_as_derived():
    """‖B‖(δ + ε(L_g + L_A(q)))/μ + ε L_B(q), with made-up constants, by hand."""

    class MadeUp(QuadraticProblem):
        def curvature(self, theta):
            return Curvature(0.05, 2.0)

        def sensitivity(self, x, theta, adjoint, radius):
            assert radius == pytest.approx((self.gradient(x, theta).norm() / 0.05).item())
            return Sensitivity(3.0, 700.0, 40.0)

    honest = quadratic()
    parts = ("first", "second", "third", "first_right", "second_right")
    problem = MadeUp(*(getattr(honest, part) for part in parts))
    found = inexact_hypergradient(problem, START, START, accuracy=0.1, linear_accuracy=0.3)
    x, q = found.lower.values, found.adjoint.values
    eps = torch.linalg.norm(problem.gradient(x, START)) / 0.05
    right = problem.first.T @ (problem.first @ x - problem.first_right)
    delta = torch.linalg.norm(problem.second.T @ (problem.second @ q) - right)
    top = torch.linalg.eigvalsh(problem.first.T @ problem.first)[-1]
    expected = 3 * (delta + eps * (top + 40)) / 0.05 + eps * 700
    assert found.bound == pytest.approx(expected.item(), rel=1e-9)


def test_the_extremes_of_the_potential_are_those_of_a_scan():
    """Second and third derivatives of √(s² + ν²) by differentiation, wherever a response can reach."""
    noisy, clean = images(1, 4, 5)
    problem, theta = TotalVariation(noisy, clean), torch.tensor([-1.0, -1.5], dtype=torch.float64)
    smoothing = theta[1].exp()

    def slope(s):
        return s / (s**2 + smoothing**2).sqrt()

    def second(s):
        return slopes(slope, s)[0][0].detach()

    def third(s):
        return slopes(lambda at: slopes(slope, at)[0][0], s)[0][0].detach()

    for radius in (1e-9, 0.05, 0.4):
        ratio, curvatures, bending = problem._extremes(noisy, theta, math.sqrt(2), radius)
        offsets = torch.linspace(-1, 1, 2001, dtype=torch.float64) * math.sqrt(2) * radius
        reached = ((ratio * smoothing).flatten()[:, None] + offsets).flatten()
        shape = (ratio.numel(), len(offsets))
        torch.testing.assert_close(
            curvatures.flatten(), second(reached).reshape(shape).amax(dim=1), rtol=1e-4, atol=0
        )
        torch.testing.assert_close(
            bending.flatten(), third(reached).abs().reshape(shape).amax(dim=1), rtol=1e-3, atol=1e-8
        )


def test_the_bound_is_proportional_to_the_accuracies():
    problem, theta, start = CASES["quadratic"]
    loose, tight = (
        inexact_hypergradient(problem, theta, start, accuracy=e, linear_accuracy=e).bound
        for e in (1e-3, 1e-7)
    )
    assert 1e2 < loose / tight < 1e6


# --- The line search ----------------------------------------------------------------------------------------------


def test_the_bracket_holds_the_exact_loss_and_no_number_less_would_do():
    """Convex parabolas of curvature 0 to L_g, the minimiser within ε: all lie between, both ends are attained."""
    smoothness, accuracy = 3.0, 0.4
    slope, value = 2.5, 0.9
    low, high = certified_bracket(value, slope, accuracy, smoothness)
    losses = [
        value + slope * move + curvature * move**2 / 2
        for curvature in np.linspace(0, smoothness, 31)
        for move in np.linspace(-accuracy, accuracy, 41)
    ]
    assert min(losses) == pytest.approx(low, abs=1e-12)
    assert max(losses) == pytest.approx(high, abs=1e-12)
    assert plain_bracket(value, slope, accuracy, smoothness) == (value, value)


@dataclass(frozen=True)
class Scalar:
    """h = ½(x − θ)² and g = ½x², so f = ½θ²; the claimed L makes the solver's steps short."""

    claimed: float = 1.0
    upper_smoothness: float = 1.0

    def curvature(self, theta):
        return Curvature(1.0, self.claimed)

    def sensitivity(self, x, theta, adjoint, radius):
        return Sensitivity(1.0, 0.0, 0.0)

    def gradient(self, x, theta):
        return x - theta

    def hessian(self, x, theta):
        return lambda vector: vector.clone()

    def cross(self, x, theta, adjoint):
        return -adjoint

    def upper(self, x):
        return x.square().sum().item() / 2, x


def at(theta, x, problem=None):
    """A hypergradient of `Scalar` at θ with the lower solution x, whose distance is known."""
    theta, x = torch.tensor([theta]).double(), torch.tensor([x]).double()
    found = inexact_hypergradient(
        problem or Scalar(), theta, x, accuracy=10.0, linear_accuracy=1e-12, n_iterations=100
    )
    assert torch.equal(found.lower.values, x)
    return found


def search(here, problem=None, **options):
    options = {"accuracy": 1e-9, "step": 1.0, "shorten": 0.5, "n_trials": 1, "decrease": 1e-8} | options
    return line_search(problem or Scalar(), here, budget=Budget(1000), **options)


def test_the_search_measures_from_below_the_loss_it_stands_at():
    """x̃ = 1.6 for x̂ = 1 makes g(x̃) far larger than f: a step uphill, to θ = 1.2, looks like a success."""
    here = at(1.0, 1.6)
    uphill = replace(here, values=torch.tensor([-0.2]).double())
    assert search(uphill, bracket=plain_bracket).theta.item() == pytest.approx(1.2)
    assert search(uphill) is None


@pytest.mark.parametrize("forgotten", ["slope", "smoothness"])
def test_the_search_measures_to_above_the_loss_it_comes_to(forgotten):
    """A step too long, to θ = −1.1; the solver stops short of x̂ = −1.1, where g is lower than where it goes."""
    problem, here = Scalar(claimed=3.0), at(1.0, 1.0)
    options = {"step": 2.1, "accuracy": 0.9}

    def forgetful(value, slope, accuracy, smoothness):
        known = {"slope": slope, "smoothness": smoothness} | {forgotten: 0.0}
        low = certified_bracket(value, slope, accuracy, smoothness).low
        return low, certified_bracket(value, known["slope"], accuracy, known["smoothness"]).high

    assert search(here, problem, **options) is None
    for bracket in (plain_bracket, lambda *known: Bracket(*forgetful(*known))):
        taken = search(here, problem, bracket=bracket, **options)
        assert taken.theta.item() == pytest.approx(-1.1)
        assert abs(taken.lower.values.item()) < 1 < abs(taken.theta.item())  # deceived: f rose


@pytest.mark.parametrize(("decrease", "length"), [(0.2, 1.5), (0.3, 0.75)])
def test_the_search_asks_for_enough(decrease, length):
    """At α = 1.5 the loss ½ falls by .375, at .75 by .469; asked are .2 · 1.5 = .3, or .3 · 1.5 = .45 and .225."""
    taken = search(at(1.0, 1.0), step=1.5, n_trials=3, decrease=decrease)
    assert taken.length == pytest.approx(length)
    assert taken.theta.item() == pytest.approx(1 - length)


def test_a_trial_that_is_cut_off_is_judged_by_what_it_reached():
    """One iteration leaves x̃⁺ = x̃ = 1 for x̂ = .5: nothing is certain; a hundred leave no doubt."""
    problem, here = Scalar(claimed=3.0), at(1.0, 1.0)
    assert search(here, problem, step=0.5, trial_units=1) is None
    assert search(here, problem, step=0.5, trial_units=100).theta.item() == pytest.approx(0.5)


def test_the_certified_search_keeps_what_a_plain_one_breaks():
    """An ill-conditioned quadratic, trials cut off at 30 gradients: the exact loss rises to three times the first."""
    problem, zero = experiment.draw_quadratic(60, 10, seeded(1), condition=300.0), torch.zeros(10).double()
    broken = {}
    for bracket in (certified_bracket, plain_bracket):
        options = {"n_units": 1500, "trial_share": 0.02, "loosen": 1.25, "bracket": bracket}
        runs = [maid(problem, zero, zero, step=step, **options) for step in (1.0, 10.0)]
        assert all(run.accepted for run in runs)
        broken[bracket] = max(experiment.broken_promise(problem, run, 1e-8) for run in runs)
    assert broken[certified_bracket] <= 1e-12
    assert broken[plain_bracket] > 0.5


@pytest.mark.bad_input
def test_a_start_of_another_floating_type_than_the_problem_is_refused():
    problem, theta, start = CASES["experts"]
    with pytest.raises(
        ValueError, match=r"theta and start must be float64, as the problem is; got .*float32"
    ):
        maid(problem, theta.float(), start.float(), n_units=100)


# --- The algorithms -----------------------------------------------------------------------------------------------


def exact_value(problem, theta):
    return problem.upper(problem.minimiser(theta))[0]


@pytest.mark.parametrize(("accuracy", "step"), [(10.0, 1.0), (1e-1, 1e-2), (1e-3, 1.0)])
def test_every_accepted_step_lowers_the_exact_value(accuracy, step):
    problem, theta = quadratic(1), torch.zeros(6, dtype=torch.float64)
    result = maid(
        problem,
        theta,
        theta,
        n_units=1500,
        accuracy=accuracy,
        linear_accuracy=accuracy,
        step=step,
        decrease=1e-3,
        angle=1e-2,
        loosen=1.25,
    )
    accepted = [visit for visit in result.history if visit.step > 0]
    thetas = [visit.theta for visit in accepted] + [result.theta]
    assert len(accepted) > 10
    for visit, after in zip(accepted, thetas[1:], strict=True):
        promised = 1e-3 * visit.step * visit.hypergradient.norm().item() ** 2
        assert exact_value(problem, after) <= exact_value(problem, visit.theta) - promised + 1e-15
        assert visit.bound <= (1 - 1e-2) * visit.hypergradient.norm() * (1 + 1e-12)
        torch.testing.assert_close(after, visit.theta - visit.step * visit.hypergradient)
    assert exact_value(problem, result.theta) - exact_value(problem, problem.best_theta()) < 1e-12


def test_the_accuracy_is_found_whatever_the_first():
    problem, theta = quadratic(1), torch.zeros(6, dtype=torch.float64)
    lasts = []
    for accuracy in (10.0, 1e-1, 1e-3):
        result = maid(
            problem, theta, theta, n_units=700, accuracy=accuracy, linear_accuracy=accuracy, loosen=1.25
        )
        lasts.append(math.log10(result.history[-1].accuracy))
        tightened = [visit.accuracy for visit in result.history if visit.step == 0][:-1]
        assert len(tightened) > 0
    assert max(lasts) - min(lasts) < 2  # four decades apart at the start


def visits_and_trials(problem, run):
    """Run, and list for each visit the θ that its search tried, and what each trial cost in gradients."""
    visits = []

    class Recording(QuadraticProblem):
        def curvature(self, theta):  # each solve begins with it
            solves.append([theta, 0])
            return super().curvature(theta)

        def gradient(self, x, theta):
            solves[-1][1] += 1
            return super().gradient(x, theta)

        def hessian(self, x, theta):  # each hypergradient asks for it once, after its solve
            visits.append(len(solves))
            return super().hessian(x, theta)

    solves = []
    parts = ("first", "second", "third", "first_right", "second_right")
    result = run(Recording(*(getattr(problem, part) for part in parts)))
    # Before each Hessian lie the visit's own solve and, without a gradient, the curvature that is asked for again.
    ends = [*(visit - 2 for visit in visits[1:]), len(solves)]
    trials = [
        [(theta, cost) for theta, cost in solves[first:last] if cost]
        for first, last in zip(visits, ends, strict=True)
    ]
    assert len(trials) == len(result.history)
    return result, trials


def test_accuracies_steps_and_trials_follow_the_algorithm():
    """Each visit from the one before, by the rules of the algorithm box; every rule is met at least once."""
    problem, zero = quadratic(1), torch.zeros(6, dtype=torch.float64)
    factors = {"shorten": 0.5, "lengthen": 3.0, "tighten": 0.3, "loosen": 1.9}
    begin = {"accuracy": 2.0, "linear_accuracy": 0.7, "step": 20.0, "n_trials": 2, "angle": 0.5}
    result, trials = visits_and_trials(
        problem, lambda recorded: maid(recorded, zero, zero, n_units=1500, **begin, **factors)
    )
    kinds, beta, failures = [], begin["step"], 0
    for visit, after, own in zip(result.history, result.history[1:], trials, strict=False):
        size = visit.hypergradient.norm().item()
        ratio = after.accuracy / visit.accuracy
        assert after.linear_accuracy / visit.linear_accuracy == pytest.approx(ratio)
        lengths = [((visit.theta - theta).norm() / size).item() for theta, _ in own]
        if visit.bound > 0.5 * size:
            kinds.append("angle")
            assert (len(own), visit.step, ratio) == (0, 0, pytest.approx(0.3))
            assert torch.equal(after.theta, visit.theta)
            continue
        assert lengths == pytest.approx([beta * 0.5**trial for trial in range(len(own))], rel=1e-6)
        if visit.step > 0:
            kinds.append("success")
            assert ratio == pytest.approx(1.9)
            assert len(own) <= 2 + failures
            beta, failures = 3 * visit.step, 0
        else:
            kinds.append("failure")
            assert ratio == pytest.approx(0.3)
            assert len(own) == 2 + failures
            assert torch.equal(after.theta, visit.theta)
            failures += 1
    assert min(kinds.count(kind) for kind in ("angle", "success", "failure")) > 2


def test_a_trial_may_cost_its_share_and_twice_that_after_a_failure():
    problem, zero = experiment.draw_quadratic(60, 10, seeded(3), condition=1e4), torch.zeros(10).double()
    options = {"n_units": 3000, "trial_share": 0.01, "step": 100.0, "n_trials": 3}
    result, trials = visits_and_trials(problem, lambda recorded: maid(recorded, zero, zero, **options))
    cap, used = 30, set()
    for visit, own in zip(result.history, trials, strict=True):
        for _, cost in own:
            assert cost <= cap
            used.add(cost)
        if own and visit.step == 0:
            cap *= 2
    assert {30, 60} <= used


@cache
def learned_total_variation(step, trial_share=0.05):
    """Loss after 600 units from θ = (−5, −5), over that at the start, and the accepted steps."""
    noisy, clean = images(2, 12, 12)
    problem, theta = TotalVariation(noisy, clean), torch.tensor([-5.0, -5.0], dtype=torch.float64)
    options = {"n_units": 600, "linear_accuracy": 0.01, "step": step, "trial_share": trial_share}
    run = maid(problem, theta, noisy, **options)
    return problem.upper(run.solution)[0] / problem.upper(noisy)[0], len(run.accepted)


@pytest.mark.parametrize("step", [10.0, 100.0, 1000.0])
def test_a_trial_far_away_cannot_eat_the_budget(step):
    """There weights are e^15, the condition number as large: one trial at full length cost more than all of it."""
    usual = learned_total_variation(1.0)[0]
    assert usual < 0.5
    assert learned_total_variation(step)[0] == pytest.approx(usual, rel=0.05)


def test_without_a_cap_one_trial_eats_the_budget():
    assert learned_total_variation(100.0, trial_share=1.0)[1] == 0


def test_exact_accuracies_give_armijo_s_gradient_descent():
    """With ε and δ at rounding, the steps are those of textbook backtracking on the closed-form f."""
    problem, theta = quadratic(2), torch.zeros(6, dtype=torch.float64)
    result = maid(
        problem,
        theta,
        problem.minimiser(theta),
        n_units=4000,
        accuracy=1e-11,
        linear_accuracy=1e-11,
        step=3.0,
        decrease=1e-4,
        angle=1e-2,
        tighten=1.0,
        loosen=1.0,
    )
    accepted, step = [visit for visit in result.history if visit.step > 0][:12], 3.0
    assert len(accepted) == 12
    for visit in accepted:
        torch.testing.assert_close(visit.theta, theta, rtol=1e-7, atol=1e-9)
        slope = problem.exact_hypergradient(theta)
        while (
            exact_value(problem, theta - step * slope)
            > exact_value(problem, theta) - 1e-4 * step * slope @ slope
        ):
            step /= 2
        assert visit.step == pytest.approx(step)
        theta, step = theta - step * slope, step * 10 / 9


def test_a_fixed_accuracy_stalls_and_says_so():
    problem, theta = quadratic(1), torch.zeros(6, dtype=torch.float64)
    result = maid(
        problem, theta, theta, n_units=3000, accuracy=1e-2, linear_accuracy=1e-2, tighten=1.0, loosen=1.0
    )
    assert result.cost < 3000
    assert result.history[-1].step == 0
    assert {visit.accuracy for visit in result.history} == {1e-2}


def test_the_budget_counts_every_gradient_and_product():
    problem, theta, start = CASES["total variation"]
    calls = {"gradient": 0, "hessian": 0}

    class Counting(TotalVariation):
        def gradient(self, x, theta):
            calls["gradient"] += 1
            return super().gradient(x, theta)

        def hessian(self, x, theta):
            product = super().hessian(x, theta)

            def counted(vector):
                calls["hessian"] += 1
                return product(vector)

            return counted

    counting = Counting(problem.noisy, problem.clean)
    for run in (
        lambda: maid(counting, theta, start, n_units=300, step=1.0),
        lambda: hoag(counting, theta, start, n_units=300, tolerance=lambda k: 0.1 / k**2, smoothness=10.0),
    ):
        calls.update(gradient=0, hessian=0)
        result = run()
        assert sum(calls.values()) == result.cost
        assert 300 <= result.cost < 400  # the last solver may go over


def test_maid_starts_each_solve_where_the_last_one_ended():
    """Each lower solve begins at the last iterate's solution, each linear one at its adjoint, by the closed forms."""
    lower, linear = [], []

    class Recording(QuadraticProblem):
        def gradient(self, x, theta):
            if not lower or not torch.equal(lower[-1][1], theta):
                lower.append((x, theta))
            return super().gradient(x, theta)

        def hessian(self, x, theta):
            product, first = super().hessian(x, theta), True

            def recorded(vector):
                nonlocal first
                if first:
                    linear.append(vector)
                first = False
                return product(vector)

            return recorded

    problem, theta, far = quadratic(1), torch.zeros(6, dtype=torch.float64), 100 * START
    recording = Recording(
        problem.first, problem.second, problem.third, problem.first_right, problem.second_right
    )
    result = maid(recording, theta, far, n_units=1000, accuracy=1e-2, linear_accuracy=1e-2, loosen=1.25)
    solved = [problem.minimiser(visit.theta) for visit in result.history]
    assert sum(visit.step > 0 for visit in result.history) > 10
    assert torch.equal(lower[0][0], far)
    near = max(visit.accuracy for visit in result.history) * (1 + 1e-9)
    assert (far - solved[0]).norm() > 1000 * near
    for x, _ in lower[1:]:
        assert min((x - each).norm().item() for each in solved) <= near
    # The first product of a solve that starts at zero would be with ∇g, far from the adjoint.
    adjoints = [torch.linalg.solve(problem.gram, problem.upper(x)[1]) for x in solved]
    convexity = problem.curvature(theta).convexity
    slack = (1 + problem.upper_smoothness) * near / convexity
    assert len(linear) == len(result.history)
    for vector, before in zip(linear[1:], adjoints, strict=False):
        assert (vector - before).norm() <= slack


def test_hoag_descends_and_takes_back_what_rises():
    problem, theta = quadratic(1), torch.zeros(6, dtype=torch.float64)
    for guess in (0.02, 2.0):
        result = hoag(problem, theta, theta, n_units=800, tolerance=lambda k: 0.1 / k**3, smoothness=guess)
        taken_back = [visit for visit in result.history if visit.step == 0]
        assert (len(taken_back) > 2) == (guess < 1)
        assert exact_value(problem, result.theta) < exact_value(problem, theta)
        for before, visit, after in zip(result.history, result.history[1:], result.history[2:], strict=False):
            if visit.step == 0 and before.step > 0:
                torch.testing.assert_close(after.theta, (before.theta + visit.theta) / 2)


# --- The experiment -----------------------------------------------------------------------------------------------


def test_a_race_chooses_elsewhere_and_measures_spreads():
    """By hand: on the first two problems way b is chosen by the third, on the third way a by the others."""
    last = {("MAID", "a"): [1.0, 2.0, 9.0], ("MAID", "b"): [4.0, 3.0, 1.0], ("HOAG", "c"): [0.0, 0.0, 0.0]}
    race = experiment.Race(first=[5.0, 4.0, 11.0], last=last)
    assert race.chosen_elsewhere("MAID") == [4.0, 3.0, 9.0]
    assert race.spreads("MAID", ("a", "b")) == pytest.approx([3 / 4, 1 / 2, 8 / 10])


def test_both_methods_get_five_tries_of_the_same_budget():
    problem, zero = quadratic(), torch.zeros(6, dtype=torch.float64)
    tasks = experiment.star_tasks([problem] * 2, [zero] * 2, [zero] * 2, n_units=200, step=0.5)
    counts = {method: [key[2] for key in tasks if key[0] == method] for method in ("MAID", "HOAG")}
    assert sorted(counts["MAID"]) == sorted(counts["HOAG"]) == [0] * 5 + [1] * 5
    runs = {key: task() for key, task in tasks.items() if key[2] == 0}
    assert all(200 <= run.cost < 260 for run in runs.values())
    firsts = {(run.history[0].accuracy, run.history[0].linear_accuracy) for run in runs.values()}
    assert firsts == {(0.1, 0.01), (10.0, 1.0), (0.001, 0.0001), (0.1, 0.1), (0.1 * 0.9, 0.1 * 0.9)}
    steps = {way: runs["HOAG", way, 0].history[0].step for way in experiment.hoag_star(1.0)}
    assert (steps["quadratic"], steps["guess / 10"], steps["guess × 10"]) == pytest.approx((0.5, 5, 0.05))
    race = experiment.finish([problem], [zero], [zero], runs)
    assert race.first == pytest.approx([exact_value(problem, zero)], abs=1e-2)
    for (method, way), (loss,) in race.last.items():
        assert loss == pytest.approx(exact_value(problem, runs[method, way, 0].theta), abs=1e-2)


def test_traces_and_promises_are_read_off_the_exact_loss():
    problem, zero = quadratic(1), torch.zeros(6, dtype=torch.float64)
    run = maid(problem, zero, zero, n_units=400, step=0.5)
    trace, best = experiment.exact_gaps(problem, run), exact_value(problem, problem.best_theta())
    thetas = [visit.theta for visit in run.history if visit.step > 0] + [run.theta]
    assert trace.losses == pytest.approx([exact_value(problem, theta) - best for theta in thetas])
    assert trace.work_to(trace.losses[3]) == trace.work[3]
    assert trace.work_to(-1.0) == math.inf
    assert experiment.broken_promise(problem, run, 1e-8) <= 0
    assert experiment.broken_promise(problem, run, 10.0) > 0  # nobody promised that much
    backwards = replace(run, theta=zero)
    rise = (exact_value(problem, zero) - exact_value(problem, thetas[-2])) / exact_value(problem, zero)
    assert experiment.broken_promise(problem, backwards, 1e-8) == pytest.approx(rise, rel=1e-3)


@pytest.mark.parametrize("side", ["low", "high"])
def test_loose_certificates_see_that_either_end_of_a_bracket_is_needed(side, monkeypatch):
    problem = experiment.draw_quadratic(200, 8, seeded(4))
    theta = torch.zeros(8, dtype=torch.float64)
    starts = problem.minimiser(theta) + 0.1 * random(6, 8)
    probe = partial(experiment.loose_certificates, problem, theta, starts, accuracy=0.1, linear_accuracy=1e-9)
    pairs, outside = probe()
    assert len(pairs) == 6
    assert all(0 < error <= bound for bound, error in pairs)
    assert outside < 0

    def without(value, *bounds):
        return certified_bracket(value, *bounds)._replace(**{side: value})

    monkeypatch.setattr(experiment, "certified_bracket", without)
    assert probe()[1] > 1e-3


def test_eased_bounds_change_nothing_else():
    problem, theta, start = CASES["experts"]
    eased = Eased(problem, 0.1)
    options = {"accuracy": 0.1, "linear_accuracy": 0.01}
    ours, theirs = (inexact_hypergradient(p, theta, start, **options) for p in (eased, problem))
    torch.testing.assert_close(ours.values, theirs.values)
    sensitivity, whole = (p.sensitivity(start, theta, start, 0.1) for p in (eased, problem))
    assert sensitivity == pytest.approx([0.1 * bound for bound in whole])


def test_quadratics_are_drawn_as_ill_conditioned_as_asked():
    for condition in (10.0, 300.0):
        problem = experiment.draw_quadratic(2000, 8, seeded(1), condition=condition)
        curvature = problem.curvature(torch.zeros(8))
        assert curvature.smoothness / curvature.convexity == pytest.approx(condition, rel=0.25)


def test_digits_are_split_and_none_is_seen_twice():
    split = experiment.draw_digits(100, 400, 0.5, seeded(2))
    problem = split.problem
    parts = [problem.features, problem.validation_features, split.features]
    assert [len(part) for part in parts] == [100, 400, 1297]
    assert len(torch.unique(torch.cat(parts), dim=0)) == 1797
    assert (torch.cat(parts)[:, -1] == 1).all()
    weights = torch.zeros(65, 10, dtype=torch.float64)
    assert split.test_loss(weights) == pytest.approx(math.log(10))
    # One penalty offered: scikit-learn's fit at it, which our own solver finds too.
    theta = torch.full((1, 1), math.log(0.3), dtype=torch.float64)
    ours = solve_lower(problem, theta, weights, accuracy=1e-4).values
    assert split.best_single_penalty([0.3]) == pytest.approx(split.test_loss(ours), abs=1e-4)
    assert split.best_single_penalty([1e4, 0.3]) == split.best_single_penalty([0.3])


def test_squares_are_means_of_the_middle():
    image, (square,) = photograph("camera").double(), experiment.squares(["camera"], 100)
    assert square.shape == (1, 100, 100)
    assert square[0, 0, 0] == pytest.approx(image[6:11, 6:11].mean().item(), abs=1e-6)


def test_a_grid_and_scikit_image_are_searched_for_their_best():
    noisy, clean = images(2, 16, 16)
    problem = TotalVariation(noisy, clean)
    loss, theta = experiment.searched_on_a_grid(problem, (-4.0, -1.5), (-4.0,))
    assert theta.tolist() == [-1.5, -4.0]
    settled = experiment.settled_loss(problem, theta, noisy)
    assert loss == pytest.approx(settled, rel=1e-2)
    assert settled < experiment.settled_loss(problem, torch.tensor([-4.0, -4.0]).double(), noisy)
    before = experiment.mean_psnr(noisy, clean)
    found = [experiment.isotropic_psnr(problem, weights) for weights in ((1e-6,), (0.1,), (1e-6, 0.1))]
    assert found[0] == pytest.approx(before, abs=0.05)
    assert found[2] == max(found[:2]) > before + 1


def test_conjugate_gradients_end_after_as_many_products_as_there_are_variables():
    errors = experiment.errors_of_three_ways(quadratic(), random(6, seed=9), [1, 7, 400])
    assert errors["conjugate gradients"][1] < 1e-10
    assert errors["Neumann series"][1] > 1e-5
    assert max(own[2] for own in errors.values()) < 1e-9


@cache
def shorter_side(name):
    return min(photograph(name).shape)


def parameter_sets():
    """The chapter's lists of photographs: its defaults, and those of its parameter files."""
    cell = NOTEBOOK.with_suffix(".py").read_text("utf-8").split('tags=["parameters"]')[1].split("# %%")[0]
    defaults = {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell[1:]).body}
    yield pytest.param(defaults, id="defaults")
    for path in sorted(NOTEBOOK.parent.glob(f"{NOTEBOOK.name}.*.yaml")):
        yield pytest.param(defaults | yaml.safe_load(path.read_text("utf-8")), id=path.name)


@pytest.mark.parametrize("parameters", parameter_sets())
def test_no_photograph_that_is_learned_from_is_held_out_nor_its_stereo_mate(parameters):
    def scenes(names):
        return [name.removesuffix("_left").removesuffix("_right") for name in names]

    learned, apart = scenes(parameters["photographs"]), scenes(parameters["held_out"])
    assert set(learned).isdisjoint(apart)
    assert len({*learned, *apart}) == len(learned) + len(apart)  # and groups share none
    assert len(learned) % parameters["n_groups"] == 0
    sides = map(shorter_side, (*parameters["photographs"], *parameters["held_out"]))
    assert min(sides) >= parameters["image_size"]


# --- Broken promises, and bad input -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lying(QuadraticProblem):
    """Claims another curvature or sensitivity than it has."""

    claimed: Curvature | None = None
    honesty: float = 1.0

    def curvature(self, theta):
        return self.claimed or super().curvature(theta)

    def sensitivity(self, x, theta, adjoint, radius):
        bounds = super().sensitivity(x, theta, adjoint, radius)
        return bounds._replace(cross_norm=self.honesty * bounds.cross_norm)


def lying(**lies):
    honest = quadratic()
    parts = ("first", "second", "third", "first_right", "second_right")
    return Lying(*(getattr(honest, part) for part in parts), **lies)


@pytest.mark.parametrize(
    ("claimed", "error", "message"),
    [
        (Curvature(0.0, 2.0), NotStronglyConvexError, "not strongly convex at this θ: μ = 0"),
        (Curvature(-0.1, 2.0), NotStronglyConvexError, "not strongly convex at this θ: μ = -0.1"),
        (Curvature(2.0, 1.0), BoundViolatedError, "L must be finite and at least μ = 2; got 1"),
        (Curvature(1.0, math.inf), BoundViolatedError, "got inf"),
        (Curvature(1.9, 2.0), NotStronglyConvexError, "below μ = 1.9"),
        (Curvature(1e-6, 0.2), BoundViolatedError, "above L = 0.2"),
    ],
)
def test_a_curvature_that_is_not_there_is_named(claimed, error, message):
    with pytest.raises(error, match=message):
        inexact_hypergradient(
            lying(claimed=claimed), START, START, accuracy=1e-3, linear_accuracy=1e-6, n_iterations=50
        )


def test_a_bound_that_does_not_hold_is_named():
    options = {"n_units": 600, "accuracy": 10.0, "linear_accuracy": 10.0}
    with pytest.raises(BoundViolatedError, match=r"two hypergradients at one θ are .* apart"):
        maid(lying(honesty=1e-2), START, START, **options)
    maid(lying(honesty=1.0), START, START, **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 0.0}, "accuracy must be positive"),
        ({"linear_accuracy": -1.0}, "linear_accuracy must be positive"),
        ({"step": 0.0}, "step must be positive"),
        ({"decrease": 1e-3, "angle": 1e-4}, "decrease < angle < 1; got 0.001 and 0.0001"),
        ({"shorten": 1.0}, "shorten and tighten must lie between 0 and 1; got 1.0 and 0.5"),
        ({"tighten": 1.5}, "got 0.5 and 1.5"),
        ({"lengthen": 0.9}, "lengthen must be at least 1; got 0.9"),
        ({"loosen": 0.5}, "loosen must be at least 1; got 0.5"),
        ({"n_trials": 0}, "n_trials must be at least 1; got 0"),
        ({"theta": START * math.nan}, "theta must be finite"),
        ({"start": START * math.inf}, "start must be finite"),
        ({"n_units": 3, "accuracy": 1e-9}, "n_units must last for one hypergradient; got 3"),
    ],
)
def test_maid_refuses(change, message):
    options = {"theta": START, "start": START, "n_units": 100} | change
    with pytest.raises(ValueError, match=message):
        maid(quadratic(), **options)


@pytest.mark.bad_input
def test_the_other_doors_refuse():
    problem = quadratic()
    with pytest.raises(ValueError, match="accuracy must be positive"):
        solve_lower(problem, START, START, accuracy=-1.0)
    with pytest.raises(ValueError, match="n_iterations must be at least 1; got 0"):
        solve_lower(problem, START, START, accuracy=1.0, n_iterations=0)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        inexact_hypergradient(problem, START, START, accuracy=1.0, linear_accuracy=0.0)
    with pytest.raises(ValueError, match="smoothness must be positive"):
        hoag(problem, START, START, n_units=10, tolerance=lambda k: 1.0, smoothness=0.0)
    with pytest.raises(ValueError, match="theta must be finite"):
        hoag(problem, START / 0, START, n_units=10, tolerance=lambda k: 1.0, smoothness=1.0)
    noisy, clean = images()
    with pytest.raises(ValueError, match=r"noisy and clean must have one shape; got \(2, 1, 9, 11\) and"):
        TotalVariation(noisy, clean[:1])
