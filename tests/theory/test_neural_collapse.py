"""Neural collapse against automatic differentiation, SciPy's minimisers, torch's optimisers and closed forms."""

import math

import pytest
import torch
from scipy.optimize import minimize
from torch import nn, tensor

from regularity.theory.neural_collapse import (
    FeatureModel,
    block_spectrum,
    central_path,
    collapse_rates,
    collapsed_minimiser,
    draw_networks,
    experiment,
    features_of,
    first_order,
    minimise,
    minimise_by_lbfgs,
    near_collapse_response,
    neural_collapse_metrics,
    objective,
    one_hot_targets,
    perturbation_operator,
    train_networks,
)
from tests.draws import random, seeded

K, D, PER_CLASS = 3, 5, 4
LABELS = torch.arange(K).repeat(PER_CLASS)  # not in order: 0, 1, 2, 0, 1, 2, ...
TARGETS = one_hot_targets(LABELS, len(LABELS))
BASIS = torch.linalg.qr(random(D, K, seed=1))[0].T
MODEL = FeatureModel(0.5, 0.2, 3.0)
INPUTS = random(K * PER_CLASS, D, seed=2) + 0.5 * TARGETS @ random(K, D, seed=3)


def close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def nc1(features):
    return neural_collapse_metrics(features, LABELS).nc1_trace


# --- Measures -----------------------------------------------------------------------------------------------------


def test_a_simplex_has_collapsed():
    """Any simplex, turned and moved: all three measures are zero; orthogonal means centre to one."""
    simplex = torch.eye(K).double() - 1 / K
    for means in (7 * simplex @ BASIS + random(D, seed=4), BASIS):
        found = neural_collapse_metrics(TARGETS @ means, LABELS)
        for measure in (found.nc1_trace, found.nc1, found.nc2):
            assert abs(measure.item()) < 1e-14
    stretched = neural_collapse_metrics(TARGETS @ (BASIS * tensor([1.0, 1.0, 3.0])[:, None]), LABELS)
    assert stretched.nc1.item() < 1e-14
    assert stretched.nc2.item() > 0.1


def test_measures_of_a_gaussian_of_known_scatter():
    """Variance s² in each of d coordinates about orthonormal means: Σ_W = s²I, Σ_B has K − 1 eigenvalues 1/K."""
    labels = torch.arange(K).repeat_interleave(4000)
    features = one_hot_targets(labels, len(labels)) @ BASIS + 0.3 * random(len(labels), D, seed=5)
    found = neural_collapse_metrics(features, labels)
    assert found.nc1_trace.item() == pytest.approx(0.09 * D / ((K - 1) / K), rel=0.03)
    assert found.nc1.item() == pytest.approx(0.09 * (K - 1), rel=0.03)
    both = neural_collapse_metrics(torch.stack([features, 2 * features]), labels)
    close(both.nc1, found.nc1.expand(2))  # two networks at once, and scale does not matter


# --- The model ----------------------------------------------------------------------------------------------------


