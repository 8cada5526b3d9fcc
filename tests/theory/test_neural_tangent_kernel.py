"""The neural tangent kernel against automatic differentiation, neural-tangents, scikit-learn and closed forms."""

import math

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import tensor
from torch.func import functional_call, jacrev, vmap

from regularity.foundations.kernels import wide_network_kernels
from regularity.theory import neural_tangent_kernel as tangent
from regularity.theory.neural_tangent_kernel import (
    circle,
    conditional_covariance,
    draw_networks,
    empirical_kernel,
    experiment,
    kernel_flow,
    kernel_ridge,
    network_outputs,
    product_of_coordinates,
    to_sphere,
    train,
)
from tests.draws import random, seeded

POINTS = random(6, 3)
ANGLES = tensor([-2.4, -1.0, 0.6, 2.0], dtype=torch.float64)


def networks(*widths, n_runs=2, bias_std=0.3, seed=0):
    return draw_networks(
        list(widths), n_runs=n_runs, bias_std=bias_std, generator=seeded(seed), dtype=torch.float64
    )


class Reference(torch.nn.Module):
    """The same network as a module of torch's own."""

    def __init__(self, drawn, run):
        super().__init__()
        self.weights = torch.nn.ParameterList([weights[run].clone() for weights in drawn.weights])
        self.biases = torch.nn.ParameterList([biases[run].clone() for biases in drawn.biases])
        self.bias_std = drawn.bias_std

    def forward(self, x):
        last = len(self.weights) - 1
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weights.T / math.sqrt(weights.shape[1]) + self.bias_std * biases
            x = torch.relu(x) if layer < last else x
        return x


