"""Laws against random matrices, closed forms and enumeration; products against dense matrices and a peer; training
against torch's optimisers."""

import itertools
import math

import numpy as np
import pytest
import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn import functional

from regularity.dynamics import batch_learning_rates as batches
from regularity.dynamics.batch_learning_rates import SampledLoss, experiment
from regularity.foundations.curvature import flat_parameters
from regularity.foundations.optimisers import adam, heavy_ball
from regularity.foundations.randomness import stream
from tests.draws import random, seeded

KINDS = ["hessian", "gauss-newton"]


def streams(*purpose):
    return lambda *names: stream(0, *purpose, *names)


def small(n=30, width=3, dtype=torch.float64):
    """A network of 27 parameters on three classes, its point, and its loss over the samples."""
    network = batches.NETWORKS["perceptron"](4, width, 3).to(dtype)
    _, call = flat_parameters(network)
    point = batches.first_points(network, 1, seeded(1))[0].to(dtype)
    inputs, labels = random(n, 4, seed=2).to(dtype), torch.arange(n) % 3
    return SampledLoss(call, inputs, labels), 2 * point, network


def dense(sampled, point, kind, batch=slice(None)):
    """By autograd's whole matrices: the Hessian, or JᵀLJ with L of the softmax in closed form."""
    x, y = sampled.inputs[batch], sampled.labels[batch]
    if kind == "hessian":
        return torch.func.hessian(lambda p: functional.cross_entropy(sampled.call(p, x), y))(point)
    jacobian = torch.func.jacrev(lambda p: sampled.call(p, x))(point)
    share = sampled.call(point, x).softmax(dim=1)
    inner = torch.diag_embed(share) - share[:, :, None] * share[:, None, :]
    return torch.einsum("nap,nab,nbq->pq", jacobian, inner, jacobian) / len(x)


def each(sampled, point, kind):
    return torch.stack([dense(sampled, point, kind, slice(i, i + 1)) for i in range(len(sampled))])


# --- The laws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_the_effective_size_is_that_of_all_batches(batch_size):
    """Variance of the mean over every batch without replacement."""
    values = np.array([0.3, -1.2, 2.2, 0.9, 4.0])
    means = [np.mean(batch) for batch in itertools.combinations(values, batch_size)]
    size = batches.effective_batch_size(batch_size, len(values))
    assert np.var(means) == pytest.approx(values.var() / size, rel=1e-12)


def test_the_whole_set_has_no_noise():
    assert batches.effective_batch_size(7, 7) == math.inf
    assert batches.additive_extreme(-0.3, 5.0, math.inf) == -0.3
    assert batches.multiplicative_extreme(0.3, 5.0, 100, math.inf) == 0.3
    assert batches.additive_extreme(0.3, 0.0, 1.0) == 0.3


def test_the_laws_are_continuous_where_the_bulk_swallows_the_spike():
    noise, size = 9.0, 4.0
    for sign in (1, -1):
        just = sign * math.sqrt(noise / size)
        outside, inside = (batches.additive_extreme(just * (1 + e), noise, size) for e in (1e-9, -1e-9))
        assert outside == pytest.approx(inside, rel=1e-8)
        assert inside == pytest.approx(sign * 3.0)  # 2 √(9/4)
    trace, dimension = 6.0, 60
    just = trace / dimension * (1 + math.sqrt(dimension / size))
    outside, inside = (
        batches.multiplicative_extreme(just * (1 + e), trace, dimension, size) for e in (1e-9, -1e-9)
    )
    assert outside == pytest.approx(inside, rel=1e-8)


@pytest.mark.parametrize("size", [2, 16, 128])
def test_the_laws_are_those_of_random_matrices(size):
    """NumPy's own draws, 400 rows: spikes 1 and −0.5 under noise of 16, above and below the threshold."""
    rng, d, noise = np.random.default_rng(size), 400, 16.0
    normal = rng.standard_normal((d, d)) * np.sqrt(noise / (2 * d * size))
    direction, other = np.linalg.qr(rng.standard_normal((d, 2)))[0].T
    matrix = normal + normal.T + np.outer(direction, direction) - 0.5 * np.outer(other, other)
    ends = np.linalg.eigvalsh(matrix)[[0, -1]]
    laws = [batches.additive_extreme(spike, noise, size) for spike in (-0.5, 1.0)]
    np.testing.assert_allclose(ends, laws, rtol=0.06)
    scales = np.full(d, noise / (d - 1))
    scales[0] = 1.0
    samples = rng.standard_normal((size, d)) * np.sqrt(scales)
    top = np.linalg.norm(samples, 2) ** 2 / size
    spread = 2 * math.sqrt(2 / size)  # of the one coordinate that makes the spike
    assert top == pytest.approx(batches.multiplicative_extreme(1.0, noise, d, size), rel=0.06 + spread / 8)


