"""The ball against closed forms, SciPy's optimiser and morphology, invariances; the rivals against libraries."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from pytorch_optimizer import SAM
from scipy import ndimage, optimize

from regularity.dynamics import rolling_ball as ball
from regularity.dynamics.rolling_ball import BallTooLargeError, experiment
from regularity.foundations.optimisers import heavy_ball
from regularity.foundations.randomness import stream
from tests.draws import random, seeded


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def hilly(x):
    """A loss of two variables, bent both ways."""
    return torch.sin(1.3 * x[0]) * torch.cos(x[1]) + 0.2 * x[0] * x[1] + 0.1 * x.square().sum()


def side_by_side(loss):
    """Losses and gradients of several points at a time."""
    pair = torch.func.vmap(torch.func.grad_and_value(loss))
    return lambda points: pair(points)[::-1]


def bowl(x):
    """The lower half of a circle, or sphere, of radius 2."""
    return 2 - torch.sqrt(4 - x.square().sum())


def step(loss, point, **settings):
    return ball.rolling_ball_step(side_by_side(loss), point[None], **settings)[0]


POINT = tensor(0.4, -0.7)
GRADIENT = torch.func.grad(hilly)(POINT)
SQUARE = GRADIENT.square().sum()


# --- The paper's algorithm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.5, 40.0])
def test_one_projection_step_knows_no_radius(radius):
    """By hand: −γη(1 + |g|²)g."""
    moved = step(hilly, POINT, learning_rate=0.3, radius=radius, projection_rate=0.2, n_projections=1)
    torch.testing.assert_close(moved, POINT - 0.2 * 0.3 * (1 + SQUARE) * GRADIENT)


@pytest.mark.parametrize("radius", [0.0, 7.0])
def test_on_a_plane_the_projection_shrinks_the_learning_rate(radius):
    """By hand: each inner step leaves the share 1 − γ(1 + |a|²) of the way to the foot of the perpendicular."""
    slope = tensor(0.6, -1.1)
    moved = step(
        lambda x: slope @ x + 3,
        POINT,
        learning_rate=2.0,
        radius=radius,
        projection_rate=0.01,
        n_projections=9,
    )
    share = 1 - (1 - 0.01 * (1 + slope.square().sum())) ** 9
    torch.testing.assert_close(moved, POINT - 2 * share * slope)


@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_many_projection_steps_reach_the_contact_that_scipy_finds(radius):
    """SciPy minimises the distance to the centre, which is built here from the normal and the tangent."""
    n_points, rate = POINT.numpy(), 0.2
    g, s = GRADIENT.numpy(), math.sqrt(1 + SQUARE)
    centre = np.append(n_points, hilly(POINT)) + radius * np.append(-g, 1) / s - rate * np.append(g, g @ g)

    def distance(x):
        return np.square(x - centre[:2]).sum() + (hilly(torch.as_tensor(x)).item() - centre[2]) ** 2

    found = optimize.minimize(distance, n_points, method="BFGS", options={"gtol": 1e-10})
    settings = {"learning_rate": rate, "radius": radius}
    few = step(hilly, POINT, **settings, projection_rate=0.1, n_projections=400)
    np.testing.assert_allclose(few, found.x, atol=1e-6)
    contact = ball.roll(hilly, POINT, **settings)
    np.testing.assert_allclose(contact.point, found.x, atol=1e-6)
    assert contact.distance == pytest.approx(math.sqrt(distance(contact.point.numpy())))
    assert contact.distance == pytest.approx(math.sqrt(found.fun))


def test_runs_do_not_see_one_another_and_have_settings_of_their_own():
    points, rates, radii = random(3, 2), tensor(0.1, 0.5, 2.0), tensor(0.0, 1.0, 3.0)
    fixed = {"projection_rate": 0.05, "n_projections": 6}
    together = ball.rolling_ball_step(side_by_side(hilly), points, learning_rate=rates, radius=radii, **fixed)
    for k in range(3):
        alone = step(hilly, points[k], learning_rate=rates[k].item(), radius=radii[k].item(), **fixed)
        torch.testing.assert_close(together[k], alone)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_where_the_loss_is_zero_does_not_matter(shift):
    moved = step(lambda x: hilly(x) + shift, POINT, learning_rate=0.4, radius=2.0, projection_rate=0.05)
    torch.testing.assert_close(moved, step(hilly, POINT, learning_rate=0.4, radius=2.0, projection_rate=0.05))


def test_axes_may_be_turned_and_scaled_with_the_ball():
    """Rotation of θ; and all lengths times 3: θ, f, ρ and η."""
    inner = {"projection_rate": 0.05, "n_projections": 7}
    plain = step(hilly, POINT, learning_rate=0.4, radius=0.8, **inner)
    turn = torch.linalg.qr(random(2, 2)).Q
    turned = step(lambda x: hilly(turn.T @ x), turn @ POINT, learning_rate=0.4, radius=0.8, **inner)
    torch.testing.assert_close(turned, turn @ plain)
    scaled = step(lambda x: 3 * hilly(x / 3), 3 * POINT, learning_rate=1.2, radius=2.4, **inner)
    torch.testing.assert_close(scaled, 3 * plain)


def test_a_run_that_diverges_goes_to_infinity_alone():
    points = tensor([0.1, 0.2], [3.0, -2.0])
    moved = ball.rolling_ball_step(
        side_by_side(lambda x: x.pow(4).sum()), points, learning_rate=50.0, radius=1.0, projection_rate=0.02
    )
    assert moved[0].isfinite().all()
    assert moved[1].isinf().all()


def test_the_torch_optimiser_is_the_step():
    weights = [torch.nn.Parameter(POINT[:1].clone()), torch.nn.Parameter(POINT[1:].clone())]
    settings = {"learning_rate": 0.4, "radius": 0.7, "projection_rate": 0.05, "n_projections": 7}
    optimiser, calls, expected = ball.RollingBall(weights, **settings), [], POINT

    def closure():
        calls.append(1)
        return hilly(torch.cat(weights))

    for _ in range(3):
        loss = optimiser.step(closure)
        torch.testing.assert_close(loss, hilly(expected))
        expected = step(hilly, expected, **settings)
        torch.testing.assert_close(torch.cat(weights).detach(), expected)
    assert len(calls) == 3 * 7 + 2  # two to see that the closure keeps its word


# --- The ball itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.9])
def test_in_a_round_bowl_the_contact_lies_on_the_ray_from_its_centre(radius):
    """Closed form: the sphere's point nearest to c̃ is the one in c̃'s direction."""
    point, rate = tensor(0.9, 0.3, -0.5), 0.3
    contact = ball.roll(bowl, point, learning_rate=rate, radius=radius)
    g, middle = torch.func.grad(bowl)(point), tensor(0, 0, 0, 2)
    normal = torch.cat([-g, tensor(1.0)]) / (1 + g @ g).sqrt()
    centre = torch.cat([point, bowl(point)[None]]) + radius * normal - rate * torch.cat([g, (g @ g)[None]])
    ray = (centre - middle) / (centre - middle).norm()
    torch.testing.assert_close(contact.point, 2 * ray[:3])
    assert contact.distance == pytest.approx(abs(2 - (centre - middle).norm().item()))


def test_the_nearest_point_of_a_parabola_solves_a_cubic():
    """½x² + centre (a, b): x³ + (1 − b)·... = x − a + (½x² − b)x = 0, by NumPy's roots."""
    place, height = 0.8, 0.9
    real = [root.real for root in np.roots([0.5, 0, 1 - height, -place]) if abs(root.imag) < 1e-9]
    found = ball.contact_point(lambda x: x.square().sum() / 2, tensor(0.2), tensor(place, height))
    assert len(real) == 1
    assert found.point.item() == pytest.approx(real[0], abs=1e-10)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