def by_lbfgs(model, inputs, start):
    """Minimise over features and head together, with SciPy and autograd."""
    sizes = [inputs.numel(), K * D]

    def value(flat):
        point = torch.tensor(flat, requires_grad=True)
        features, head = point.split(sizes)
        loss = objective(features.reshape(-1, D), head.reshape(K, D), inputs, TARGETS, model)
        (gradient,) = torch.autograd.grad(loss, point)
        return loss.item(), gradient.numpy()

    options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10, "maxfun": 10000}
    found = minimize(value, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    return found.fun, torch.from_numpy(found.x[: sizes[0]]).reshape(-1, D)


@pytest.mark.parametrize("prices", [(0.5, 0.2), (0.05, 0.3)])
def test_without_inputs_scipy_collapses_at_the_closed_form(prices):
    """From random starts to the least value c − c²/2, with NC1 and NC2 of zero."""
    model = FeatureModel(*prices)
    base = collapsed_minimiser(BASIS, LABELS, model)
    c = math.sqrt(prices[0] * prices[1])
    ours = objective(base.features, base.head, INPUTS, TARGETS, model).item()
    assert ours == pytest.approx(c - c * c / 2, rel=1e-12)
    for seed in (6, 7):
        least, features = by_lbfgs(model, INPUTS, random(K * PER_CLASS * D + K * D, seed=seed))
        assert least == pytest.approx(ours, rel=1e-8)
        found = neural_collapse_metrics(features, LABELS)
        assert found.nc1_trace.item() < 1e-8
        assert found.nc2.item() < 1e-3


def test_turns_end_where_scipy_ends():
    for beta in (1.0, 30.0):
        model = FeatureModel(0.5, 0.2, beta)
        found = minimise(INPUTS, LABELS, model)
        start = torch.cat([INPUTS.flatten(), found.head.flatten() * 0.5])
        least, features = by_lbfgs(model, INPUTS, start)
        assert objective(found.features, found.head, INPUTS, TARGETS, model).item() <= least * (1 + 1e-12)
        close(features, found.features, 1e-5)
        assert nc1(found.features) > 0.1  # and does not collapse


def test_a_minimiser_is_an_implicit_euler_step_of_the_central_path():
    """β(H − H_0) = −n∇L(H), the gradient by autograd through the best head."""
    found = minimise(INPUTS, LABELS, MODEL)
    gram = found.features.T @ found.features

    def least_over_heads(features):
        ridge = PER_CLASS * MODEL.lambda_w * torch.eye(D).double()
        head = torch.linalg.solve(features.T @ features + ridge, features.T @ TARGETS).T
        return objective(features, head, features, TARGETS, MODEL)

    gradient = torch.func.grad(least_over_heads)(found.features)
    close(MODEL.beta * (found.features - INPUTS), -len(LABELS) * gradient)
    close(found.head @ (gram + PER_CLASS * 0.5 * torch.eye(D).double()), TARGETS.T @ found.features)


def test_limits_of_the_model():
    far = minimise(INPUTS, LABELS, FeatureModel(0.5, 0.2, 1e9)).features
    close(far, INPUTS, 1e-7)
    base = collapsed_minimiser(BASIS, LABELS, MODEL)
    close(minimise(base.features, LABELS, MODEL).features, base.features)  # Corollary 2.2
    # inputs of next to nothing: the plain model with λ_H + β in place of λ_H
    free = minimise(1e-9 * INPUTS, LABELS, FeatureModel(0.5, 0.2, 0.3))
    plain = FeatureModel(0.5, 0.5)
    value = objective(free.features, free.head, INPUTS, TARGETS, plain).item()
    assert value == pytest.approx(plain.c - plain.c**2 / 2, rel=1e-6)
    nothing = minimise(INPUTS, LABELS, FeatureModel(2.0, 0.6)).features  # λ_H λ_W > 1
    assert nothing.abs().max() < 1e-6


def test_turned_and_reordered_inputs_give_turned_and_reordered_features():
    turn = torch.linalg.qr(random(D, D, seed=8))[0]
    found = minimise(INPUTS, LABELS, MODEL).features
    close(minimise(INPUTS @ turn, LABELS, MODEL).features, found @ turn, 1e-8)
    order = torch.randperm(len(LABELS), generator=seeded())
    close(minimise(INPUTS[order], LABELS[order], MODEL).features, found[order], 1e-8)
    close(minimise(INPUTS, (LABELS + 1) % K, MODEL).features, found, 1e-8)
    assert nc1(found @ turn).item() == pytest.approx(nc1(found).item())


# --- The central path ---------------------------------------------------------------------------------------------


def test_the_path_is_many_small_steps_and_sheds_scatter_as_theorem_3_1_says():
    model, times = FeatureModel(0.3, 0.15), torch.linspace(0, 6, 13).double()
    path = central_path(INPUTS, LABELS, model, times)
    close(path[0], INPUTS)
    ends = []
    for n_steps in (60, 120):  # implicit Euler, each step one minimiser of the model with β = 1/step
        features = INPUTS
        for _ in range(n_steps):
            model_of_step = FeatureModel(0.3, 0.15, n_steps / 6)
            features = minimise(features, LABELS, model_of_step, tolerance=1e-9).features
        ends.append(features)
    close(path[-1], 2 * ends[1] - ends[0], 1e-3)  # Richardson's extrapolation to steps of no length
    means = PER_CLASS**-1 * TARGETS.T @ path
    within = (path - TARGETS @ means).square().sum(dim=(1, 2))
    between = (means - means.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    growth = torch.exp(2 * 0.15 * times)
    assert (nc1(path).diff() < 0).all()
    assert ((growth * within).diff() < 0).all()
    assert ((growth * between).diff() > 0).all()


def test_rates_are_the_paths_own_derivatives_and_lambda_h_drops_out():
    model, h = FeatureModel(0.3, 0.15), 1e-4
    path = central_path(INPUTS, LABELS, model, tensor([0.0, h, 2 * h]).double())
    means = PER_CLASS**-1 * TARGETS.T @ path
    within = (path - TARGETS @ means).square().sum(dim=(1, 2)).log()
    between = (means - means.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2)).log()
    rates = collapse_rates(path[1], LABELS, model)
    assert rates.within.item() == pytest.approx(((within[2] - within[0]) / (2 * h)).item(), rel=1e-6)
    assert rates.between.item() == pytest.approx(((between[2] - between[0]) / (2 * h)).item(), rel=1e-6)
    other = collapse_rates(path[1], LABELS, FeatureModel(0.3, 5.0))
    close(other.nc1_trace, rates.nc1_trace)


def test_corollary_3_2_minimisers_are_nearer_to_collapse_at_the_rate_of_the_flow():
    slope = nc1(INPUTS) * collapse_rates(INPUTS, LABELS, MODEL).nc1_trace
    for beta in (1.0, 10.0, 1e4):
        change = nc1(minimise(INPUTS, LABELS, FeatureModel(0.5, 0.2, beta)).features) - nc1(INPUTS)
        assert change < 0
    assert (beta * change).item() == pytest.approx(slope.item(), rel=1e-3)


def test_out_of_the_heads_span_scatter_decays_by_lambda_h_alone():
    """With more features than classes exp(2 λ_H t) tr Σ_W tends to a positive constant."""
    times = tensor([0.0, 60.0, 80.0]).double()
    path = central_path(INPUTS, LABELS, FeatureModel(0.3, 0.1), times)
    within = (path - TARGETS @ (PER_CLASS**-1 * TARGETS.T @ path)).square().sum(dim=(1, 2))
    kept = torch.exp(0.2 * times) * within
    assert kept[2].item() == pytest.approx(kept[1].item(), rel=1e-3)
    assert 0.01 * kept[0] < kept[2] < 0.9 * kept[0]


# --- Near collapse ------------------------------------------------------------------------------------------------


def test_operator_is_the_derivative_of_the_minimiser_where_nothing_has_collapsed():
    found = minimise(INPUTS, LABELS, MODEL)
    operator = perturbation_operator(found.features, found.head, LABELS, MODEL)
    change = 1e-4 * random(len(LABELS), D, seed=9)
    ahead, behind = (minimise(INPUTS + sign * change, LABELS, MODEL).features for sign in (1, -1))
    close((ahead - behind).flatten() / 2e-4, operator @ change.flatten() / 1e-4, 1e-6)


@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(math.sqrt(2), 0.3), (0.1, 0.5)])
def test_near_collapse_five_numbers_say_all(lambda_w, lambda_h):
    """Closed form against the Schur complement of the Hessian, and against the minimiser itself."""
    model = FeatureModel(lambda_w, lambda_h, 4.0)
    base = collapsed_minimiser(BASIS, LABELS, model)
    operator = perturbation_operator(base.features, base.head, LABELS, model)
    change = random(len(LABELS), D, seed=10)
    answer = near_collapse_response(change, BASIS, LABELS, model)
    close((operator @ change.flatten()).reshape(answer.shape), answer)
    errors = [
        (minimise(base.features + size * change, LABELS, model).features - base.features) / size - answer
        for size in (1e-3, 5e-4)
    ]
    assert errors[1].norm() < 1e-3 * answer.norm()
    assert (errors[1].norm() / errors[0].norm()).item() == pytest.approx(0.5, abs=0.05)


