"""Flows against matrix functions and gradient descent, games against their rounds, scalings against torch's own."""

import functools
import importlib.util
import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn

from regularity.dynamics import discretisation_drift as drift
from regularity.dynamics.discretisation_drift import SCALINGS, experiment
from regularity.dynamics.discretisation_drift.experiment import Networks, Replay, Seen, World
from regularity.dynamics.discretisation_drift.method import Adam, game_of
from tests.draws import random, seeded

CURVATURES = torch.tensor([2.0, 0.02], dtype=torch.float64)  # the authors' quadratic
START = torch.tensor([[-0.35, -0.2]], dtype=torch.float64)
RATES = [0.05, 0.025]
VALLEY = torch.tensor([[-0.6, 0.9]], dtype=torch.float64)


def quadratic(point):
    return (CURVATURES * point**2).sum() / 2


def quadratic_principal(learning_rate):
    return lambda at: drift.principal_flow(CURVATURES * at, torch.diag(CURVATURES)[None], learning_rate)


# --- Flows --------------------------------------------------------------------------------------------------------


def test_velocities_of_a_cubic_by_hand():
    """E = x³/3 at ½, h = 0.2: g = ¼, H = 1, D²g[g, g] = 2g²."""
    point = torch.tensor([0.5], dtype=torch.float64)
    found = [drift.modified_flow(lambda x: (x**3).sum() / 3, point, 0.2, order=k).item() for k in (1, 2, 3)]
    assert found == pytest.approx([-0.25, -0.275, -0.27875])
    principal = drift.principal_flow(point**2, torch.eye(1, dtype=torch.float64), 0.2)
    assert principal.item() == pytest.approx(0.25 * math.log(0.8) / 0.2)


@functools.cache
def errors_in_the_valley():
    return experiment.errors_of_a_step(drift.banana, VALLEY, RATES)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("negative gradient", 2),
        ("IGR", 3),
        ("third order", 4),
        ("principal", 3),
        ("principal + drift of H", 4),
        ("frozen loss", 3),
    ],
)
def test_a_flow_misses_a_step_by_its_order(name, order):
    errors = errors_in_the_valley()[name]
    assert experiment.slope(errors, RATES) == pytest.approx(order, abs=0.1)


def test_errors_in_the_valley_are_those_of_an_adaptive_solver():
    """DOP853 of SciPy with the derivatives by hand gave these at h = 0.05."""
    found = [own[0].item() for own in errors_in_the_valley().values()]
    assert found == pytest.approx([1.534e-3, 9.471e-5, 5.701e-6, 1.619e-5, 2.830e-6, 1.743e-5], rel=1e-3)