def test_the_accuracy_that_is_stated_is_kept(tolerance):
    centre = torch.cat([POINT + tensor(0.5, -0.3), tensor(0.9)])
    exact = ball.contact_point(hilly, POINT, centre, tolerance=1e-13).point
    found = ball.contact_point(hilly, POINT, centre, tolerance=tolerance)
    assert (found.point - exact).norm().item() <= 1.05 * found.error + 1e-12
    slope = torch.func.grad(hilly)(found.point)
    value = hilly(found.point)
    assert (found.point - centre[:2] + (value - centre[2]) * slope).norm() <= tolerance


def test_the_largest_ball_that_fits():
    """A sphere fits into its own bowl anywhere; ½κx² has the radius of curvature (1 + κ²x²)^(3/2)/κ."""
    assert ball.largest_radius(bowl, tensor(0.9, 0.3, -0.5)) == pytest.approx(2)
    for x in (0.0, 0.7):
        radius = ball.largest_radius(lambda x: 2.5 * x.square().sum(), tensor(x))
        assert radius == pytest.approx((1 + 25 * x**2) ** 1.5 / 5)
    assert ball.largest_radius(lambda x: -x.square().sum(), tensor(0.3, 0.2)) == math.inf
    dense = torch.func.hessian(hilly)(POINT)
    shape = torch.eye(2).double() + torch.outer(GRADIENT, GRADIENT)
    largest = torch.linalg.eigvals(torch.linalg.solve(shape, dense)).real.max()
    assert ball.largest_radius(hilly, POINT) == pytest.approx(((1 + SQUARE).sqrt() / largest).item())


