"""Certificates against exact solutions, problems against differentiation, solvers against SciPy and scikit-learn."""

import math
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from regularity.foundations.hypergradients import conjugate_gradients, implicit_hypergradient
from regularity.tuning.inexact_bilevel import (
    BoundViolatedError,
    Curvature,
    FieldOfExperts,
    NotStronglyConvexError,
    QuadraticProblem,
    Sensitivity,
    SoftmaxRegression,
    TotalVariation,
    hoag,
    inexact_hypergradient,
    maid,
    solve_lower,
)
from tests.draws import random, seeded

START = random(6, seed=8)


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
    slope = torch.func.grad(partial(potential, problem))
    torch.testing.assert_close(problem.gradient(x, theta), slope(x, theta))
    change = torch.func.jvp(lambda point: slope(point, theta), (x,), (vector,))[1]
    torch.testing.assert_close(problem.hessian(x, theta)(vector), change)
    mixed = torch.func.grad(lambda parameters: (slope(x, parameters) * vector).sum())(theta)
    torch.testing.assert_close(problem.cross(x, theta, vector), mixed)
    value, right = problem.upper(x)
    assert value == pytest.approx(upper(problem, x, theta).item())
    torch.testing.assert_close(right, torch.func.grad(partial(upper, problem))(x, theta))


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
    slope = torch.func.grad(partial(potential, problem))
    adjoint = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    for radius in (1e-4, 0.03, 1.0):
        for _ in range(3):
            move = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            near = x + radius * move / move.norm()
            bounds = problem.sensitivity(x, theta, adjoint, radius)
            columns = torch.func.jacfwd(lambda t, near=near: slope(near, t))(theta)
            true = (
                torch.linalg.matrix_norm(columns.reshape(-1, theta.numel()), 2),
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
    hessian = torch.func.hessian(lambda point: upper(problem, point, theta))(x).reshape(x.numel(), -1)
    spectrum = torch.linalg.eigvalsh(hessian)
    assert spectrum[-1] <= problem.upper_smoothness * (1 + 1e-12)
    assert spectrum[0] >= -1e-12


# --- Solving the lower level --------------------------------------------------------------------------------------


@every_problem
def test_the_lower_solver_finds_the_minimiser_of_scipy(name):
    problem, theta, x = CASES[name]

    def value_and_slope(flat):
        point = torch.as_tensor(flat).reshape(x.shape)
        value = potential(problem, point, theta).item()
        return value, torch.func.grad(partial(potential, problem))(point, theta).flatten().numpy()

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

    second = torch.func.vmap(torch.func.grad(slope))
    third = torch.func.vmap(torch.func.grad(torch.func.grad(slope)))
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


# --- The algorithms -----------------------------------------------------------------------------------------------


def exact_value(problem, theta):
    return problem.upper(problem.minimiser(theta))[0]


@pytest.mark.parametrize("accuracy", [10.0, 1e-1, 1e-3])
@pytest.mark.parametrize("step", [1e-2, 1.0])
def test_every_accepted_step_lowers_the_exact_value(accuracy, step):
    problem, theta = quadratic(1), torch.zeros(6, dtype=torch.float64)
    result = maid(
        problem,
        theta,
        theta,
        n_units=3000,
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
    result = maid(recording, theta, far, n_units=2000, accuracy=1e-2, linear_accuracy=1e-2, loosen=1.25)
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
        result = hoag(problem, theta, theta, n_units=1500, tolerance=lambda k: 0.1 / k**3, smoothness=guess)
        taken_back = [visit for visit in result.history if visit.step == 0]
        assert (len(taken_back) > 2) == (guess < 1)
        assert exact_value(problem, result.theta) < exact_value(problem, theta)
        for before, visit, after in zip(result.history, result.history[1:], result.history[2:], strict=False):
            if visit.step == 0 and before.step > 0:
                torch.testing.assert_close(after.theta, (before.theta + visit.theta) / 2)


def test_total_variation_learns_from_images():
    problem, _, start = CASES["total variation"]
    theta = torch.tensor([-5.0, -5.0], dtype=torch.float64)
    results = [
        maid(problem, theta, start, n_units=1500, accuracy=e, linear_accuracy=e / 10, step=1.0)
        for e in (1.0, 1e-3)
    ]
    values = [problem.upper(exact(problem, result.theta, start)[0])[0] for result in results]
    before = problem.upper(start)[0]
    assert max(values) < 0.5 * before
    assert values[0] == pytest.approx(values[1], rel=0.02)


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
    options = {"n_units": 2000, "accuracy": 10.0, "linear_accuracy": 10.0}
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