# --- Networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5), (4, 8, 5)])
def test_empirical_kernel_is_the_gram_matrix_of_jacobians(hidden):
    drawn = networks(3, *hidden, 1)
    kernels = empirical_kernel(drawn, POINTS, POINTS[:4] + 0.1)
    for run in range(2):
        module = Reference(drawn, run)
        parameters = dict(module.named_parameters())

        def jacobian(points, module=module, parameters=parameters):
            def output(parameters, x):
                return functional_call(module, parameters, (x,)).squeeze()

            slices = vmap(jacrev(output), (None, 0))(parameters, points)
            return torch.cat([part.flatten(1) for part in slices.values()], dim=1)

        gram = jacobian(POINTS) @ jacobian(POINTS[:4] + 0.1).T
        torch.testing.assert_close(kernels[run], gram.detach(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(network_outputs(drawn, POINTS)[run], module(POINTS).detach())


def test_empirical_kernel_tends_to_the_limit_and_outputs_to_the_process():
    """Mean over networks of width 300: the bias is of order 1/n, the error of the mean of order 1/√(n·runs)."""
    drawn = networks(3, 300, 300, 1, n_runs=60)
    limit = wide_network_kernels(POINTS, depth=3, bias_std=0.3)
    kernels = empirical_kernel(drawn, POINTS)
    torch.testing.assert_close(kernels.mean(dim=0), limit.ntk, rtol=0.1, atol=0.02)
    outputs = network_outputs(networks(3, 100, 100, 1, n_runs=1500, seed=1), POINTS)[..., 0]
    torch.testing.assert_close(outputs.T @ outputs / 1500, limit.nngp, rtol=0.15, atol=0.03)


def test_training_is_gradient_descent_by_autograd():
    drawn, targets = networks(3, 9, 5, 2), random(2, 6, 2, seed=3)
    trained = train(drawn, POINTS, targets, learning_rate=0.4, n_steps=7)
    for run in range(2):
        module = Reference(drawn, run)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.4)
        for _ in range(7):
            optimiser.zero_grad()
            (0.5 * (module(POINTS) - targets[run]).square().sum(dim=1).mean()).backward()
            optimiser.step()
        torch.testing.assert_close(trained.outputs[run, -1], module(POINTS).detach())
        torch.testing.assert_close(network_outputs(trained.networks, POINTS)[run], trained.outputs[run, -1])
    torch.testing.assert_close(trained.outputs[:, 0], network_outputs(drawn, POINTS))  # unchanged


def test_the_first_step_is_along_the_kernel_elsewhere_too():
    drawn, targets, elsewhere = networks(3, 40, 40, 1), random(6, 1, seed=4), random(5, 3, seed=5)
    rate = 1e-6
    moved = network_outputs(
        train(drawn, POINTS, targets, learning_rate=rate, n_steps=1).networks, elsewhere
    ) - network_outputs(drawn, elsewhere)
    kernel = empirical_kernel(drawn, elsewhere, POINTS)
    expected = -kernel @ (network_outputs(drawn, POINTS) - targets) / 6
    torch.testing.assert_close(moved / rate, expected, rtol=1e-4, atol=1e-6)


# --- The flow -----------------------------------------------------------------------------------------------------

KERNELS = wide_network_kernels(circle(ANGLES), depth=3, bias_std=0.5)
THERE = tensor([[1.5, -0.5], [0.2, 0.9]], dtype=torch.float64)
CROSS = wide_network_kernels(THERE, circle(ANGLES), depth=3, bias_std=0.5)
TARGETS = tensor([[1.0], [-0.5], [0.3], [2.0]], dtype=torch.float64)

# neural-tangents 0.6.5: predict.gradient_descent_mse_ensemble(kernel_fn, circle(ANGLES), TARGETS)(
#   t=t, x_test=THERE, get="ntk", compute_cov=True), for the three layers of its test in foundations.
LAWS = {
    3.0: (
        [0.23090638352765638, 0.8004636363816254],
        [0.12653661434712365, -0.008230341684358433, 0.03927382157842707],
    ),
    50.0: (
        [-0.6987424157994515, 1.2379752240687112],
        [0.05773356918694461, -0.009239543802857464, 0.009707961140118515],
    ),
    math.inf: (
        [-0.7026531303943577, 1.2384429143373281],
        [0.05760739024239403, -0.009230428115474698, 0.009702791476686401],
    ),
}


@pytest.mark.parametrize("time", LAWS)
def test_law_of_trained_networks_agrees_with_neural_tangents(time):
    prior = wide_network_kernels(THERE, depth=3, bias_std=0.5).nngp
    mean, covariance = kernel_flow(KERNELS.ntk).law(time, TARGETS, CROSS.ntk, KERNELS.nngp, CROSS.nngp, prior)
    expected_mean, expected = (tensor(part, dtype=torch.float64) for part in LAWS[time])
    torch.testing.assert_close(mean[:, 0], expected_mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(covariance[[0, 0, 1], [0, 1, 1]], expected, rtol=1e-6, atol=1e-9)


def test_at_infinity_the_flow_is_kernel_regression_by_scikit_learn():
    regression = KernelRidge(alpha=1e-12, kernel="precomputed").fit(KERNELS.ntk.numpy(), TARGETS.numpy())
    (found,) = kernel_flow(KERNELS.ntk).change(TARGETS, tensor([math.inf]), CROSS.ntk)
    torch.testing.assert_close(
        found, torch.as_tensor(regression.predict(CROSS.ntk.numpy())), rtol=1e-8, atol=1e-9
    )


def test_descent_is_that_of_the_linearised_model():
    """Features Φ with ΦΦᵀ = Θ, their weights by gradient descent, step by step."""
    features = random(6, 9, seed=6)
    there, targets = random(3, 9, seed=7), random(6, 2, seed=8)
    weights = torch.zeros(9, 2, dtype=torch.float64)
    flow = kernel_flow(features @ features.T, learning_rate=0.2)
    for _ in range(25):
        weights -= 0.2 * features.T @ (features @ weights - targets) / 6
    time = tensor([25 * 0.2], dtype=torch.float64)
    torch.testing.assert_close(flow.change(targets, time, there @ features.T)[0], there @ weights)
    torch.testing.assert_close(flow.change(targets, time)[0], features @ weights)


def test_repeated_points_move_as_the_flow_s_own_differential_equation():
    """A singular kernel; the matrix exponential of the augmented system."""
    points = POINTS[[0, 1, 2, 0, 4]]
    kernel = wide_network_kernels(points, depth=2, bias_std=0.3).ntk
    cross = wide_network_kernels(POINTS[3:], points, depth=2, bias_std=0.3).ntk
    wanted = random(5, 1, seed=9)
    system = torch.zeros(8, 8, dtype=torch.float64)  # of the error on the data, and the change elsewhere
    system[:5, :5], system[5:, :5] = -kernel / 5, cross / 5
    for time in (0.7, 40.0):
        error, change = (torch.matrix_exp(time * system)[:, :5] @ wanted).split([5, 3])
        flow, times = kernel_flow(kernel), tensor([time], dtype=torch.float64)
        torch.testing.assert_close(flow.change(wanted, times)[0], wanted - error, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(flow.change(wanted, times, cross)[0], change, rtol=1e-9, atol=1e-9)
    (last,) = kernel_flow(kernel).change(wanted, tensor([math.inf]), cross)
    expected = cross @ torch.linalg.pinv(kernel, rtol=1e-12) @ wanted
    torch.testing.assert_close(last, expected, rtol=1e-8, atol=1e-9)


def test_a_wide_network_follows_the_flow_and_a_narrow_one_less():
    points, grid = circle(ANGLES), circle(torch.linspace(-3, 3, 20, dtype=torch.float64))
    targets = product_of_coordinates(points)
    flow = kernel_flow(wide_network_kernels(points, depth=3, bias_std=0.1).ntk, learning_rate=1.0)
    cross = wide_network_kernels(grid, points, depth=3, bias_std=0.1).ntk
    gaps = []
    for width in (30, 480):
        drawn = networks(2, width, width, 1, n_runs=6, bias_std=0.1, seed=width)
        trained = network_outputs(train(drawn, points, targets, learning_rate=1.0, n_steps=30).networks, grid)
        start = network_outputs(drawn, points)
        moved = torch.stack([flow.change(targets - s, tensor([30.0]), cross)[0] for s in start])
        gaps.append((trained - network_outputs(drawn, grid) - moved).square().mean().sqrt().item())
    assert gaps[1] < 0.06
    assert gaps[1] < 0.5 * gaps[0]


# --- Problems and rivals ------------------------------------------------------------------------------------------


def test_images_come_to_the_sphere():
    images = random(20, 9) + 5
    on_sphere = to_sphere(images)
    torch.testing.assert_close(on_sphere.square().mean(dim=1), torch.ones(20).double())
    centred = images - images.mean(dim=0)
    torch.testing.assert_close(torch.cosine_similarity(on_sphere, centred), torch.ones(20).double())


def test_kernel_ridge_agrees_with_scikit_learn():
    points, there, targets = random(12, 3), random(5, 3, seed=1), random(12, 2, seed=2)
    kernel, cross = (torch.cdist(x, points).square().div(-1.28).exp() for x in (points, there))
    found = kernel_ridge(kernel, cross, targets, tensor([1e-3, 0.1]).double())
    for penalty, ours in zip((1e-3, 0.1), found, strict=True):
        peer = KernelRidge(alpha=12 * penalty, kernel="rbf", gamma=1 / (2 * 0.64)).fit(points, targets)
        torch.testing.assert_close(ours, torch.as_tensor(peer.predict(there)), rtol=1e-4, atol=1e-6)


# --- The experiment's parts ---------------------------------------------------------------------------------------

LINEAR = experiment.Shape(1, 0.4, n_inputs=3)  # without hidden layers, where all is exact at any width


def streams(*names):
    return seeded(names[1])


def test_conditional_covariance_is_that_over_draws_of_the_last_layer():
    drawn = networks(3, 7, 5, 1, n_runs=1)
    last = networks(3, 7, 5, 4000, n_runs=1, seed=5)  # as many draws of one unit
    many = tangent.Networks(
        (*drawn.weights[:-1], last.weights[-1]), (*drawn.biases[:-1], last.biases[-1]), drawn.bias_std
    )
    outputs = network_outputs(many, POINTS)[0]
    covariance = conditional_covariance(drawn, POINTS)[0]
    torch.testing.assert_close(outputs @ outputs.T / 4000, covariance, rtol=0.15, atol=0.02)


def test_networks_without_hidden_layers_end_where_the_flow_says():
    grid, targets = random(5, 3, seed=1), random(6, 1, seed=2)
    flow = kernel_flow(LINEAR.tangent_kernel(POINTS), learning_rate=0.5)
    trained, predicted = experiment.networks_beside_flow(
        flow,
        POINTS,
        targets,
        grid,
        LINEAR.tangent_kernel(grid, POINTS),
        LINEAR.batches(9, 4, streams),
        learning_rate=0.5,
        n_steps=12,
    )
    torch.testing.assert_close(trained, predicted, rtol=1e-4, atol=1e-5)
    assert (trained[0] - trained[1]).abs().max() > 0.05  # each from its own start


def test_their_modes_decay_by_their_eigenvalues():
    found = experiment.decay_of_modes(
        POINTS, LINEAR, [1, 3], 9, 2, streams, amplitude=0.3, learning_rate=0.5, n_steps=20
    )
    torch.testing.assert_close(found.networks, found.flow.expand(2, -1, -1), rtol=1e-3, atol=1e-4)
    rates, theirs = found.rates()
    torch.testing.assert_close(theirs, rates.expand(2, -1), rtol=1e-3, atol=1e-4)
    assert (rates >= found.eigenvalues).all()  # −log(1 − ηλ)/η is more than λ
    torch.testing.assert_close(rates, found.eigenvalues, rtol=0.3, atol=0)


def test_their_kernels_neither_err_nor_drift_and_larger_goals_move_others_more():
    errors = experiment.errors_at_start(POINTS, LINEAR, [4], 3, streams)
    assert errors["tangent kernel"].max() < 1e-6
    options = {"learning_rate": 0.5, "n_steps": 20}
    goal = random(6, 1, seed=3)
    still = experiment.drift_in_training(POINTS, goal, LINEAR, [4], 3, streams, **options)
    assert still.change.max() < 1e-6
    torch.testing.assert_close(still.growth, torch.ones(3, 1))
    deep = experiment.Shape(2, 0.4, n_inputs=3)
    plain, growing = (
        experiment.drift_in_training(
            POINTS, goal, deep, [16, 256], 3, streams, target_power=power, **options
        ).change
        for power in (0.0, 0.5)
    )
    torch.testing.assert_close(plain[:, 0], growing[:, 0])
    assert growing[:, 1].mean() > 1.5 * plain[:, 1].mean()


def test_slopes_and_shares_of_known_numbers():
    widths = [10, 20, 80]
    powers = torch.stack([3 * torch.tensor(widths).double() ** p for p in (-0.5, 2.0)])
    torch.testing.assert_close(experiment.log_slopes(widths, powers), tensor([-0.5, 2.0]).double())
    normal = random(400, 60)
    covariance = torch.diag(torch.cat([torch.full((30,), 4.0), torch.full((30,), 1e-6)]).double())
    normal[:, :30] *= 2
    shares = experiment.share_in_central_interval(normal + 1, torch.ones(60).double(), covariance, least=0.1)
    assert shares.mean().item() == pytest.approx(0.8, abs=0.02)


def test_labels_are_wrong_where_one_may_look_and_strength_is_chosen_there():
    labels = torch.zeros(3000, dtype=torch.int64)
    split = experiment.split_with_wrong_labels(random(3000, 2), labels, (1000, 1000), 0.3, seeded())
    for part, share in ((split.train, 0.27), (split.validation, 0.27), (split.test, 0.0)):
        assert (part[1] != 0).double().mean().item() == pytest.approx(share, abs=0.04)
    path = experiment.Path(tensor([0.2, 0.7, 0.4]), tensor([0.5, 0.6, 0.9]))
    assert path.chosen.item() == pytest.approx(0.6)
    assert experiment.accuracies(torch.eye(3)[None], tensor([0, 1, 1])).item() == pytest.approx(2 / 3)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_what_cannot_be_trained_is_refused():
    drawn = networks(3, 4, 1)
    with pytest.raises(ValueError, match="the number of widths must be at least 2; got 1"):
        draw_networks([3])
    with pytest.raises(ValueError, match="the smallest of widths must be at least 1; got 0"):
        draw_networks([3, 0, 1])
    with pytest.raises(ValueError, match=r"bias_std must be at least 0; got -0\.1"):
        draw_networks([3, 1], bias_std=-0.1)
    with pytest.raises(ValueError, match=r"inputs must be \(n, 3\), as the networks take them; got \(6,\)"):
        network_outputs(drawn, POINTS[:, 0])
    with pytest.raises(ValueError, match=r"others must be \(n, 3\)"):
        empirical_kernel(drawn, POINTS, POINTS[:, :2])
    with pytest.raises(ValueError, match="networks must have one output; got 2"):
        empirical_kernel(networks(3, 2), POINTS)
    with pytest.raises(ValueError, match=r"targets must be \(6, 1\) or \(2, 6, 1\); got \(6,\)"):
        train(drawn, POINTS, POINTS[:, 0], learning_rate=0.1, n_steps=1)
    with pytest.raises(FloatingPointError, match="training diverged; learning_rate must be smaller than 100"):
        train(drawn, POINTS, POINTS[:, :1], learning_rate=100.0, n_steps=500)


@pytest.mark.bad_input
def test_what_is_no_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel must be \(n, n\); got \(4, 3\)"):
        kernel_flow(KERNELS.ntk[:, :3])
    with pytest.raises(ValueError, match="kernel must be symmetric, and not zero"):
        kernel_flow(torch.zeros(3, 3))
    with pytest.raises(
        ValueError, match=r"positive semidefinite; got eigenvalues of kernel/n from -0\.5 to 0\.5"
    ):
        kernel_flow(tensor([[1.0, 0.0], [0.0, -1.0]]))
    with pytest.raises(ValueError, match=r"learning_rate must be below 2/λ_1 = 4 \(λ_1 = 0\.5\); got 5"):
        kernel_flow(torch.eye(2), learning_rate=5.0)
    with pytest.raises(ValueError, match="times must not be negative; got -1"):
        kernel_flow(torch.eye(2)).kept(tensor([1.0, -1.0]))


@pytest.mark.bad_input
def test_rivals_and_problems_refuse():
    with pytest.raises(ValueError, match="penalties must not be negative; got -1"):
        kernel_ridge(KERNELS.ntk, CROSS.ntk, TARGETS, tensor([-1.0]))
    with pytest.raises(ValueError, match="images must differ from their mean"):
        to_sphere(torch.ones(3, 4))
    with pytest.raises(ValueError, match="points must be"):
        tangent.product_of_coordinates(POINTS[:, :1])