def test_a_ball_that_does_not_fit_is_refused():
    def sharp(x):
        return 25 * x.square().sum() / 2

    ball.roll(sharp, tensor(0.0), learning_rate=0.1, radius=0.0399)
    with pytest.raises(BallTooLargeError, match=r"radius must be below .* at point, 0\.04; got 0\.0401"):
        ball.roll(sharp, tensor(0.0), learning_rate=0.1, radius=0.0401)
    # Over a valley that is too sharp the nearest point is up one of the walls; its bottom is a maximum.
    with pytest.raises(BallTooLargeError, match=r"more tightly than a ball of radius 0\.5 around centre"):
        ball.contact_point(sharp, tensor(0.0), tensor(0.0, 0.5))


def test_an_infinitesimal_ball_is_gradient_descent():
    """The gap to −η∇f is linear in η and ρ together."""
    gaps = []
    for scale in (1e-2, 1e-3, 1e-4):
        moved = ball.roll(hilly, POINT, learning_rate=scale, radius=scale, tolerance=1e-13).point
        gaps.append(((moved - POINT) / scale + GRADIENT).norm().item())
    assert 8 < gaps[0] / gaps[1] < 12
    assert 8 < gaps[1] / gaps[2] < 12


@pytest.mark.parametrize("radius", [0.2, 0.5])
def test_a_ball_bends_the_step_by_the_hessian(radius):
    """−η(1 + |g|²)(I + ggᵀ − (ρ/s)H)⁻¹g, with the dense Hessian from autograd."""
    hessian = torch.func.hessian(hilly)(POINT)
    matrix = torch.eye(2).double() + torch.outer(GRADIENT, GRADIENT) - radius * hessian / (1 + SQUARE).sqrt()
    expected = -(1 + SQUARE) * torch.linalg.solve(matrix, GRADIENT)
    moved = ball.roll(hilly, POINT, learning_rate=1e-5, radius=radius, tolerance=1e-14).point
    torch.testing.assert_close((moved - POINT) / 1e-5, expected, rtol=3e-4, atol=0)
    assert (expected + GRADIENT).norm() > 0.05  # and that is not the gradient's


# --- Functions of one variable -----------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3])
def test_the_offset_is_scipy_s_dilation_and_the_rolled_surface_its_closing(radius):
    x = np.arange(0, 4, 0.01)
    values = np.sin(x) + 0.5 * np.sin(7 * x + 1)
    reach = round(radius / 0.01)
    h = 0.01 * np.arange(-reach, reach + 1)
    cap = np.sqrt(np.maximum(radius**2 - h**2, 0))
    dilated = ndimage.grey_dilation(values, structure=cap)
    closed = ndimage.grey_erosion(dilated, structure=cap)
    inner = slice(reach, len(x) - reach)
    ours = ball.offset_surface(torch.as_tensor(values), spacing=0.01, radius=radius)
    np.testing.assert_allclose(ours, dilated[inner], atol=1e-12)
    inner = slice(2 * reach, len(x) - 2 * reach)
    rolled = ball.rolled_surface(torch.as_tensor(values), spacing=0.01, radius=radius)
    np.testing.assert_allclose(rolled, closed[inner], atol=1e-12)