def test_theorem_4_2_spectrum_and_cross_blocks():
    model = FeatureModel(math.sqrt(2), 0.3, 100.0)
    labels = LABELS.sort().values
    base = collapsed_minimiser(BASIS, labels, model)
    operator = first_order(perturbation_operator(base.features, base.head, labels, model))
    blocks = operator.reshape(K, PER_CLASS * D, K, PER_CLASS * D).permute(0, 2, 1, 3)
    expected = block_spectrum(model, n_samples=PER_CLASS, n_features=D, n_classes=K)
    for k in range(K):
        close(torch.linalg.svdvals(blocks[k, k]), expected)
    assert expected[0].item() == pytest.approx(1)
    assert expected[-1].item() == pytest.approx(1 - math.sqrt(0.3 / math.sqrt(2)) / 100)
    cross = torch.linalg.svdvals(blocks[0, 2])
    assert cross[0].item() == pytest.approx(2 * 0.3 * (1 - model.c) / 100, abs=1e-12)
    assert cross[1] < 1e-14


# --- Networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squares", "cross_entropy"])
def test_training_is_torchs_own_for_each_network(loss):
    """Momentum, coupled weight decay by group, both drops of the rate; a network of torch's modules as the oracle."""
    drawn = draw_networks([6, 5, 4, K], n_runs=2, generator=seeded())
    inputs, labels = random(2, 9, 6).float(), torch.arange(18).reshape(2, 9) % K
    decays = {"feature_decay": tensor([0.02, 0.3]), "head_decay": tensor([0.1, 0.0])}
    trained = train_networks(drawn, inputs, labels, learning_rate=0.2, n_steps=20, loss=loss, **decays)
    for run in range(2):
        layers = [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, K, bias=False)]
        with torch.no_grad():
            for layer, weights in zip(layers, drawn.weights, strict=True):
                layer.weight.copy_(weights[run].T)
            for layer, biases in zip(layers, drawn.biases, strict=False):
                layer.bias.copy_(biases[run])
        body = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU())
        groups = [
            {"params": body.parameters(), "weight_decay": decays["feature_decay"][run].item()},
            {"params": layers[2].parameters(), "weight_decay": decays["head_decay"][run].item()},
        ]
        optimiser = torch.optim.SGD(groups, lr=0.2, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [12, 17])
        for _ in range(20):
            outputs = layers[2](body(inputs[run]))
            targets = nn.functional.one_hot(labels[run], K).float()
            squares = 0.5 * (outputs - targets).square().sum(dim=1).mean()
            value = squares if loss == "squares" else nn.functional.cross_entropy(outputs, labels[run])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
        close(features_of(trained, inputs)[run], body(inputs[run]).detach(), 1e-5)
        close(trained.weights[-1][run], layers[2].weight.T.detach(), 1e-5)