def test_a_drowned_spike_leaves_the_edge_of_marchenko_and_pastur():
    rng, d, noise = np.random.default_rng(0), 400, 16.0
    scales = np.full(d, noise / (d - 1))
    scales[0] = 0.1
    draws = [rng.standard_normal((40, d)) * np.sqrt(scales / 40) for _ in range(8)]
    law = batches.multiplicative_extreme(0.1, noise, d, 40)
    assert law == pytest.approx(0.04 * (1 + math.sqrt(10)) ** 2, rel=0.003)
    assert np.mean([np.linalg.norm(samples, 2) ** 2 for samples in draws]) == pytest.approx(law, rel=0.06)


def test_the_simulated_spectra_have_their_moments():
    """Trace and squared norm of the noise; trace of the sample covariance and its rank."""
    flat = torch.zeros(300, dtype=torch.float64)
    spectrum = batches.additive_spectrum(flat, 6.0, 3.0, seeded())
    assert spectrum.square().mean().item() == pytest.approx(2.0, rel=0.03)
    levels = torch.linspace(0, 1, 300, dtype=torch.float64)
    covariance = batches.multiplicative_spectrum(levels, 200, seeded())
    assert covariance.shape == (200,)
    assert covariance.sum().item() == pytest.approx(150, rel=0.02)


# --- Products and what is measured with them ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_whole_matrices(kind):
    sampled, point, _ = small()
    vector, batch = random(len(point), seed=5), torch.tensor([3, 11, 29])
    for chosen in (slice(None), batch):
        matrix = dense(sampled, point, kind, chosen)
        torch.testing.assert_close(sampled.product(point, kind, chosen)(vector), matrix @ vector)
    torch.testing.assert_close(sampled.images(point, vector, kind), each(sampled, point, kind) @ vector)