def test_offsets_in_closed_form():
    """A line is lifted by ρ√(1 + a²); over |x| the ball rests on no point but at ρ√2; a wide bowl lifts it by ρ."""
    x = torch.arange(-2000, 2001, dtype=torch.float64) / 1000
    settings = {"spacing": 1e-3, "radius": 0.5}
    line = ball.offset_surface(0.75 * x, **settings)
    torch.testing.assert_close(line, 0.75 * x[500:-500] + 0.5 * 1.25, rtol=0, atol=2e-6)
    kink, wide, narrow = (
        ball.offset_surface(f, **settings)[1500].item() for f in (x.abs(), x.square() / 4, 5 * x.square())
    )
    assert kink == pytest.approx(0.5 * math.sqrt(2), abs=2e-6)
    assert wide == pytest.approx(0.5)
    assert narrow == pytest.approx((10 * 0.25 + 0.1) / 2, abs=1e-5)
    # A ball of radius 0.5 lies on a hollow of radius 0.1 at two points; between them is the ball itself.
    rolled = ball.rolled_surface(5 * x.square(), **settings)[1000].item()
    assert rolled == pytest.approx(narrow - 0.5, abs=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.8])
def test_waves_are_ironed_out_as_the_bound_says(slope):
    """A comb reaches the bound, which tends to period²(1 + a²)^(3/2)/(8ρ)."""
    x = torch.arange(-9000, 9001, dtype=torch.float64) / 500
    comb = torch.where((x / 2 - (x / 2).round()).abs() < 1e-9, 0.0, -5.0)  # maxima a period of 2 apart
    for radius in (3.0, 10.0):
        offset = ball.offset_surface(comb + slope * x, spacing=2e-3, radius=radius)
        reach = (len(x) - len(offset)) // 2
        flat = offset - slope * x[reach : len(x) - reach]
        found, bound = (flat.max() - flat.min()).item(), ball.wave_bound(2.0, radius, slope)
        assert found == pytest.approx(bound, rel=1e-2)
        assert bound == pytest.approx(4 * (1 + slope**2) ** 1.5 / (8 * radius), rel=0.9 / radius)
    assert ball.wave_bound(2.0, 0.5, slope) == math.inf


def test_the_functions_of_one_variable_are_their_sums():
    x = np.array([0.3, 2.0])
    expected = sum(np.sin(k**2 * x) / k**2 for k in range(1, 8))
    np.testing.assert_allclose(ball.rough_sum(torch.as_tensor(x), 7), expected)
    np.testing.assert_allclose(ball.two_waves(torch.as_tensor(x)), np.sin(x) + np.sin(7 * x + 1) / 2)


# --- Rivals ------------------------------------------------------------------------------------------------------


def test_sam_is_pytorch_optimizer_s():
    weight = torch.nn.Parameter(POINT.clone())
    peer = SAM([weight], torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9)
    points, update = POINT[None], heavy_ball(0.1, momentum=0.9)
    ahead = ball.sharpness_aware(side_by_side(hilly), 0.2)

    def closure():
        peer.zero_grad()
        loss = hilly(weight)
        loss.backward()
        return loss

    for _ in range(4):
        closure()
        peer.step(closure)
        points = points + update(ahead(points)[1])
        torch.testing.assert_close(points[0], weight.detach())


def test_entropy_sgd_on_a_parabola_is_a_geometric_series():
    """½κx² without noise, scope 0: x_l = (1 − aκ)^l x, and μ their average, in closed form."""
    kappa, inner, averaging, n = 3.0, 0.1, 0.75, 5
    q, point = 1 - inner * kappa, tensor(2.0)
    weights = [averaging ** (n - m) * (1 - averaging) for m in range(1, n + 1)]
    mean = averaging**n * 2 + sum(w * q**m * 2 for m, w in enumerate(weights, start=1))
    moved = ball.entropy_sgd_step(
        side_by_side(lambda x: kappa * x.square().sum() / 2),
        point[None],
        learning_rate=0.6,
        inner_rate=inner,
        n_langevin=n,
        scope=0.0,
        noise=0.0,
    )
    assert moved.item() == pytest.approx(2 + 0.6 * (mean - 2))


def test_entropy_sgd_is_pulled_home_and_shaken():
    """On a flat loss the chain moves by noise alone: variance a·noise²·Σ of squared weights, shrunk by the scope."""
    flat = side_by_side(lambda x: 0 * x.sum())
    points = torch.zeros(20_000, 1, dtype=torch.float64)
    settings = {"n_langevin": 2, "averaging": 0.5, "noise": 3.0, "inner_rate": 0.4, "scope": 1.0}
    moved = ball.entropy_sgd_step(flat, points, generator=seeded(), **settings)
    # μ = ¼x₁ + ½x₂ with x₁ = e₁, x₂ = 0.6e₁ + e₂, and var e = 0.4·9.
    expected = 3.6 * ((0.25 + 0.5 * 0.6) ** 2 + 0.25)
    assert moved.var().item() == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("name", ["perceptron", "vgg9"])