@pytest.mark.parametrize("learning_rate", [0.3, 0.9, 1.05])
def test_the_principal_flow_meets_gradient_descent_on_a_quadratic(learning_rate):
    """After 1 and 2 steps, contracting, crossing and diverging; gradient descent by powers of 1 − hλ."""
    flow, at = quadratic_principal(learning_rate), START.to(torch.complex128)
    for step in (1, 2):
        at = experiment.follow(flow, at, learning_rate, 60)
        expected = START * (1 - learning_rate * CURVATURES) ** step
        torch.testing.assert_close(at, expected.to(at.dtype), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_other_flows_of_a_quadratic_are_matrix_exponentials(order):
    matrix = np.diag(CURVATURES) + (0.45 * np.diag(CURVATURES) ** 2 if order == 2 else 0)
    expected = linalg.expm(-1.8 * matrix) @ START[0].numpy()
    end = experiment.follow(lambda at: drift.modified_flow(quadratic, at, 0.9, order=order), START, 1.8, 25)
    np.testing.assert_allclose(end[0], expected, atol=1e-5)
    paths = experiment.paths_on_a_bowl(CURVATURES, START[0], 0.9, 2, 5)
    np.testing.assert_allclose(paths[("negative gradient", "IGR")[order - 1]][-1], expected)
    steps = [START[0] * (1 - 0.9 * CURVATURES) ** step for step in range(3)]
    torch.testing.assert_close(paths["gradient descent"], torch.stack(steps))
    torch.testing.assert_close(paths["principal"][::5], torch.stack(steps) + 0j)


def test_principal_coefficients():
    """By hand: log|1 − z|/z + iπ/z beyond 1."""
    found = drift.principal_coefficient(torch.tensor([0.5, 1.8, 2.1, -1.0, 0.0, 1e-6], dtype=torch.float64))
    expected = [-1.3862944, -0.1239686 + 1.7453293j, 0.0453858 + 1.4959965j, -0.6931472, -1, -1 - 5e-7]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    small = torch.tensor([1.1e-5, 0.9e-5], dtype=torch.float64)
    np.testing.assert_allclose(drift.principal_coefficient(small), -1 - small / 2 - small**2 / 3, rtol=1e-11)


def test_the_principal_flow_is_a_matrix_logarithm():
    """log(I − hH)(hH)⁻¹ g by SciPy, with positive and negative curvatures."""
    matrix = random(5, 5)
    matrix = (matrix + matrix.T) / 2
    gradient, h = random(5, seed=1), 0.3
    expected = linalg.logm(np.eye(5) - h * matrix.numpy()) @ np.linalg.solve(
        h * matrix.numpy(), gradient.numpy()
    )
    np.testing.assert_allclose(drift.principal_flow(gradient, matrix, h), expected, atol=1e-10)


def test_runs_side_by_side_are_runs_alone():
    points = random(3, 2)
    together = drift.modified_flow(drift.banana, points, 0.1, order=3)
    alone = torch.stack([drift.modified_flow(drift.banana, point, 0.1, order=3) for point in points])
    torch.testing.assert_close(together, alone)


def test_the_frozen_loss_has_the_frozen_flow_as_its_gradient():
    start = VALLEY[0] + 0.1
    fixed = torch.func.grad(drift.banana)(start)

    def frozen(point):
        return drift.banana(point) + 0.1 * torch.func.grad(drift.banana)(point) @ fixed

    expected = -torch.func.grad(frozen)(VALLEY[0])
    torch.testing.assert_close(drift.frozen_flow(drift.banana, VALLEY[0], start, 0.2), expected)


def test_the_loss_rate_is_that_of_the_whole_spectrum():
    """By Lanczos from the gradient, and by the eigenpairs of the dense Hessian, beyond the edge too."""
    inputs, labels = random(30, 3), (random(30, seed=1) > 0).double()
    size, call = drift.perceptron([3, 4, 1])
    loss = drift.network_loss(call, inputs, labels, "logistic")
    point = random(size, seed=2)
    gradient, matrix = torch.func.grad(loss)(point), torch.func.hessian(loss)(point)
    values, vectors = torch.linalg.eigh(matrix)
    for h in (1.3 / values[-1].item(), 2.4 / values[-1].item()):
        curvature, rate = experiment.loss_rate(loss, point, h, size)
        expected = (drift.principal_coefficient(h * values).real * (vectors.T @ gradient) ** 2).sum()
        assert curvature == pytest.approx(h * values[-1].item())
        assert rate == pytest.approx(expected.item(), rel=1e-6)


def test_at_the_edge_the_flow_foresees_a_quadratic_s_rise():
    starts = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    for h, rises in ((0.9, False), (1.1, True)):
        edge = experiment.edge_of_stability(quadratic, starts, h, 3, every=1, n_lanczos=2)
        assert edge.rises.all() == rises == (edge.rates > 0).all()
        torch.testing.assert_close(edge.curvature, torch.full((3, 1), 2 * h))


def test_balanced_accuracy():
    foreseen = torch.tensor([[True], [True], [False], [False]])
    happened = torch.tensor([[True], [False], [False], [False]])
    assert experiment.balanced_accuracy(foreseen, happened).item() == pytest.approx((1 + 2 / 3) / 2)
    assert experiment.balanced_accuracy(foreseen & False, happened).item() == 0.5


# --- Learning rates -----------------------------------------------------------------------------------------------


def test_the_adjusted_rate_flips_a_parabola_for_ever():
    """In one dimension the rate of power 1 is 2/λ, the edge of stability: x goes to −x."""
    points = torch.tensor([[0.7], [-0.2]], dtype=torch.float64)
    loss = lambda x: 3 * (x**2).sum() / 2  # noqa: E731
    found = experiment.descend_at(loss, points, experiment.drift_adjusted(loss, 1.0), 3)
    torch.testing.assert_close(found.rates, torch.full((3, 2), 2 / 3, dtype=torch.float64))
    torch.testing.assert_close(found.points, -points)


def test_the_rate_follows_the_drift_and_only_at_power_1_forgets_the_unit():
    gradient, matrix = random(4), random(4, 4, seed=1)
    matrix = matrix + matrix.T
    image = matrix @ gradient
    ratio = (np.linalg.norm(image) / np.linalg.norm(gradient)).item()
    for power in (0.5, 1.0):
        rate = drift.drift_adjusted_rate(gradient, image, power=power, largest=1e9)
        assert rate.item() == pytest.approx(2 / ratio**power)
        scaled = drift.drift_adjusted_rate(30 * gradient, 900 * image, power=power, largest=1e9)
        assert (30 * scaled / rate).item() == pytest.approx(30 ** (1 - power))


def test_without_drift_the_rate_is_the_largest():
    still = torch.zeros(2, dtype=torch.float64)
    assert drift.drift_adjusted_rate(still, still).item() == 5
    assert drift.drift_adjusted_rate(still + 1, still + 1e-3, largest=0.4).item() == 0.4


def test_descents_stop_where_they_diverge_and_keep_where_they_meet_a_target():
    starts = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    rates = torch.tensor([0.4, 3.0], dtype=torch.float64)
    found = experiment.descend_at(quadratic, starts, lambda *_: rates, 9, target=0.01)
    # (1 − 2h)² a step: 0.04 contracts, and 25 passes 100 in the second step.
    torch.testing.assert_close(found.losses[:, 0], 0.04 ** torch.arange(9.0).double())
    assert torch.isinf(found.losses[4:, 1]).all()
    torch.testing.assert_close(found.points[0, 0].abs(), torch.tensor(0.04, dtype=torch.float64))


def test_geometric_complexity_of_a_linear_network_is_its_matrix_s_norm():
    size, call = drift.perceptron([3, 2])
    points = random(4, size)
    expected = points[:, :6].square().sum(dim=1)
    torch.testing.assert_close(experiment.geometric_complexity(call, points, random(5, 3)), expected)


# --- Games --------------------------------------------------------------------------------------------------------


def radius_of_round(play):
    """Spectral radius of a round of the spiral with ε = 0.09 and rates 0.2."""
    return experiment.spectral_radius(lambda at: experiment.one_round(drift.spiral(0.09), at, 0.2, play))


def test_rounds_of_the_spiral_by_their_matrices():
    """By hand: |1 − hε + ih|; √det = 1 − hε; and exp(−hε) of the plain flow lies near neither."""
    assert radius_of_round("simultaneous") == pytest.approx(abs(1 - 0.018 + 0.2j))
    assert radius_of_round("alternating") == pytest.approx(0.982)


@pytest.mark.parametrize(("play", "radius"), [("simultaneous", 1.0018397), ("alternating", 0.9820020)])
def test_the_drift_of_the_spiral(play, radius):
    """Modified flow J − ½hJ² (simultaneous) with J = [[−ε, 1], [−1, −ε]], its exponential by SciPy."""
    columns = []
    for one in torch.eye(2, dtype=torch.float64):
        field = drift.spiral(0.09)(one[:1], one[1:])
        own, other = drift.game_drift(drift.spiral(0.09), one[:1], one[1:], (0.2, 0.2), play=play)
        columns.append(torch.cat([sum(parts) for parts in zip(field, own, other, strict=True)]))
    matrix = torch.stack(columns, dim=1).numpy()
    jacobian = np.array([[-0.09, 1], [-1, -0.09]])
    if play == "simultaneous":
        np.testing.assert_allclose(matrix, jacobian - 0.1 * jacobian @ jacobian)
    assert np.abs(linalg.eigvals(linalg.expm(0.2 * matrix))).max() == pytest.approx(radius, abs=1e-7)


@pytest.mark.parametrize("play", ["simultaneous", "alternating"])
def test_the_flow_of_a_game_misses_a_round_by_the_third_order(play):
    """With unequal rates, whose interaction terms carry the other player's rate."""
    game, start = drift.polynomial_game, torch.tensor([0.8, -0.5], dtype=torch.float64)
    errors = []
    for h in (0.025, 0.0125):
        rates = (h, 3 * h)
        flow = experiment.game_flow(game, rates, play)
        end = drift.play_round(game, start[:1], start[1:], rates, play=play)
        errors.append((experiment.follow(flow, start, 1.0, 8) - torch.cat(end)).norm())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("assumed", "order"), [("simultaneous", 2), ("alternating", 3), (None, 2)])