def test_softmax_regression_at_zero_has_a_closed_form():
    """H = G = (I − 11ᵀ/C)/C ⊗ XᵀX/N; its largest eigenvalue is that of XᵀX/N over C."""
    _, call = flat_parameters(nn.Linear(4, 3, bias=False))
    inputs = random(20, 4)
    sampled = SampledLoss(call, inputs, torch.arange(20) % 3)
    expected = np.linalg.eigvalsh((inputs.T @ inputs).numpy() / 20)[-1] / 3
    zero = torch.zeros(12, dtype=torch.float64)
    for kind in KINDS:
        ends, _ = batches.second_order_shift(sampled, zero, kind, n_steps=8, generator=seeded())
        assert ends.largest == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_that_of_every_samples_matrix(kind):
    sampled, point, _ = small()
    matrices = each(sampled, point, kind)
    exact = (matrices - matrices.mean(dim=0)).square().sum(dim=(1, 2)).mean().item() / len(point)
    estimate = batches.curvature_noise(sampled, point, kind, n_draws=60, generator=seeded())
    assert abs(estimate.value - exact) < 4 * estimate.error < 0.6 * exact
    spread = (matrices @ matrices).mean(dim=0) - matrices.mean(dim=0) @ matrices.mean(dim=0)
    generator = seeded()
    signs = torch.stack([torch.randint(2, (27,), generator=generator) * 2.0 - 1 for _ in range(60)]).double()
    forms = torch.einsum("kp,pq,kq->k", signs, spread, signs) / 27
    assert estimate.value == pytest.approx(forms.mean().item(), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_order_shift_is_that_of_perturbation_theory(kind):
    sampled, point, _ = small()
    values, vectors = torch.linalg.eigh(dense(sampled, point, kind))
    images = each(sampled, point, kind) @ vectors[:, -1]
    spread = (images @ vectors[:, :-1]).var(dim=0, correction=0)
    exact = (spread / (values[-1] - values[:-1])).sum().item()
    ends, shift = batches.second_order_shift(sampled, point, kind, n_steps=14, n_draws=40, generator=seeded())
    assert ends.largest == pytest.approx(values[-1].item(), rel=1e-6)
    assert abs(shift.value - exact) < 4 * shift.error < 0.9 * exact


def test_the_second_order_shift_is_that_of_all_batches():
    """All batches that leave out two of 40 samples: the mean of λ₁(H_B) − λ₁ is c/b, b being 38 · 39 / 2.

    The inputs have a mean, which puts a gap behind λ₁: without one, the second order is not enough.
    """
    sampled, point, _ = small(n=40)
    sampled = SampledLoss(sampled.call, sampled.inputs + 2, sampled.labels)
    matrices = each(sampled, point, "gauss-newton")
    pairs = torch.combinations(torch.arange(40), 2)
    without = (matrices.sum(dim=0) - matrices[pairs].sum(dim=1)) / 38
    tops = torch.linalg.eigvalsh(without)[:, -1]
    excess = (tops.mean() - torch.linalg.eigvalsh(matrices.mean(dim=0))[-1]).item()
    _, shift = batches.second_order_shift(
        sampled, point, "gauss-newton", n_steps=12, n_draws=60, generator=seeded()
    )
    size = batches.effective_batch_size(38, 40)
    assert size == pytest.approx(741)
    assert excess * size == pytest.approx(shift.value, abs=3 * shift.error)
    assert shift.error < 0.2 * shift.value


def test_iid_entries_and_gaussian_samples_are_cases_of_the_second_order_law():
    """Σ Var(v_j·H_i v₁)/(λ₁ − λ_j): σ² for every j is the additive law; l s for every j the multiplicative one."""
    d, b, top, s, variance = 1000, 1e6, 3.0, 0.01, 0.02
    others = (d - 1) / (top - 0.0)
    additive = batches.additive_extreme(top, d * variance, b) - top
    assert additive * b == pytest.approx(variance * others, rel=2e-3)
    multiplicative = batches.multiplicative_extreme(top, (d - 1) * s, d, b) - top
    assert multiplicative * b == pytest.approx((d - 1) * top * s / (top - s), rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_measured_at_both_ends(kind):
    """The same batches, by the whole matrix."""
    sampled, point, _ = small()
    along = random(len(point), seed=7)
    options = {"batch_size": 5, "n_draws": 3, "n_steps": len(point)}
    found = batches.batch_extremes(sampled, point, along, kind, generator=seeded(3), **options)
    generator = seeded(3)
    for smallest, largest, quotient in zip(found.smallest, found.largest, found.along, strict=True):
        batch = torch.randperm(30, generator=generator)[:5]
        torch.randn(len(point), generator=generator)
        matrix = dense(sampled, point, kind, batch)
        values = torch.linalg.eigvalsh(matrix)
        torch.testing.assert_close(torch.stack([smallest, largest]), values[[0, -1]], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(quotient, along @ matrix @ along / (along @ along))


@pytest.mark.parametrize(
    ("kind", "operator"), [("hessian", HessianLinearOperator), ("gauss-newton", GGNLinearOperator)]
)
def test_the_ends_are_those_of_curvlinops(kind, operator):
    """The peer's operator, and ARPACK."""
    sampled, point, network = small()
    nn.utils.vector_to_parameters(point, network.parameters())
    data = [(sampled.inputs, sampled.labels)]
    parameters = list(network.parameters())
    peer = operator(network, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False).to_scipy()
    ends, _ = batches.second_order_shift(sampled, point, kind, n_steps=27, generator=seeded())
    largest = eigsh(peer, k=1, which="LA", return_eigenvectors=False)[0]
    assert ends.largest == pytest.approx(largest, rel=1e-8)
    if kind == "hessian":
        smallest = eigsh(peer, k=1, which="SA", return_eigenvectors=False)[0]
        assert ends.smallest == pytest.approx(smallest, rel=1e-8)


def test_a_measured_network_is_predicted_by_its_laws():
    sampled, point, _ = small()
    found = experiment.measure(
        sampled, point, "gauss-newton", [5, 30], streams("measure"), n_draws=4, n_steps=27
    )
    assert found.largest[1].item() == pytest.approx(found.top)  # the whole set
    assert found.smallest[1].item() == pytest.approx(found.bottom)
    assert found.excess[1].item() == pytest.approx(0, abs=1e-9)
    top = torch.linalg.eigh(dense(sampled, point, "gauss-newton"))[1][:, -1]
    generator, excesses = streams("measure")("batches", 5), []
    for _ in range(4):
        matrix = dense(sampled, point, "gauss-newton", torch.randperm(30, generator=generator)[:5])
        torch.randn(len(point), generator=generator)
        excesses.append(torch.linalg.eigvalsh(matrix)[-1] - top @ matrix @ top)
    assert found.excess[0].item() == pytest.approx(torch.stack(excesses).mean().item(), rel=1e-5)
    b = batches.effective_batch_size(5, 30)
    laws = {
        "additive": batches.additive_extreme(found.top, found.noise.value, b),
        "multiplicative": batches.multiplicative_extreme(found.top, found.trace.value - found.top, 27, b),
        "second order": found.top + found.second_order.value / b,
    }
    for law, value in laws.items():
        assert found.predicted(law)[0].item() == pytest.approx(value, rel=1e-6)


# --- Rates -------------------------------------------------------------------------------------------------------


def test_the_largest_stable_rate_is_read_off_and_never_guessed():
    grid = torch.tensor([0.1, 0.2, 0.4, 0.8])
    losses = torch.tensor(
        [
            [0.1, 0.1, 0.1, 2.0],
            [0.9, 0.1, 0.9, 2.0],  # too slow, right, too fast
            [0.1, math.nan, math.inf, math.nan],
            [0.9, 0.9, 0.9, 0.9],
            [0.1, 0.1, 0.1, 0.1],
        ]
    )
    found = batches.largest_stable(grid, losses, 0.3)
    np.testing.assert_allclose(found, [0.4, 0.2, 0.1, math.nan, math.inf], rtol=1e-6)


def test_the_slope_is_the_exponent():
    sizes = [4, 8, 32]
    values = torch.stack([3 * torch.tensor(sizes).double() ** power for power in (1.0, 0.5, -0.25)])
    torch.testing.assert_close(batches.log_log_slope(sizes, values), torch.tensor([1, 0.5, -0.25]).double())
    assert not torch.isfinite(batches.log_log_slope([1, 2], torch.tensor([1.0, math.inf])))


# --- The learner -------------------------------------------------------------------------------------------------


def quadratic(values):
    diagonal = torch.tensor(values, dtype=torch.float64)
    return lambda v: diagonal * v


def contraction(diagonal, rate, momentum):
    """Spectral radius of the heavy ball on a quadratic: the worst root of z² − (1 + ρ − αλ)z + ρ over all λ."""
    roots = [np.roots([1, -(1 + momentum - rate * value), momentum]) for value in diagonal]
    return np.abs(roots).max()


@pytest.mark.parametrize("ends", [(0.1, 5.0), (1.0, 1.5)])
def test_polyaks_steps_contract_fastest(ends):
    """No pair of rate and momentum nearby does better than what is learned from the exact spectrum."""
    diagonal = np.linspace(*ends, 6)
    like = torch.zeros(6, dtype=torch.float64)
    options = {"safety": 1.0, "n_steps": 6, "generator": seeded()}
    steps = batches.learn_steps([quadratic(diagonal.tolist())], like, momentum="polyak", **options)
    ours = contraction(diagonal, steps.learning_rate, steps.momentum)
    assert ours == pytest.approx(math.sqrt(steps.momentum), abs=1e-4)
    for a, b in itertools.product((0.93, 1, 1.07), repeat=2):
        assert contraction(diagonal, a * steps.learning_rate, b * steps.momentum) > ours - 1e-4
    plain = batches.learn_steps([quadratic(diagonal.tolist())], like, **options)
    assert plain.momentum == 0
    assert contraction(diagonal, plain.learning_rate, 0) == pytest.approx(1)  # where stability ends


def test_the_damped_steps_raise_both_ends_by_the_edge_of_the_bulk():
    """A semicircle of radius 0.2 and one spike: the edge is found, and enters Polyak's formula."""
    d, top = 400, 2.0
    bulk = np.cos(
        np.pi * np.arange(1, d + 1) / (d + 1)
    )  # Chebyshev's points: weights sin² make the semicircle
    share = np.sin(np.pi * np.arange(1, d + 1) / (d + 1)) ** 2
    copies = np.repeat(bulk, np.round(d * share / share.sum()).astype(int))[: d - 1]
    diagonal = np.concatenate([0.2 * copies, np.zeros(d - 1 - len(copies)), [top]])
    like = torch.zeros(d, dtype=torch.float64)
    products = [quadratic(diagonal.tolist())] * 8
    steps = batches.learn_steps(products, like, momentum="damped", n_steps=20, safety=1.0, generator=seeded())
    edge = 2 * math.sqrt(np.square(diagonal[:-1]).mean())
    assert edge == pytest.approx(0.2, rel=0.08)  # twice the standard deviation of a semicircle
    root = (1 - math.sqrt(steps.momentum)) / (1 + math.sqrt(steps.momentum))
    bottom = (top + edge) * root**2
    assert 0.98 * edge < bottom < 1.1 * edge  # the edge, and what little the smallest positive node adds
    high, low = math.sqrt(top + edge), math.sqrt(bottom)
    assert steps.learning_rate == pytest.approx(4 / (high + low) ** 2, rel=0.02)


def test_the_learner_averages_over_batches_and_halves_the_limit():
    like = torch.zeros(3, dtype=torch.float64)
    products = [quadratic([-1.0, 1.0, 2.0]), quadratic([0.5, 1.0, 4.0])]
    steps = batches.learn_steps(products, like, n_steps=3, generator=seeded())
    assert steps.learning_rate == pytest.approx(1 / 3)


def test_a_learned_training_takes_the_steps_that_were_learned():
    """Two epochs of two batches, by hand: new steps before each, the velocity kept."""
    sampled, point, _ = small(n=8)
    options = {"momentum": "polyak", "safety": 0.5, "batch_size": 4, "n_batches": 2, "n_steps": 5}
    trained, history = experiment.train_learned(
        sampled, point[None], streams("learned"), n_epochs=2, **options
    )
    shuffle, velocity, at = streams("learned")("batches", 4), torch.zeros_like(point), point.clone()
    for epoch in range(2):
        generator = streams("learned")("learner", epoch, 0)
        looked = [torch.randperm(8, generator=generator)[:4] for _ in range(2)]
        steps = batches.learn_steps(
            [sampled.product(at, "hessian", batch) for batch in looked],
            at,
            momentum="polyak",
            n_steps=5,
            generator=generator,
        )
        assert history[epoch][0].momentum == pytest.approx(steps.momentum) != 0
        for batch in torch.randperm(8, generator=shuffle).split(4):
            gradient = torch.func.grad(
                lambda p, batch=batch: functional.cross_entropy(
                    sampled.call(p, sampled.inputs[batch]), sampled.labels[batch]
                )
            )(at)
            velocity = steps.momentum * velocity + gradient
            at = at - steps.learning_rate * velocity
    torch.testing.assert_close(trained[0, 0], at)


# --- Training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: heavy_ball(0.3, 0.9), lambda p: torch.optim.SGD(p, 0.3, momentum=0.9)),
        (lambda: adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    ],
    ids=["momentum", "adam"],
)
def test_a_training_is_torch_s(ours, theirs):
    """On the same batches, with a rate that is another one in each epoch."""
    sampled, point, _ = small(n=8)
    factors = {0.0: 1.0, 0.25: 0.7, 0.5: 1.6, 0.75: 0.1}  # of the rate, by the share of epochs done
    trained = batches.train_runs(
        *(sampled, point[None, None], ours()),
        batch_size=3,
        n_epochs=4,
        generator=seeded(),
        schedule=factors.__getitem__,
    )
    weights = point.clone().requires_grad_()
    optimiser, generator = theirs([weights]), seeded()
    (group,) = optimiser.param_groups
    rate = group["lr"]
    for factor in factors.values():
        group["lr"] = factor * rate
        order = torch.randperm(8, generator=generator)
        for batch in (order[:3], order[3:6]):
            optimiser.zero_grad()
            outputs = sampled.call(weights, sampled.inputs[batch])
            functional.cross_entropy(outputs, sampled.labels[batch]).backward()
            optimiser.step()
    torch.testing.assert_close(trained[0, 0], weights.detach())


def test_runs_side_by_side_are_runs_alone():
    sampled, point, _ = small(n=12)
    points = torch.stack([point, point.flip(0)])[:, None].expand(-1, 2, -1)
    rates = torch.tensor([[0.1], [0.4]], dtype=torch.float64)
    options = {"batch_size": 4, "n_epochs": 3, "schedule": batches.SCHEDULES["decayed"]}
    together = batches.train_runs(sampled, points, heavy_ball(rates), generator=seeded(), **options)
    for setting, rate in enumerate((0.1, 0.4)):
        alone = batches.train_runs(sampled, points[:, :1], heavy_ball(rate), generator=seeded(), **options)
        torch.testing.assert_close(together[:, setting], alone[:, 0])


def test_every_epoch_deals_every_sample_once():
    dealt = list(batches.epochs_of_batches(12, 4, 2, 3, seeded()))
    assert len(dealt) == 6
    for run in range(3):
        for epoch in (dealt[:3], dealt[3:]):
            assert torch.cat([batch[run] for batch in epoch]).sort().values.tolist() == list(range(12))
    assert not torch.equal(dealt[0][0], dealt[0][1])


def test_the_schedule_is_the_authors():
    schedule = batches.SCHEDULES["decayed"]
    assert [schedule(share) for share in (0, 0.5, 0.7, 0.9, 1)] == pytest.approx([1, 1, 0.505, 0.01, 0.01])


def test_errors_of_a_broken_run_count_in_full():
    sampled, point, _ = small(n=12)
    points = torch.stack([point, torch.full_like(point, math.nan)])[None]
    losses, errors = batches.evaluate(sampled, points)
    outputs = sampled.call(point, sampled.inputs)
    assert losses[0, 0].item() == pytest.approx(functional.cross_entropy(outputs, sampled.labels).item())
    assert errors[0, 0].item() == pytest.approx((outputs.argmax(1) != sampled.labels).double().mean().item())
    assert math.isnan(losses[0, 1])
    assert errors[0, 1] == 1


def test_the_sweep_works_where_the_rate_is_below_the_limit():
    """Softmax regression is convex: full-batch descent falls for any rate below 2/λ₁ at zero, which bounds λ₁."""
    _, call = flat_parameters(nn.Linear(4, 3, bias=False))
    inputs = random(24, 4)
    sampled = SampledLoss(call, inputs, (inputs @ random(4, 3, seed=9)).argmax(dim=1))
    limit = 2 * 3 / np.linalg.eigvalsh((inputs.T @ inputs).numpy() / 24)[-1]
    rates = torch.tensor([1e-6, 0.9 * limit, 1e3 * limit], dtype=torch.float64)
    zero = torch.zeros(2, 12, dtype=torch.float64)
    losses = experiment.sweep(sampled, zero, rates, [24, 6], "SGD", streams("sweep"), n_epochs=30)
    assert losses.shape == (2, 2, 3)
    torch.testing.assert_close(losses[:, 0, 0], torch.full((2,), math.log(3)).double(), rtol=1e-3, atol=0)
    assert (losses[..., 1] < 0.3).all()


def test_rivals_are_tuned_on_the_validation_images():
    sampled, point, _ = small(n=24)
    held_out, test = (SampledLoss(sampled.call, random(9, 4, seed=k), torch.arange(9) % 3) for k in (5, 6))
    rates = torch.tensor([1e-3, 0.1, 1.0, 30.0], dtype=torch.float64)
    arguments = sampled, held_out, test, point[None].expand(2, -1), point.flip(0)[None].expand(3, -1), rates
    rivals = experiment.tune_rivals(*arguments, streams("rivals"), batch_size=8, n_epochs=5)
    assert set(rivals) == {(name, momentum) for name in ("constant", "decayed") for momentum in (0.0, 0.9)}
    rival = rivals["decayed", 0.9]
    trained = batches.train_runs(
        *(sampled, point[None, None].expand(2, 4, -1), heavy_ball(rates[:, None], 0.9)),
        batch_size=8,
        n_epochs=5,
        generator=streams("rivals")("tuning", "batches", 8),
        schedule=batches.SCHEDULES["decayed"],
    )
    lowest, best = batches.evaluate(held_out, trained)[1].mean(dim=0).min(dim=0)
    assert rival.validation == pytest.approx(lowest.item())
    assert rival.learning_rate == pytest.approx(rates[best].item())
    torch.testing.assert_close(rival.errors, rival.all_errors[:, best])


# --- Networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gain"), [("perceptron", 1.0), ("convolutional", 2.0)])
def test_first_weights_keep_the_scale_of_what_passes(name, gain):
    network = batches.NETWORKS[name](64, 16)
    points = batches.first_points(network, 3, seeded())
    assert not torch.equal(points[0], points[1])
    for piece, weights in zip(
        points.split([w.numel() for w in network.parameters()], dim=1), network.parameters(), strict=True
    ):
        expected = gain / weights[0].numel() if weights.ndim > 1 else 0.0
        assert piece.var(correction=0).item() == pytest.approx(expected, rel=0.15)
    assert network(torch.zeros(2, 64)).shape == (2, 10)


def test_images_are_dealt_without_overlap():
    parts = experiment.split_images("digits", [1000, 797], seeded())
    images, labels = (torch.cat(both) for both in zip(*parts, strict=True))
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert len(images.unique(dim=0)) == 1797
    assert images.mean(dim=0).abs().max() < 1e-6


def test_the_laws_are_simulated_with_their_own_noise():
    sizes, laws = [4, 64], experiment.laws_at_home(150)
    assert [laws["top"](size) for size in sizes] == pytest.approx([4.0, 1.25])
    assert [laws["bottom"](size) for size in sizes] == pytest.approx([-4.0, -1.0])
    drawn = experiment.simulate_laws(150, sizes, 2, streams("laws"))
    for name, law in laws.items():
        assert drawn[name].shape == (2, 8 if name == "sample covariance" else 2)
        means = [row.mean().item() / law(size) - 1 for row, size in zip(drawn[name], sizes, strict=True)]
        value, error = experiment.farthest(drawn[name], law, sizes)
        assert value == pytest.approx(max(map(abs, means)), rel=1e-5)
        assert 0 < error < 0.25
        assert value < 0.25


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batches.effective_batch_size(0, 9), "batch_size must be between 1 and 9"),
        (lambda: batches.effective_batch_size(10, 9), "batch_size must be between 1 and 9"),
        (lambda: batches.additive_extreme(0.0, 1.0, 2.0), "eigenvalue must not be zero"),
        (lambda: batches.additive_extreme(math.nan, 1.0, 2.0), "eigenvalue must be finite"),
        (lambda: batches.additive_extreme(1.0, -1.0, 2.0), "noise must not be negative"),
        (lambda: batches.multiplicative_extreme(-1.0, 1.0, 10, 2.0), "eigenvalue must be positive"),
        (lambda: batches.multiplicative_extreme(1.0, 1.0, 10, 0.0), "size must be positive"),
        (lambda: small()[0].product(small()[1], "hesian"), "did you mean 'hessian'"),
        (lambda: experiment.split_images("digit", [1], seeded()), "did you mean 'digits'"),
        (lambda: experiment.split_images("digits", [1000, 1000], seeded()), "at most 1797 images"),
        (
            lambda: batches.learn_steps([quadratic([-1.0, -2.0])], torch.zeros(2).double(), n_steps=2),
            "products must have a positive eigenvalue",
        ),
        (lambda: batches.learn_steps([], torch.zeros(2)), "the number of products must be at least 1"),
        (
            lambda: batches.learn_steps([quadratic([1.0, 2.0])], torch.zeros(2), momentum="dampd"),
            "did you mean 'damped'",
        ),
        (
            lambda: batches.learn_steps([quadratic([1.0, 2.0])], torch.zeros(2)),
            "n_steps must be between 1 and the dimension 2; got 12",
        ),
        (
            lambda: batches.largest_stable(torch.tensor([1.0, 0.5]), torch.zeros(2), 0.3),
            "learning_rates must be ascending",
        ),
        (
            lambda: batches.largest_stable(torch.tensor([0.5, 1.0]), torch.zeros(3), 0.3),
            "losses must have 2 columns",
        ),
        (lambda: batches.log_log_slope([2, 2], torch.ones(2)), "sizes must be different"),
        (
            lambda: next(batches.epochs_of_batches(3, 4, 1, 1, seeded())),
            "batch_size must be at most n_samples",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_batch_normalisation_is_refused():
    """Each sample alone would have no variance: torch says so before a wrong number comes out."""
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    point, call = flat_parameters(network)
    sampled = SampledLoss(call, random(6, 4).float(), torch.arange(6) % 3)
    with pytest.raises((ValueError, RuntimeError), match=r"more than 1 value per channel|in-place"):
        sampled.images(point, torch.ones_like(point))