def test_networks_take_one_image_or_many_and_come_from_the_generator(name):
    shape = (3, 16, 16)
    first, again = (ball.build_network(name, shape, 7, width=8, generator=seeded(3)) for _ in range(2))
    images = torch.rand(4, 3 * 16 * 16, generator=seeded())
    torch.testing.assert_close(first(images), again(images))
    assert first(images).shape == (4, 7)
    torch.testing.assert_close(first(images)[1], first(images[1:2])[0])  # no image sees another


# --- Runs side by side -------------------------------------------------------------------------------------------

IMAGES = experiment.load_images("digits", 100, seeded())
SIZES = {"network": "perceptron", "width": 8, "n_train": 96, "n_validation": 40}


def some(n_repetitions=2, shares=(0.0, 0.5), images=IMAGES):
    return experiment.repeat(
        images,
        lambda *names: stream(5, *names),
        shares=list(shares),
        n_repetitions=n_repetitions,
        **SIZES,
    )


def test_repetitions_share_their_split_and_weights_and_not_their_labels():
    drawn = some()
    true = IMAGES.labels[drawn.train]
    assert torch.equal(drawn.train[0], drawn.train[2])
    assert torch.equal(drawn.starts[1], drawn.starts[3])
    assert not torch.equal(drawn.train[0], drawn.train[1])
    assert torch.equal(drawn.train_labels[:2], true[:2])
    wrong = (drawn.train_labels[2:] != true[2:]).double().mean().item()
    assert wrong == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 192))
    assert not set(drawn.train[0].tolist()) & set(drawn.validation[0].tolist())
    pixels = {tuple(image.tolist()) for image in IMAGES.pool}
    assert not any(tuple(image.tolist()) in pixels for image in IMAGES.test)


def test_a_run_is_torch_s_training_on_the_same_batches():
    """One run of three epochs by torch.optim.SGD, its batches from the documented stream."""
    drawn = some()
    network = ball.build_network("perceptron", (1, 8, 8), 10, width=8, generator=stream(5, "weights", 1))
    peer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    order = stream(5, "order", 1)
    for _ in range(3):
        for part in torch.randperm(96, generator=order).split(32):
            peer.zero_grad()
            outputs = network(IMAGES.pool[drawn.train[3][part]])
            torch.nn.functional.cross_entropy(outputs, drawn.train_labels[3][part]).backward()
            peer.step()
    settings = {"learning_rate": tensor(0.01, 0.2), "momentum": tensor(0.0, 0.9)}
    optimiser, own = experiment.Optimiser(experiment.descend, {}), torch.tensor([0, 3])
    seen = experiment.train(drawn, optimiser, settings, own, n_epochs=3, batch_size=32, n_looks=3)
    expected = torch.cat([part.detach().flatten() for part in network.parameters()])
    torch.testing.assert_close(seen[-1][1][1], expected)
    assert [n_gradients for n_gradients, _ in seen] == [3, 6, 9]
    chosen = [{"learning_rate": rate, "momentum": momentum} for rate, momentum in ((0.01, 0.0), (0.2, 0.9))]
    history = experiment.judge(drawn, optimiser, chosen, n_epochs=3, batch_size=32, n_looks=3)
    torch.testing.assert_close(history.points[3], expected)
    assert history.n_gradients == [3, 6, 9]
    with torch.no_grad():
        outputs = network(IMAGES.pool[drawn.train[3]])
        hits = (network(IMAGES.test).argmax(dim=1) == IMAGES.test_labels).double().mean()
    loss = torch.nn.functional.cross_entropy(outputs, drawn.train_labels[3])
    torch.testing.assert_close(history.train_loss[-1, 3], loss)
    accuracy = (outputs.argmax(dim=1) == drawn.train_labels[3]).double().mean()
    assert history.train_accuracy[-1, 3].item() == pytest.approx(accuracy.item())
    assert history.test_accuracy[-1, 3].item() == pytest.approx(hits.item())