def test_batches_visit_every_image_once_an_epoch():
    """With a rate so small that gradients add up, an epoch of batches is as many steps with all images."""
    drawn = draw_networks([6, 5, K], n_runs=1, generator=seeded())
    inputs, labels = random(1, 12, 6).float(), torch.arange(12)[None] % K
    options = {
        "feature_decay": tensor([0.0]),
        "head_decay": tensor([0.0]),
        "learning_rate": 1e-3,
        "n_steps": 300,
    }
    whole = train_networks(drawn, inputs, labels, **options)
    parts = train_networks(drawn, inputs, labels, batch_size=4, generator=seeded(), **options)
    moved = (whole.weights[0] - drawn.weights[0]).norm()
    assert (whole.weights[0] - parts.weights[0]).norm() < 0.05 * moved
    assert (whole.weights[0] - parts.weights[0]).norm() > 0


# --- The rival, and the experiment's parts ------------------------------------------------------------------------


def test_the_rival_stops_where_the_gradient_by_autograd_is_zero():
    found = minimise_by_lbfgs(INPUTS, LABELS, MODEL, random(K, D, seed=11))
    value = lambda features, head: objective(features, head, INPUTS, TARGETS, MODEL)  # noqa: E731
    gradients = torch.func.grad(value, argnums=(0, 1))(found.features, found.head)
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-8
    close(found.features, minimise(INPUTS, LABELS, MODEL).features, 1e-6)