def test_the_drift_of_the_wrong_play_is_no_better_than_none(assumed, order):
    start = torch.tensor([0.8, -0.5], dtype=torch.float64)
    rates = (0.025, 0.0125)
    errors = experiment.game_errors(drift.polynomial_game, start, rates, play="alternating", assumed=assumed)
    assert experiment.slope(errors, rates) == pytest.approx(order, abs=0.1)


def test_a_game_without_curvature_returns_the_numbers_of_an_adaptive_solver():
    """DOP853 at h = 0.0125: 5.5e-5 for the plain flow, 4.2e-7 and 4.4e-7 with the drift of each play."""
    game, start = drift.polynomial_game, torch.tensor([0.8, -0.5], dtype=torch.float64)
    for play, assumed, expected in (
        ("simultaneous", None, 5.5e-5),
        ("simultaneous", "simultaneous", 4.2e-7),
        ("alternating", "alternating", 4.4e-7),
    ):
        (found,) = experiment.game_errors(game, start, [0.0125], play=play, assumed=assumed)
        assert found == pytest.approx(expected, rel=0.02)


def test_cancelling_is_a_loss_with_a_fixed_gradient_in_it():
    """L₁ − (λ/2)(∂L₁/∂ψ)ᵀ[∂L₂/∂ψ], and its mirror image, differentiated as written."""
    first_loss = lambda a, b: (a**2 * b).sum() + (a * b**3).sum()  # noqa: E731
    second_loss = lambda a, b: (torch.sin(a) * b**2).sum()  # noqa: E731
    first, second, rates = random(2), random(2, seed=1), (0.1, 0.3)
    grad = torch.func.grad
    fixed_second, fixed_first = grad(second_loss, 1)(first, second), grad(first_loss)(first, second)

    def first_regularised(a):
        return first_loss(a, second) - 0.15 * grad(first_loss, 1)(a, second) @ fixed_second

    def second_regularised(b):
        return second_loss(first, b) - 0.05 * grad(second_loss)(first, b) @ fixed_first

    expected = (
        first - 0.1 * grad(first_regularised)(first),
        second - 0.3 * grad(second_regularised)(second),
    )
    game = game_of(first_loss, second_loss)
    found = drift.play_round(game, first, second, rates, cancel=1.0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("cancel", [0.0, 1.0])
def test_radii_of_the_smallest_gan(cancel):
    """Rounds written out by hand, without and with the drift (λ/2) f_ψ q taken out."""
    start = torch.ones(2, dtype=torch.float64)
    found = experiment.radii(drift.dirac_gan(), start, 0.1, 20, cancel=cancel)
    a, b = 1.0, 1.0
    for _ in range(20):
        s = 1 / (1 + math.exp(a * b))  # derivative of log σ at ab, and its own derivative −s(1 − s)
        f, q, mixed = -b * s, a * s, s - a * b * s * (1 - s)
        a, b = a + 0.1 * (f - cancel * 0.05 * mixed * q), b + 0.1 * (q + cancel * 0.05 * mixed * f)
    assert found[-1].item() == pytest.approx(math.hypot(a, b))


# --- Spectral normalisation ---------------------------------------------------------------------------------------


def test_the_power_iteration_finds_the_largest_singular_value():
    weights, direction = random(3, 5, 4), random(3, 4, seed=1)
    for _ in range(300):
        norm, direction = drift.power_iteration(weights, direction)
    torch.testing.assert_close(norm, torch.linalg.svdvals(weights)[:, 0])


def test_a_normalised_layer_is_torch_s_own():
    """Values and gradients through σ, against `torch.nn.utils.parametrizations.spectral_norm`."""
    layer = nn.Linear(4, 4, bias=False).double()
    layer.weight.data = random(4, 4, seed=5)
    peer = nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=200)
    inputs = random(6, 4).abs()  # positive, and so are the sums below: every ReLU is open
    peer(inputs).square().sum().backward()
    weights = peer.parametrizations.weight.original
    ours = weights.detach().T[None].clone().requires_grad_()
    same, nothing, high = torch.eye(4)[None].double(), torch.zeros(1, 1, 4).double(), 1e4
    layers = [same, nothing, ours, nothing + high, same, nothing]
    direction = random(1, 4, seed=2)
    for _ in range(200):
        norm, direction = drift.power_iteration(ours, direction)
    outputs = experiment.scaled_outputs(layers, inputs[None], SCALINGS["spectral norm"], norm) - high
    torch.testing.assert_close(outputs[0], peer(inputs), rtol=1e-6, atol=1e-6)
    outputs.square().sum().backward()
    torch.testing.assert_close(ours.grad[0].T, weights.grad, rtol=1e-6, atol=1e-6)