def test_each_optimiser_pays_for_its_gradients_and_draws_its_batches(monkeypatch):
    counts = {"gradients": 0, "batches": 0}
    plain = experiment.gradient_of

    def counting(*arguments):
        counts["batches"] += 1
        inner = plain(*arguments)

        def gradient(points):
            counts["gradients"] += 1
            return inner(points)

        return gradient

    monkeypatch.setattr(experiment, "gradient_of", counting)
    grids = {
        "SGD": {"learning_rate": [0.1], "momentum": [0.0, 0.9]},
        "SAM": {"learning_rate": [0.1], "momentum": [0.0], "neighbourhood": [0.05]},
        "Entropy-SGD": {"learning_rate": [1.0], "inner_rate": [0.1]},
        "ball": {"learning_rate": [1.0], "radius": [1.0]},
    }
    made = experiment.optimisers(grids, n_inner=3, projection_rate=0.01, generator=seeded())
    assert made["replayed SGD"].grid == {"learning_rate": [0.1], "momentum": [0.0]}
    paid = {"SGD": 12, "SAM": 24, "Entropy-SGD": 36, "Entropy-SGD, fresh": 12, "replayed SGD": 36, "ball": 36}
    for name, optimiser in made.items():
        counts.update(gradients=0, batches=0)
        history = experiment.judge(
            some(), optimiser, [one_setting(optimiser)] * 2, n_epochs=4, batch_size=32, n_looks=2
        )
        assert counts["gradients"] == history.n_gradients[-1] == paid[name]
        assert counts["batches"] == 12
        assert len(history.n_gradients) == 2


def one_setting(optimiser):
    return {name: values[0].item() for name, values in optimiser.all_settings().items()}


def test_settings_are_chosen_by_validation_for_each_share_and_a_run_that_diverges_has_no_score():
    """The validation labels of one share are what the networks say before they are trained."""
    grid = {"learning_rate": [1e-6, 1e30, 0.3], "momentum": [0.0]}
    drawn, optimiser = some(), experiment.Optimiser(experiment.descend, grid)
    untrained = torch.func.vmap(drawn.call)(drawn.starts, drawn.inputs[drawn.validation]).argmax(dim=-1)
    labels = torch.cat([untrained[:2], drawn.validation_labels[2:]])
    odd = dataclasses.replace(drawn, validation_labels=labels)
    chosen = experiment.tune(odd, optimiser, n_epochs=12, batch_size=32)
    assert [one["learning_rate"] for one in chosen] == pytest.approx([1e-6, 0.3])
    settings = [{"learning_rate": rate, "momentum": 0.0} for rate in (1e30, 0.3)]
    broken = experiment.judge(drawn, optimiser, settings, n_epochs=12, batch_size=32)
    assert (broken.test_accuracy[-1, :2] == 0).all()
    assert broken.train_loss[-1, :2].isinf().all()
    assert (broken.test_accuracy[-1, 2:] > 0.2).all()


def test_other_sets_keep_their_own_test_images():
    def load(split):
        n = {"train": 30, "test": 12}[split]
        return torch.full((n, 1, 4, 4), float(n)), torch.arange(n) % 3

    images = experiment._official(load, (1, 4, 4), 5, seeded())
    assert images.pool.shape == (30, 16)
    assert images.test.shape == (5, 16)
    assert (images.test == 12).all()
    assert images.n_classes == 3


def test_steps_on_two_batches_agree_where_the_batches_do():
    """Gradients of batches of all images agree entirely; those of few images do not."""
    drawn, points = some(), some().starts

    def descend(gradient, at):
        return at - gradient(at)[1]

    whole = experiment.agreement(drawn, descend, points, 1, 96)
    torch.testing.assert_close(whole, torch.ones(4), atol=1e-5, rtol=0)
    assert (experiment.agreement(drawn, descend, points, 3, 4) < 0.9).all()