def plain_turns(inputs, labels, model, n_sweeps):
    """Turns by hand, without extrapolation; the features and how many turns they took to stand still."""
    targets = one_hot_targets(labels, len(labels))
    features, identity = inputs, torch.eye(inputs.shape[1]).double()
    for sweep in range(n_sweeps):  # noqa: B007
        before = features
        gram = features.T @ features + len(labels) / targets.shape[1] * model.lambda_w * identity
        head = torch.linalg.solve(gram, features.T @ targets).T
        curvature = head.T @ head + (model.lambda_h + model.beta) * identity
        features = torch.linalg.solve(curvature, (targets @ head + model.beta * inputs).T).T
        if (features - before).abs().max() < 1e-11:
            break
    return features, head, sweep


def test_slow_turns_are_extrapolated_to_the_same_place():
    """Inputs with a weak pull."""
    model = FeatureModel(0.05, 0.02, 0.05)
    found = minimise(INPUTS, LABELS, model)
    features, _, n_sweeps = plain_turns(INPUTS, LABELS, model, 5000)
    close(found.features, features, 1e-7)
    assert found.n_sweeps < 0.7 * n_sweeps


def test_extrapolation_does_not_lead_astray():
    """Cases where it would raise the objective: one ends higher up and one nowhere, unless it is watched."""
    model, labels = FeatureModel(0.1, 0.36, 0.25), torch.arange(4).repeat(4)
    targets = one_hot_targets(labels, 16)
    for seed, size in ((17, 0.3), (36, 1.0)):
        inputs = size * random(16, 5, seed=seed)
        found = minimise(inputs, labels, model, max_sweeps=400)
        features, head, _ = plain_turns(inputs, labels, model, 2000)
        plain = objective(features, head, inputs, targets, model).item()
        assert objective(found.features, found.head, inputs, targets, model).item() < plain * (1 + 1e-6)


def streams(*names):
    return seeded(sum(len(str(name)) + 7 * (name if isinstance(name, int) else 0) for name in names))


def test_images_come_in_equal_classes_without_their_mean():
    images, labels = experiment.draw_sets("digits", 2, 6, streams)
    assert images.shape == (2, 60, 64)
    assert torch.bincount(labels[1]).tolist() == [6] * 10
    assert images.mean(dim=1).abs().max() < 1e-6
    assert (images[0] - images[1]).abs().max() > 0.1
    layer = experiment.random_features(images[0].repeat(1, 8), seeded())
    share = layer.square().mean() / images[0].square().mean()  # weights of variance 2/d keep mean squares
    assert share.item() == pytest.approx(1, abs=0.15)


def test_a_path_that_is_known_is_measured_rightly():
    """Deviations fall as exp(−1.5t) and means as exp(−0.5t): with λ_H = 0.5 the means' trace stands still."""
    times = torch.linspace(0, 2, 5).double()
    means, deviations = TARGETS @ BASIS, INPUTS - TARGETS @ (TARGETS.T @ INPUTS / PER_CLASS)
    path = (
        torch.exp(-0.5 * times)[:, None, None] * means + torch.exp(-1.5 * times)[:, None, None] * deviations
    )
    found = experiment.scatters(path, LABELS, 0.5, times)
    close(found.ratio / found.ratio[0], torch.exp(-2 * times))
    close(found.within / found.within[0], torch.exp(-2 * times))
    close(found.between, torch.full((5,), (K - 1) / K, dtype=torch.float64))
    assert found.ratio_share() == pytest.approx(math.exp(-4))
    assert abs(found.worst_step()) < 1e-12  # that of the means, which must rise and does not
    assert experiment.scatters(path, LABELS, 0.4, times).worst_step() > 0.01


def test_doubled_prices_do_near_collapse_what_the_five_numbers_say():
    near = experiment.NearCollapse(3, 6, 400, seeded())
    model = FeatureModel(1.4, 0.1, 50.0)
    found = experiment.doubling_effects(lambda changed: near.inputs(changed, 1e-3), near.labels, model)

    def logarithm(lambda_w, lambda_h):  # half of the directions lie in the span of three means
        kept = [(1 + tau / 50) ** -2 for tau in (math.sqrt(lambda_h / lambda_w), lambda_h)]
        return math.log(sum(kept) / 2)

    for name, prices in {"λ_H": (1.4, 0.2), "λ_W": (2.8, 0.1)}.items():
        expected = logarithm(*prices) - logarithm(1.4, 0.1)
        assert found[name] == pytest.approx(expected, rel=0.05)
    assert near.error_of_response(model, 1e-4) < 1e-6
    blocks = experiment.NearCollapse(2, 3, 2, seeded()).first_order_blocks(model)
    expected = block_spectrum(model, n_samples=2, n_features=3, n_classes=2)
    close(torch.linalg.svdvals(blocks[1, 1]), expected)
    close(blocks[0, 1], blocks[1, 0].T)