def test_without_later_biases_a_normalised_layer_is_a_divided_output():
    layers = [layer.double() for layer in experiment.draw_layers([3, 5, 5, 2], 2, seeded())]
    inputs, norm = random(2, 7, 3), torch.tensor([2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(
        experiment.scaled_outputs(layers, inputs, SCALINGS["spectral norm"], norm),
        experiment.scaled_outputs(layers, inputs, SCALINGS["divOut"], norm),
    )


def test_unscaled_networks_are_torch_s():
    networks = Networks("none", [3, 5, 5, 2], 1, "cpu", seeded())
    peer = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        for weight, ours in zip(peer.parameters(), networks.layers, strict=True):
            weight.copy_(ours[0].T if ours.shape[1] > 1 else ours[0, 0])
    inputs = random(4, 3).float()
    torch.testing.assert_close(networks(inputs[None])[0], peer(inputs))


def gradient_scales(name):
    """How much smaller each layer's gradient is than without scaling, where σ is 3."""
    found = []
    for scaling in (name, "none"):
        networks = Networks(scaling, [3, 5, 5, 2], 1, "cpu", seeded())
        networks.norm = torch.tensor([3.0])
        found.append(networks.gradients(networks(random(1, 4, 3).float()).square().mean(dim=(1, 2))))
    return [float(ours.norm() / plain.norm()) for ours, plain in zip(*found, strict=True)][:5]


@pytest.mark.parametrize(("name", "scale"), [("divGrad", 1 / 3), ("mulEps", 1.0), ("divOut", 1 / 9)])
def test_where_the_scalings_go(name, scale):
    """Squared outputs divided by σ have gradients divided by σ²."""
    assert gradient_scales(name) == pytest.approx([scale] * 5, rel=1e-5)


def test_adam_is_torch_s_for_each_run():
    weights = random(2, 3, 4)
    ours = Adam([weights.clone()], torch.tensor([0.1, 0.02]), torch.tensor([1e-8, 0.3]))
    gradients = random(5, 2, 3, 4, seed=1)
    for gradient in gradients:
        ours.step([gradient])
    for run, (rate, epsilon) in enumerate(((0.1, 1e-8), (0.02, 0.3))):
        peer = weights[run].clone().requires_grad_()
        optimiser = torch.optim.Adam([peer], lr=rate, eps=epsilon)
        for gradient in gradients[:, run]:
            peer.grad = gradient.clone()
            optimiser.step()
        torch.testing.assert_close(ours.weights[0][run], peer.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_dividing_the_gradient_is_multiplying_epsilon_and_nothing_at_zero(epsilon):
    start, gradients = random(1, 6), random(4, 1, 6, seed=1)

    def end(divisor, factor):
        adam = Adam([start.clone()], torch.tensor([0.1]), torch.tensor([epsilon]))
        for gradient in gradients:
            adam.step([gradient / divisor], torch.tensor([factor]))
        return adam.weights[0]

    torch.testing.assert_close(end(7.0, 1.0), end(1.0, 7.0))
    assert torch.allclose(end(7.0, 1.0), end(1.0, 1.0)) == (epsilon == 0)


def test_classifiers_learn_to_tell_two_clouds():
    labels = torch.arange(200) % 2
    images = random(200, 3).float() + 4 * labels[:, None]
    generator, rates = seeded(), torch.tensor([0.3, 0.5])
    for name in SCALINGS:
        networks = experiment.train_classifiers(name, images, labels, rates, [3, 8, 8, 2], 12, generator)
        assert (experiment.accuracy(networks, images, labels) > 0.9).all()


def test_the_world_is_gymnasium_s_and_marks_new_beginnings():
    """The same forces on gymnasium's single cart, from the same state."""
    import gymnasium

    world = World("CartPole-v1", 2, 1, "cpu", seed=3)
    single = gymnasium.make("CartPole-v1").unwrapped
    single.reset(seed=0)
    single.state = world.observed[1, 0].double().numpy()
    over = False
    while not over:
        seen = world.step(torch.ones(2, 1, dtype=torch.long))
        expected, _, over, _, _ = single.step(1)
        np.testing.assert_allclose(world.observed[1, 0], expected, atol=1e-5)
        assert seen.goes_on[1] == float(not over)
        assert seen.counts[1] == 1
    assert world.step(torch.ones(2, 1, dtype=torch.long)).counts[1] == 0


def test_the_replay_keeps_the_latest_and_draws_whole_steps():
    replay = Replay(3)
    for value in range(5):
        full = torch.full((2, 1), float(value))
        step = Seen(full[..., None], full[..., None] + 0.5, full.long(), full + 1, full + 2, full + 3)
        replay.add(step)
    drawn = replay.draw(50, seeded())
    assert set(drawn.before.flatten().tolist()) == {2.0, 3.0, 4.0}
    before = drawn.before[..., 0]
    for column, shift in zip(drawn[1:], (0.5, 0, 1, 2, 3), strict=True):
        torch.testing.assert_close(column.reshape(2, 50).float(), before + shift)


def test_an_end_has_nothing_ahead_and_a_beginning_no_weight():
    """By hand: (2 − 1 − ½·10)², (2 − 1)², and a step that does not count; their mean over the batch."""
    nothing = torch.zeros(1, 3)
    reward, goes_on, counts = torch.ones(1, 3), torch.tensor([[1.0, 0, 1]]), torch.tensor([[1.0, 1, 0]])
    seen = Seen(nothing, nothing, nothing, reward, goes_on, counts)
    found = experiment.bellman_losses(2 * reward, 10 * reward, seen, 0.5)
    assert found.item() == pytest.approx((16 + 1 + 0) / 3)


def test_the_norm_is_kept_up_to_date():
    """From call to call, a step at a time, while the layer changes slowly."""
    networks = Networks("mulEps", [3, 6, 6, 2], 2, "cpu", seeded())
    for step in range(300):
        with torch.no_grad():
            networks.layers[-4].add_(1e-3 * random(2, 6, 6, seed=step // 200).float())
        networks.update_norm()
    expected = torch.linalg.svdvals(networks.layers[-4].detach())[:, 0]
    torch.testing.assert_close(networks.norm.detach(), expected, rtol=2e-3, atol=0)


def test_q_learning_beats_chance():
    """The last run's rate is nearly 0: it learns nothing, and always pushes to one side, for ten steps."""
    rates, epsilons = torch.tensor([0.01, 0.01, 0.01, 0.01, 1e-12]), torch.full((5,), 1e-8)
    options = {"environment": "CartPole-v1", "n_steps": 600, "seed": 1}
    *learned, idle = experiment.deep_q_learning("none", rates, epsilons, **options).tolist()
    assert np.mean(learned) > 25 > 12 > idle


def test_q_learning_repeats_and_every_scaling_matters():
    """divGrad and mulEps alone may agree: they are one where σ stays."""
    rates, epsilons = torch.full((2,), 0.1), torch.full((2,), 0.3)
    options = {"environment": "CartPole-v1", "n_steps": 90, "seed": 1}
    names = ["none", "none", "spectral norm", "divOut", "mulEps"]
    runs = [experiment.deep_q_learning(name, rates, epsilons, **options) for name in names]
    assert torch.equal(runs[0], runs[1])
    assert len({tuple(own.tolist()) for own in runs}) == 4


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_an_environment_that_is_not_there_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"package minatar, which is not installed.*pip install"):
        experiment.check_environment("MinAtar/Breakout-v1")
    with pytest.raises(
        ValueError, match=r"environment must be .* got 'CartPol-v1'.*Did you mean: `CartPole`"
    ):
        experiment.check_environment("CartPol-v1")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drift.modified_flow(drift.banana, VALLEY, 0.0), "learning_rate must be positive"),
        (lambda: drift.modified_flow(drift.banana, VALLEY, 0.1, order=4), "order must be 1, 2 or 3; got 4"),
        (lambda: drift.principal_coefficient(torch.tensor([0.5, 1.0])), "z must not be 1"),
        (
            lambda: drift.principal_flow(START[0], torch.diag(CURVATURES), 0.5),
            "hessian times learning_rate.*lands on the minimum",
        ),
        (
            lambda: drift.principal_flow(START[0], torch.tensor([[1.0, 2.0], [0.0, 1.0]]), 0.5),
            "hessian must be symmetric",
        ),
        (
            lambda: drift.game_drift(drift.spiral(0.1), START[0], START[0], (0.1, 0.1), play="alternate"),
            "did you mean 'alternating'",
        ),
        (
            lambda: drift.power_iteration(torch.zeros(2, 2), torch.ones(2)),
            "weights and direction must not have the product zero",
        ),
        (lambda: Networks("divout", [2, 2, 2, 2], 1, "cpu", seeded()), "did you mean 'divOut'"),
        (lambda: drift.network_loss(lambda p, x: x, VALLEY, VALLEY, "square"), "did you mean 'squares'"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