def test_the_radius_that_fits_is_that_of_the_dense_hessian():
    drawn = some(n_repetitions=1, shares=(0.0,))
    x, y = IMAGES.pool[drawn.train[0]], drawn.train_labels[0]
    point = drawn.starts[0, :].clone()

    def loss(at):
        return torch.nn.functional.cross_entropy(drawn.call(at, x), y)

    hessian, g = torch.func.hessian(loss)(point), torch.func.grad(loss)(point)
    shape = torch.eye(len(g)) + torch.outer(g, g)
    largest = torch.linalg.eigvals(torch.linalg.solve(shape, hessian)).real.max()
    expected = (1 + g.square().sum()).sqrt() / largest
    found = experiment.radius_that_fits(drawn, point[None])
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_what_a_ball_reaches_of_a_parabola():
    """Where its radius of curvature (1 + κ²x²)^(3/2)/κ is at least the ball's, by SciPy's root."""
    x = torch.arange(-2000, 2001, dtype=torch.float64) / 1000
    touched = experiment.reached(lambda at: 2 * at.square(), x, 0.5)
    edge = optimize.brentq(lambda at: (1 + 16 * at**2) ** 1.5 / 4 - 0.5, 0, 1)
    # A ball in a symmetric valley touches two points at once, farther out than where it would first fit.
    rests = math.sqrt(0.25 - 1 / 16)  # x² + 1/κ² = ρ²
    assert x[touched].abs().min().item() == pytest.approx(rests, abs=5e-3)
    assert rests > edge
    bend = experiment.curvature(lambda at: 2 * at.square(), x)
    torch.testing.assert_close(bend, 4 / (1 + 16 * x.square()) ** 1.5)
    assert x[touched].abs().max() < 1.001  # of the grid, twice the radius is left at each end
    minima = experiment.is_minimum(tensor(0.0, 3.0, 1.0, 2.0, 0.0, 0.0, 1.0, -1.0, 5.0))
    assert minima.nonzero().flatten().tolist() == [2, 7]


def test_the_gap_to_descent_needs_the_contact():
    points = random(3, 2) / 2
    exact = experiment.gap_to_descent(points, 1e-3, None, 1.0)
    many = experiment.gap_to_descent(points, 1e-3, 400, 0.1)
    few = experiment.gap_to_descent(points, 1e-3, 10, 0.01)
    assert exact == pytest.approx(many, rel=1e-3)
    assert exact < 5e-3 < 0.5 < few


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": -0.1}, "radius must not be negative; got -0.1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite; got 0.0"),
        ({"projection_rate": -1.0}, "projection_rate must be positive and finite; got -1.0"),
        ({"n_projections": 0}, "n_projections must be at least 1; got 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        step(hilly, POINT, **settings)
    with pytest.raises(ValueError, match=message):
        ball.RollingBall([torch.nn.Parameter(POINT)], **settings)


@pytest.mark.bad_input
def test_the_optimiser_s_closure_is_checked():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    with pytest.raises(ValueError, match=r"closure must give the loss, .* got None"):
        ball.RollingBall([weight]).step()
    draws = iter((1.0, 2.0))
    with pytest.raises(
        ValueError, match=r"closure must give the same loss .* got 1 and then 2\. Keep the batch"
    ):
        ball.RollingBall([weight]).step(lambda: weight.sum() * next(draws))
    with pytest.raises(FloatingPointError, match="the projection diverged; try a smaller projection_rate"):
        ball.RollingBall([weight], learning_rate=1e3, projection_rate=1.0).step(lambda: weight.pow(4).sum())
    groups = [{"params": [weight]}, {"params": [torch.nn.Parameter(torch.zeros(1))]}]
    with pytest.raises(ValueError, match="parameters must be of one group, as there is one ball; got 2"):
        ball.RollingBall(groups)


@pytest.mark.bad_input
def test_the_ball_s_arguments_are_checked():
    with pytest.raises(ValueError, match="radius must not be negative"):
        ball.roll(hilly, POINT, learning_rate=0.1, radius=-1.0)
    with pytest.raises(
        ValueError, match=r"tolerance must be met within n_steps = 1; the slope is .*, not 1\.0e-10"
    ):
        ball.contact_point(hilly, POINT, tensor(0.0, 0.0, 0.3), n_steps=1)
    with pytest.raises(
        ValueError, match=r"values must span more than the ball of radius 3; got 5, 0\.1 apart"
    ):
        ball.offset_surface(torch.zeros(5), spacing=0.1, radius=3.0)
    with pytest.raises(ValueError, match=r"name must be one of 'perceptron', 'vgg9'; got 'vgg'; did"):
        ball.build_network("vgg", (1, 8, 8), 10, width=8, generator=seeded())