def test_layers_of_the_model_are_minimisers_of_minimisers():
    found = experiment.ratios_of_layers(INPUTS, LABELS, MODEL, 2)
    once = minimise(INPUTS, LABELS, MODEL).features
    twice = minimise(once, LABELS, MODEL).features
    close(found, torch.stack([nc1(INPUTS), nc1(once), nc1(twice)]))
    several = experiment.ratios_of_minimisers(INPUTS, LABELS, MODEL, [3.0, 9.0])
    close(several[0], nc1(once))
    assert several[1] > several[0]


def test_layer_by_layer_training_brings_features_nearer_and_random_layers_do_not():
    images, labels = experiment.draw_sets("digits", 2, 20, streams)
    options = {"width": 32, "n_layers": 2, "decay": 5e-4, "stream": streams}
    training = {"learning_rate": 0.02, "n_steps": 80, "batch_size": 50}
    found = experiment.layerwise_collapse(images, labels, **options, **training)
    assert (found["trained"].nc1_trace.diff(dim=0) < 0).all()
    assert (found["random"].nc1_trace[-1] > found["trained"].nc1_trace[-1]).all()
    for run in range(2):
        pixels = neural_collapse_metrics(images[run], labels[run])
        close(found["trained"].nc1[0, run], pixels.nc1)


def test_each_setting_has_its_decays_and_all_start_alike():
    """Two of the settings again, each trained on its own from the same draw."""
    images, labels = experiment.draw_sets("digits", 2, 5, streams)
    training = {"learning_rate": 0.1, "n_steps": 60}
    found, right = experiment.collapse_by_decay(
        images,
        labels,
        hidden=[8],
        decay=0.05,
        settings=list(experiment.DECAYS),
        generator=seeded(),
        **training,
    )
    drawn = draw_networks([64, 8, 10], n_runs=2, generator=seeded())
    for row, (of_features, of_head) in {1: (0.1, 0.05), 4: (0.05, 0.0)}.items():
        decays = {"feature_decay": torch.full((2,), of_features), "head_decay": torch.full((2,), of_head)}
        trained = train_networks(drawn, images, labels, **decays, **training)
        features = features_of(trained, images)
        close(found.nc1_trace[row], neural_collapse_metrics(features, labels[0]).nc1_trace, 1e-4)
        answers = (features @ trained.weights[-1]).argmax(dim=2)
        close(right[row], (answers == labels).double().mean(dim=1))


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_what_the_model_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"lambda_w must be positive and finite; got 0\.0"):
        FeatureModel(0.0, 0.1)
    with pytest.raises(ValueError, match=r"lambda_h must be at least 0; got -0\.1"):
        FeatureModel(0.1, -0.1)
    with pytest.raises(ValueError, match="beta must be finite; got NaN or infinity"):
        FeatureModel(0.1, 0.1, math.inf)
    with pytest.raises(ValueError, match=r"lambda_h \+ beta of model must be positive and finite; got 0"):
        minimise(INPUTS, LABELS, FeatureModel(0.1, 0.0))
    with pytest.raises(
        ValueError, match=r"labels must be 0 to k − 1 .* equally often; got counts \[4, 4, 3, 1\]"
    ):
        minimise(INPUTS, torch.cat([LABELS[:-1], tensor([3])]), MODEL)
    with pytest.raises(ValueError, match=r"labels must be 12 whole numbers; got torch.float32"):
        minimise(INPUTS, LABELS.float(), MODEL)
    with pytest.raises(FloatingPointError, match="heads still move after 2 sweeps"):
        minimise(INPUTS, LABELS, MODEL, max_sweeps=2)
    with pytest.raises(ValueError, match="features must have class means that differ"):
        neural_collapse_metrics(INPUTS - TARGETS @ (TARGETS.T @ INPUTS / PER_CLASS), LABELS)
    with pytest.raises(ValueError, match="features must have scatter within classes"):
        collapse_rates(TARGETS @ BASIS, LABELS, MODEL)
    with pytest.raises(ValueError, match=r"times must be a row of increasing numbers; got \[1\.0, 0\.5\]"):
        central_path(INPUTS, LABELS, MODEL, tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match="times reach too far for these inputs: over 50 evaluations"):
        central_path(INPUTS, LABELS, MODEL, tensor([1e6]), max_evaluations=50)


@pytest.mark.bad_input
def test_where_there_is_no_collapse_near_it_is_refused():
    for lambda_h in (0.0, 2.0, 5.0):
        with pytest.raises(ValueError, match="model must have λ_H λ_W between 0 and 1"):
            collapsed_minimiser(BASIS, LABELS, FeatureModel(0.5, lambda_h))
    with pytest.raises(ValueError, match=r"basis must be 3 rows of at least 3 numbers; got \(3, 2\)"):
        collapsed_minimiser(BASIS[:, :2], LABELS, MODEL)
    with pytest.raises(ValueError, match="basis must have rows that are orthonormal"):
        collapsed_minimiser(2 * BASIS, LABELS, MODEL)
    with pytest.raises(ValueError, match="beta of model must be positive"):
        near_collapse_response(INPUTS, BASIS, LABELS, FeatureModel(0.5, 0.2))
    with pytest.raises(ValueError, match="basis must have 4 columns; got 5"):
        near_collapse_response(INPUTS[:, :4], BASIS, LABELS, MODEL)
    with pytest.raises(ValueError, match="n_features must be at least 3; got 2"):
        block_spectrum(MODEL, n_samples=2, n_features=2, n_classes=3)
    with pytest.raises(ValueError, match=r"head must be \(3, 5\), classes by features; got \(3, 4\)"):
        perturbation_operator(INPUTS, BASIS[:, :4], LABELS, MODEL)
    with pytest.raises(ValueError, match="operator must have an inverse"):
        first_order(torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"operator must be square; got \(3, 2\)"):
        first_order(torch.zeros(3, 2))


@pytest.mark.bad_input
def test_networks_that_cannot_be_trained_are_refused():
    drawn = draw_networks([6, 5, K], n_runs=2, generator=seeded())
    inputs, labels = random(2, 9, 6), torch.arange(18).reshape(2, 9) % K
    good = {"feature_decay": torch.zeros(2), "head_decay": torch.zeros(2), "learning_rate": 0.1, "n_steps": 3}
    with pytest.raises(ValueError, match="the number of widths must be at least 3; got 2"):
        draw_networks([6, K], n_runs=1)
    with pytest.raises(
        ValueError, match="loss must be one of 'squares', 'cross_entropy'; got 'square'; did you"
    ):
        train_networks(drawn, inputs, labels, loss="square", **good)
    with pytest.raises(ValueError, match="head_decay must not be negative; got -1"):
        train_networks(drawn, inputs, labels, **good | {"head_decay": tensor([0.0, -1.0])})
    with pytest.raises(ValueError, match=r"feature_decay must be one number a network, 2; got shape \(3,\)"):
        train_networks(drawn, inputs, labels, **good | {"feature_decay": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"labels must be \(2, 9\); got \(9,\)"):
        train_networks(drawn, inputs, labels[0], **good)
    with pytest.raises(ValueError, match=r"inputs must have 6 columns; got shape \(2, 9, 4\)"):
        features_of(drawn, inputs[:, :, :4])
    with pytest.raises(
        FloatingPointError, match="training diverged; learning_rate must be smaller than 1000"
    ):
        train_networks(drawn, inputs, labels, **good | {"learning_rate": 1000.0, "n_steps": 60})
    with pytest.raises(ValueError, match="images must be one of 'digits', 'mnist', 'cifar10'; got 'digit'"):
        experiment.draw_images("digit", 3, seeded())
    with pytest.raises(ValueError, match="per_class must be at most 174 for digits; got 500"):
        experiment.draw_images("digits", 500, seeded())
    with pytest.raises(ValueError, match="labels must be the same for all networks"):
        experiment.collapse_of(inputs, tensor([[0] * 9, [1] * 9]))
