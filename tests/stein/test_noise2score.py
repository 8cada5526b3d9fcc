"""Noise2Score against Gaussian data, quadrature, sums by hand, invariances, scikit-image and deepinv.

Tweedie's formulas have their own tests in `tests/foundations/test_tweedie.py`, the noise in `test_noise.py`.
"""

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from regularity.data import centre_crop, photograph
from regularity.foundations.metrics import psnr
from regularity.foundations.noise import (
    ADD_NOISE,
    add_gaussian_noise,
    standard_normal_like,
    undo_stabilisation,
)
from regularity.foundations.risk import exact_divergence, sure_gaussian
from regularity.foundations.training import fit
from regularity.foundations.tweedie import tweedie_gamma, tweedie_gaussian, tweedie_poisson
from regularity.stein.noise2score import (
    Condition,
    ardae_loss,
    ardae_residual,
    as_denoiser,
    as_score,
    classical_denoise,
    estimate_noise_parameter,
    experiment,
    j_invariant_denoise,
    make_noisy_pool,
    noise2self_loss,
    noise2void_loss,
    perturbation_schedule,
    quality_penalty,
    sample_patches,
    sure_loss,
    variation_of,
)
from tests.draws import seeded
from tests.peers import import_deepinv

deepinv = import_deepinv()


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def numbered(height, width):
    """An image whose pixels tell where they come from."""
    return torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width)


class Spy:
    """The identity; remembers what it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, images):
        self.seen.append(images)
        return images


def curved_convolution(seed=0):
    """A fixed map of images that looks at 5×5 neighbourhoods, the centre too."""
    kernel = normal(1, 1, 5, 5, seed=seed) / 5
    return lambda images: torch.tanh(torch.nn.functional.conv2d(images, kernel, padding=2))


# --- The perturbation's schedule ----------------------------------------------------------------------------------


def test_perturbation_falls_linearly_to_its_end():
    """The authors' numbers: from 0.05 to 0.001 over 22,000 steps, counted from one."""
    assert perturbation_schedule(0, 22_000) == pytest.approx(0.05 - 0.049 / 22_000)
    assert perturbation_schedule(10_999, 22_000) == pytest.approx((0.05 + 0.001) / 2)
    assert perturbation_schedule(21_999, 22_000) == pytest.approx(0.001, abs=1e-15)
    levels = [perturbation_schedule(step, 50, start=0.3, end=0.1) for step in range(50)]
    np.testing.assert_allclose(np.diff(levels), -0.2 / 50)


def test_perturbation_stays_at_its_end_after_a_fraction():
    levels = [perturbation_schedule(step, 100, start=0.1, end=0.05, fraction=0.8) for step in range(100)]
    assert levels[39] == pytest.approx(0.075)
    np.testing.assert_allclose(levels[79:], 0.05)
    assert min(levels[:79]) > 0.05
    assert perturbation_schedule(5, 10, start=0.1, end=0.1) == pytest.approx(0.1)


# --- AR-DAE: the score of the blurred data -------------------------------------------------------------------------


def gauss_hermite(n_nodes=60):
    """Nodes and weights of expectations under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return torch.as_tensor(nodes), torch.as_tensor(weights / weights.sum())


def minimiser_and_minimum(loss):
    """Of a parabola, through three of its points."""
    low, middle, high = (loss(slope) for slope in (0.0, 1.0, 2.0))
    curvature = low - 2 * middle + high
    best = (3 * low - 4 * middle + high) / (2 * curvature)
    return best, low - curvature * best**2 / 2


@pytest.mark.parametrize("perturbation_std", [0.02, 0.1, 0.5])
def test_linear_score_of_gaussian_data(perturbation_std):
    """For y ~ N(m, t² + σ²) and R = −c (y − m): c = 1 / (t² + σ² + σ_a²), least loss 1 − σ_a² c."""
    mean, variance, noise_std = 0.4, 0.09, 0.2
    nodes, weights = gauss_hermite(8)
    noisy = (mean + math.sqrt(variance + noise_std**2) * nodes)[:, None].expand(8, 8)
    perturbation = nodes.expand(8, 8)

    def expected_loss(slope):
        residual = ardae_residual(lambda y: -slope * (y - mean), noisy, perturbation, perturbation_std)
        return (weights[:, None] * weights * residual**2).sum().item()

    best, least = minimiser_and_minimum(expected_loss)
    slope = 1 / (variance + noise_std**2 + perturbation_std**2)
    assert best == pytest.approx(slope, rel=1e-9)
    assert least == pytest.approx(1 - perturbation_std**2 * slope, rel=1e-12)


def test_sampled_loss_has_the_same_minimiser():
    noisy = 0.4 + 0.36 * normal(100_000, 1)
    best, least = minimiser_and_minimum(
        lambda slope: ardae_loss(lambda y: -slope * (y - 0.4), noisy, 0.3, seeded(1)).item()
    )
    assert best == pytest.approx(1 / (0.36**2 + 0.3**2), rel=0.02)
    assert least == pytest.approx(1 - 0.3**2 / (0.36**2 + 0.3**2), rel=0.02)


def test_loss_is_the_mean_square_of_the_residual():
    noisy, score = uniform(3, 1, 4, 4), curved_convolution()
    residual = ardae_residual(score, noisy, standard_normal_like(noisy, seeded(7)), 0.1)
    assert ardae_loss(score, noisy, 0.1, seeded(7)).item() == pytest.approx(residual.square().mean().item())
    assert (
        ardae_loss(torch.zeros_like, noisy, 0.1, seeded(7))
        == standard_normal_like(noisy, seeded(7)).square().mean()
    )


@pytest.mark.parametrize("probe", [torch.sin, torch.square, lambda y: torch.exp(-(y**2))])
def test_score_of_a_blurred_mixture_is_stationary(probe):
    """The residual is orthogonal to every function of y + σ_a u at the score of the data blurred by σ_a."""
    centres, data_std, blur = torch.tensor([-1.0, 0.3, 0.9], dtype=torch.float64), 0.2, 0.3
    nodes, weights = gauss_hermite()
    noisy = (centres[:, None, None] + data_std * nodes[:, None]).expand(3, 60, 60)
    perturbation = nodes.expand(3, 60, 60)
    law = weights[:, None] * weights / 3

    def score_of_mixture(variance):
        def score(y):
            pulls = (centres - y[..., None]) / variance
            shares = torch.softmax(-((centres - y[..., None]) ** 2) / (2 * variance), dim=-1)
            return (shares * pulls).sum(dim=-1)

        return score

    def slope_along_the_probe(variance):
        residual = ardae_residual(score_of_mixture(variance), noisy, perturbation, blur)
        return (law * residual * probe(noisy + blur * perturbation)).sum().abs().item()

    assert slope_along_the_probe(data_std**2 + blur**2) < 1e-9
    assert slope_along_the_probe(data_std**2) > 1e-3  # the score of the data themselves is not the minimiser


def test_ardae_is_sure_up_to_the_square_of_the_perturbation():
    """(E|u + σ_a R(y + σ_a u)|² − n) / σ_a² → |R|² + 2 div R, and SURE(y + σ²R) = nσ² + σ⁴(|R|² + 2 div R)."""
    matrix, noise_std = torch.tensor([[-1.0, 0.4], [0.7, -2.0]], dtype=torch.float64), 0.5

    def score(y):
        return torch.tanh(y @ matrix.T) + torch.sin(y).flip(-1) / 2

    noisy = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    divergence = exact_divergence(score, noisy)
    limit = score(noisy).square().sum() + 2 * divergence.item()
    denoised = tweedie_gaussian(noisy, score(noisy), noise_std)
    sure = sure_gaussian(denoised, noisy, noise_std, 2 + noise_std**2 * divergence)
    assert sure.item() == pytest.approx(2 * noise_std**2 + noise_std**4 * limit.item(), rel=1e-12)

    nodes, weights = gauss_hermite(40)
    perturbation = torch.cartesian_prod(nodes, nodes)
    law = torch.cartesian_prod(weights, weights).prod(dim=-1)

    def error(perturbation_std):
        residual = ardae_residual(score, noisy.expand(1600, 2), perturbation, perturbation_std)
        return ((law * residual.square().sum(dim=-1)).sum() - 2) / perturbation_std**2 - limit

    errors = [error(perturbation_std).item() for perturbation_std in (0.2, 0.1, 0.05, 0.025)]
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert all(3.7 < ratio < 4.3 for ratio in ratios), ratios
    assert ratios[-1] == pytest.approx(4, rel=0.01)


def test_training_on_white_texture_gives_the_wiener_filter_of_the_blurred_data():
    """Fit, score and Tweedie's formula together: x̂ = y − σ² (y − m) / v with v = t² + σ² + σ_a²."""
    mean, texture_std, noise_std, blur = 0.5, 0.15, 0.1, 0.1
    clean = mean + texture_std * normal(4, 1, 64, 64).float()
    noisy = clean + noise_std * normal(4, 1, 64, 64, seed=1).float()
    network = torch.nn.Conv2d(1, 1, kernel_size=1)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    score, generator = as_score(network, scale=0.1), seeded(2)
    fit(
        network,
        lambda _: ardae_loss(score, noisy, blur, generator),
        n_steps=300,
        learning_rate=0.1,
        generator=generator,
    )
    with torch.no_grad():
        denoised = tweedie_gaussian(noisy, score(noisy), noise_std)
    gain = 1 - noise_std**2 / (texture_std**2 + noise_std**2 + blur**2)
    assert (denoised - mean - gain * (noisy - mean)).square().mean().sqrt() < 0.05 * noise_std
    risk = (denoised - clean).square().mean().item()
    assert risk == pytest.approx((1 - gain) ** 2 * texture_std**2 + gain**2 * noise_std**2, rel=0.05)


def test_the_two_readings_of_a_network_agree():
    """Tweedie's formula at noise variance `scale` turns −f/scale into y − f, and at other levels scales f."""
    network, noisy = curved_convolution(), uniform(2, 1, 6, 6)
    torch.testing.assert_close(as_denoiser(network)(noisy), noisy - network(noisy))
    for scale in (0.1, 0.03):
        denoised = tweedie_gaussian(noisy, as_score(network, scale)(noisy), math.sqrt(scale))
        torch.testing.assert_close(denoised, as_denoiser(network)(noisy))


class Backbone(torch.nn.Module):
    """A score network that deepinv's loss can wrap."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.nn.Parameter(normal(1, 1, 3, 3))

    def forward(self, images, physics=None):
        """Return a smooth map of the images."""
        return torch.tanh(torch.nn.functional.conv2d(images, self.kernel, padding=1))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_residual_agrees_with_deepinv(seed):
    """The peer draws its level from N(0, δ²): for a negative one both level and perturbation change sign."""
    peer = deepinv.loss.ScoreLoss(
        deepinv.physics.GaussianNoise(sigma=0.1), total_batches=10, delta=(0.01, 0.1)
    )
    model, noisy = peer.adapt_model(Backbone()).train(), uniform(1, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model(noisy, None, update_parameters=True)
        torch.manual_seed(seed)
        level = (torch.randn(1, 1, 1, 1) * (0.1 * 0.9 + 0.01 * 0.1)).item()  # the first of ten batches
        perturbation = torch.randn_like(noisy)
    residual = ardae_residual(Backbone(), noisy, math.copysign(1, level) * perturbation, abs(level))
    torch.testing.assert_close(residual.square().mean(), peer(model=model))
    assert perturbation_schedule(0, 10, start=0.1, end=0.01) == pytest.approx(0.1 * 0.9 + 0.01 * 0.1)


# --- Penalties ----------------------------------------------------------------------------------------------------


def test_total_variation_by_hand():
    image = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.0, 7.0]])[None, None]
    horizontal, vertical = (2 + 3 + 0 + 5) / 4, (1 + 1 + 7) / 3
    torch.testing.assert_close(variation_of(image), torch.tensor([horizontal + vertical]))


def test_total_variation_of_patterns():
    """Flat: 0. Chessboard: each step is 1, both ways. Ramp: its slopes. Brightness does not count, contrast does."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    images = torch.stack([0 * rows, (rows + columns) % 2, 0.3 * rows - 0.1 * columns])[:, None]
    expected = torch.tensor([0.0, 2.0, 0.4])
    torch.testing.assert_close(variation_of(images), expected)
    torch.testing.assert_close(variation_of(5 - 2 * images), 2 * expected)


@pytest.mark.parametrize("family", ["gaussian", "poisson", "gamma"])
def test_penalties_by_hand_written_sums(family):
    """Pixel after pixel in plain Python, with pixels that are not positive left out."""
    denoised, noisy = uniform(3, 1, 4, 5) + 0.05, uniform(3, 1, 4, 5, seed=1)
    denoised[0, 0, 0, 0], denoised[1, 0, 2, 2], denoised[2] = 0.0, -0.3, -denoised[2]
    penalties = quality_penalty(denoised, noisy, family)
    for n, (estimate, observed) in enumerate(
        zip(denoised.squeeze(1).tolist(), noisy.squeeze(1).tolist(), strict=True)
    ):
        variation = sum(abs(row[j + 1] - row[j]) for row in estimate for j in range(4)) / 16
        variation += sum(abs(estimate[i + 1][j] - estimate[i][j]) for i in range(3) for j in range(5)) / 15
        pairs = [
            (x, y)
            for xs, ys in zip(estimate, observed, strict=True)
            for x, y in zip(xs, ys, strict=True)
            if x > 0
        ]
        terms = {
            "gaussian": [0.0 for x, y in pairs],
            "poisson": [x - y * math.log(x) for x, y in pairs],
            "gamma": [math.log(x) + y / x + (y / x) ** 2 for x, y in pairs],
        }[family]
        weight = 0.1 if family == "poisson" else 1.0
        assert penalties[n].item() == pytest.approx(
            weight * variation + sum(terms) / max(len(pairs), 1), rel=1e-12
        )


# --- The scan over an unknown parameter ----------------------------------------------------------------------------


def test_scan_on_white_texture_takes_the_texture_for_noise():
    """With the exact score −(y − m)/v of white data of variance v = t² + σ²: x̂ is flat, and TV 0, at σ̂² = v."""
    mean = 0.5
    data_std = torch.tensor([0.13, 0.20], dtype=torch.float64)[:, None, None, None]
    noisy = mean + data_std * normal(2, 1, 24, 24)
    score = -(noisy - mean) / data_std**2
    grid = [0.05, 0.1, 0.13, 0.17, 0.2, 0.25]
    found = estimate_noise_parameter(noisy, score, tweedie_gaussian, grid)
    assert found.value.tolist() == pytest.approx([0.13, 0.2])
    torch.testing.assert_close(found.denoised, torch.full_like(noisy, mean))
    shrinkage = (1 - torch.tensor(grid, dtype=torch.float64)[:, None] ** 2 / data_std.flatten() ** 2).abs()
    torch.testing.assert_close(found.curve, shrinkage * variation_of(noisy))


@pytest.mark.parametrize(
    ("family", "denoise", "parameter", "score"),
    [
        ("gaussian", tweedie_gaussian, 0.1, lambda y, x: -(y - x) / 0.1**2),
        (
            "poisson",
            tweedie_poisson,
            0.01,
            lambda y, x: (math.log(x / 0.01) - torch.digamma(y / 0.01 + 1)) / 0.01,
        ),
        ("gamma", tweedie_gamma, 30.0, lambda y, x: 29 / y - 30 / x),
    ],
)
def test_scan_on_a_flat_photograph_finds_the_true_parameter(family, denoise, parameter, score):
    """The noise law's own score: at the true parameter the estimate is the photograph, flat."""
    noisy = ADD_NOISE[family](torch.full((1, 1, 32, 32), 0.6, dtype=torch.float64), parameter, seeded())
    options = {"check_lattice": False} if family == "poisson" else {}
    grid = [parameter * 1.05**step for step in range(-10, 11)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="clamped")  # far from the true shape
        found = estimate_noise_parameter(
            noisy, score(noisy, 0.6), lambda y, r, value: denoise(y, r, value, **options), grid
        )
    assert found.value.item() == pytest.approx(parameter)
    torch.testing.assert_close(found.denoised, torch.full_like(noisy, 0.6), rtol=2e-4, atol=0)


def test_scan_by_another_penalty_and_for_each_image_alone():
    """A penalty whose optimum is known: the distance to a target that differs from image to image."""
    noisy, score = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    targets = torch.tensor([2.0, 5.0, 3.0])
    calls = []

    def denoise(images, scores, value):
        calls.append(len(images))
        return images + value * scores

    found = estimate_noise_parameter(
        noisy,
        score,
        denoise,
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        penalty=lambda estimate, _: (estimate.mean(dim=(1, 2, 3)) - targets).abs(),
    )
    assert torch.equal(found.value, targets)
    assert torch.equal(found.denoised, targets[:, None, None, None].expand(3, 1, 2, 2))
    assert found.curve.shape == (7, 3)
    assert calls == [3] * 7 + [1] * 3  # one call a value for all images, then one an image


# --- The pool -----------------------------------------------------------------------------------------------------

RANGES = {"gaussian": (0.05, 0.15), "poisson": (0.005, 0.05), "gamma": (20.0, 120.0)}


def test_noisy_copies_have_the_moments_of_their_noise():
    photographs = [0.2 + 0.6 * uniform(90, 110, seed=seed).float() for seed in range(4)]
    pool = make_noisy_pool(photographs, RANGES, seeded())
    assert [entry.family for entry in pool] == [*RANGES] * 4
    for entry, photo in zip(pool, [photo for photo in photographs for _ in RANGES], strict=True):
        noisy, clean, second = entry.layers
        assert torch.equal(clean, photo)
        low, high = RANGES[entry.family]
        assert low <= entry.parameter <= high
        variance = {
            "gaussian": entry.parameter**2,
            "poisson": entry.parameter * clean,
            "gamma": clean**2 / entry.parameter,
        }[entry.family]
        first_z, second_z = (noisy - clean) / variance**0.5, (second - clean) / variance**0.5
        n = clean.numel()
        for z in (first_z, second_z):
            assert z.mean().abs() < 4.5 / math.sqrt(n)
            assert (z.square().mean() - 1).abs() < 4.5 * z.square().std() / math.sqrt(n)
        assert (first_z * second_z).mean().abs() < 4.5 / math.sqrt(n)  # independent copies


def test_levels_are_log_uniform_and_come_from_the_generator():
    photographs = [torch.full((1, 1), 0.5)] * 400
    first, again, other = (
        make_noisy_pool(photographs, {"gaussian": (0.01, 1.0)}, seeded(s)) for s in (0, 0, 1)
    )
    levels = np.log10([entry.parameter for entry in first])
    assert stats.kstest(levels, stats.uniform(-2, 2).cdf).pvalue > 0.01
    assert all(
        torch.equal(a.layers, b.layers) and a.parameter == b.parameter
        for a, b in zip(first, again, strict=True)
    )
    assert first[0].parameter != other[0].parameter
    fixed = make_noisy_pool(photographs[:3], {"gamma": (50.0, 50.0)}, seeded())
    assert [entry.parameter for entry in fixed] == pytest.approx([50.0] * 3)


def symmetries(square):
    """The eight symmetries of a square, through NumPy."""
    return [np.rot90(side, turns) for side in (square, square.T) for turns in range(4)]


def test_every_patch_is_a_symmetry_of_a_real_sub_image():
    """Each pixel has its own number, so a patch can be found again; the second layer is cut with the first."""
    sides, size = [(5, 7), (4, 4)], 3
    images = [numbered(*side)[0] + 100 * n for n, side in enumerate(sides)]
    layers = [torch.cat([image, 1000 - image]) for image in images]
    patches, indices = sample_patches(layers, size=size, n_patches=4000, generator=seeded())
    assert patches.shape == (4000, 2, size, size)
    places = {}
    for n, image in enumerate(images):
        for top in range(sides[n][0] - size + 1):
            for left in range(sides[n][1] - size + 1):
                cut = image[0, top : top + size, left : left + size].numpy()
                places |= {one.tobytes(): (n, top, left, s) for s, one in enumerate(symmetries(cut))}
    found = [places[patch[0].numpy().tobytes()] for patch in patches]
    assert torch.equal(patches[:, 1], 1000 - patches[:, 0])
    assert [place[0] for place in found] == indices.tolist()
    # Images, symmetries and, within an image, places are equally likely.
    assert stats.chisquare(np.bincount(indices)).pvalue > 0.001
    assert stats.chisquare(np.bincount([place[3] for place in found], minlength=8)).pvalue > 0.001
    for n, n_places in ((0, 3 * 5), (1, 2 * 2)):
        _, counts = np.unique([place[1:3] for place in found if place[0] == n], axis=0, return_counts=True)
        assert len(counts) == n_places
        assert stats.chisquare(counts).pvalue > 0.001


def test_places_are_drawn_anew_each_time():
    """The least number in a patch tells its place, however it is turned."""
    generator = seeded()
    first, second = (
        sample_patches(list(numbered(9, 9)), size=3, n_patches=40, generator=generator)[0].amin(dim=(1, 2, 3))
        for _ in range(2)
    )
    assert not torch.equal(first, second)


def test_a_patch_may_be_a_whole_image():
    image = numbered(3, 3)[0]
    patches, _ = sample_patches([image], size=3, n_patches=40, generator=seeded())
    whole = {one.tobytes() for one in symmetries(image[0].numpy())}
    assert {patch[0].numpy().tobytes() for patch in patches} == whole


# --- Blind-spot methods -------------------------------------------------------------------------------------------


ALL = 1 - 1e-7  # the share of hidden pixels at which each and every one is hidden


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("surplus", [0, 3])
def test_noise2void_hides_pixels_behind_neighbours_and_never_behind_themselves(radius, surplus):
    """Seen through an image of numbers, at its edges too, where a neighbour may have to come from the other side."""
    height, width = 2 * radius, 2 * radius + surplus
    image, spy, reached = numbered(height, width), Spy(), set()
    place = np.arange(height * width)
    for seed in range(300):
        noise2void_loss(spy, image, seeded(seed), fraction=ALL, radius=radius)
        source = spy.seen[-1].long().flatten().numpy()
        down, right = source // width - place // width, source % width - place % width
        assert (source != place).all()
        assert max(abs(down).max(), abs(right).max()) <= radius
        reached |= set(zip(place.tolist(), down.tolist(), right.tolist(), strict=True))
    # Each pixel has met all its neighbours inside the image, up to a few that chance left out.
    inside = sum(min(row + radius, height - 1) - max(row - radius, 0) + 1 for row in range(height)) * sum(
        min(column + radius, width - 1) - max(column - radius, 0) + 1 for column in range(width)
    )
    assert len(reached) > 0.99 * (inside - height * width)


def test_noise2void_draws_neighbours_alike_and_hides_its_fraction():
    """On a large image, away from edges, the 24 neighbours are equally likely and the share of hidden pixels 5 %."""
    size, spy = 300, Spy()
    noise2void_loss(spy, numbered(size, size), seeded())
    source = spy.seen[0].long().view(size, size)
    place = torch.arange(size**2).view(size, size)
    interior = (slice(2, -2), slice(2, -2))
    hidden = (source != place)[interior]
    assert hidden.double().mean().item() == pytest.approx(
        0.05, abs=4 * math.sqrt(0.05 * 0.95 / hidden.numel())
    )
    down, right = source // size - place // size, source % size - place % size
    codes = ((down + 2) * 5 + right + 2)[interior][hidden]
    counts = np.delete(np.bincount(codes.numpy(), minlength=25), 12)
    assert counts.sum() == hidden.sum()
    assert stats.chisquare(counts).pvalue > 0.001


def test_noise2void_does_not_leak_the_hidden_pixel():
    """The derivative of what the network sees at a hidden pixel by that pixel is zero, everywhere and always."""
    image = uniform(1, 1, 6, 5)

    def seen(noisy, seed, fraction):
        spy = Spy()
        noise2void_loss(spy, noisy, seeded(seed), fraction=fraction)
        return spy.seen[0]

    def diagonal(seed, fraction):
        return (
            torch.autograd.functional.jacobian(lambda y: seen(y, seed, fraction), image)
            .view(30, 30)
            .diagonal()
        )

    for seed in range(50):
        assert not diagonal(seed, ALL).any()
        assert torch.equal(diagonal(seed, 0.5) == 1, (seen(image, seed, 0.5) == image).flatten())


def test_noise2void_counts_hidden_pixels_alone():
    image, network = uniform(2, 1, 8, 8), curved_convolution()
    spy = Spy()
    noise2void_loss(spy, image, seeded(3), fraction=0.2)
    hidden = spy.seen[0] != image
    expected = (network(spy.seen[0]) - image)[hidden].square().mean()
    torch.testing.assert_close(noise2void_loss(network, image, seeded(3), fraction=0.2), expected)


def test_expected_losses_of_the_identity_on_a_flat_photograph():
    """Independent noise: σ² + σ² for one neighbour, σ² (1 + 4/36 + 4/144) for the weighted mean of eight."""
    noisy = add_gaussian_noise(torch.full((1, 1, 400, 400), 0.5, dtype=torch.float64), 0.1, seeded())
    void = noise2void_loss(lambda y: y, noisy, seeded(1), fraction=0.5)
    assert void.item() == pytest.approx(2 * 0.1**2, rel=0.03)
    own = [noise2self_loss(lambda y: y, noisy, seeded(seed)).item() for seed in range(8)]
    assert np.mean(own) == pytest.approx(0.1**2 * (1 + 5 / 36), rel=0.03)


@pytest.mark.parametrize("spacing", [2, 4, 5])
def test_noise2self_hides_a_grid_behind_means_of_neighbours(spacing):
    size, phases = 3 * spacing, set()
    image = uniform(2, 1, size, size)
    padded = np.pad(image.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="reflect")
    weights = {(0, 1): 2, (1, 0): 2, (1, 2): 2, (2, 1): 2, (0, 0): 1, (0, 2): 1, (2, 0): 1, (2, 2): 1}
    means = sum(w * padded[..., i : i + size, j : j + size] for (i, j), w in weights.items()) / 12
    for seed in range(30 * spacing**2):
        spy = Spy()
        loss = noise2self_loss(spy, image, seeded(seed), spacing=spacing)
        hidden = (spy.seen[0] != image).numpy()
        row, column = np.argwhere(hidden[0, 0])[0]
        assert np.array_equal(hidden, np.broadcast_to(hidden[0, 0], hidden.shape))
        expected = np.zeros((size, size), dtype=bool)
        expected[row::spacing, column::spacing] = True
        assert np.array_equal(hidden[0, 0], expected)
        np.testing.assert_allclose(spy.seen[0][hidden], means[hidden], rtol=1e-12)
        assert loss.item() == pytest.approx(np.mean((means - image.numpy())[hidden] ** 2), rel=1e-12)
        phases.add((row, column))
    assert len(phases) == spacing**2


@pytest.mark.parametrize("spacing", [2, 3, 4])
def test_j_invariant_inference_ignores_each_pixels_own_observation(spacing):
    """The Jacobian's diagonal is zero; that of the denoiser itself is not."""
    denoiser, noisy = curved_convolution(), uniform(1, 1, 7, 6)

    def diagonal(map_of_images):
        return torch.autograd.functional.jacobian(map_of_images, noisy).view(42, 42).diagonal()

    assert not diagonal(lambda y: j_invariant_denoise(denoiser, y, spacing=spacing)).any()
    assert diagonal(denoiser).abs().min() > 0


def test_j_invariant_inference_keeps_what_each_pass_hid():
    """For the identity: the mean of the neighbours everywhere; on a plane, away from edges, the plane itself."""
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(8.0), indexing="ij")
    plane = (0.1 * rows - 0.05 * columns)[None, None]
    spy = Spy()
    denoised = j_invariant_denoise(spy, plane)
    assert len(spy.seen) == 16
    torch.testing.assert_close(denoised[..., 1:-1, 1:-1], plane[..., 1:-1, 1:-1])
    noisy = uniform(2, 1, 9, 8)
    assert (j_invariant_denoise(lambda y: y, noisy) != noisy).all()


# --- SURE as a loss ------------------------------------------------------------------------------------------------


def test_sure_loss_of_a_shrinkage_along_its_direction():
    """D(y) = c y has divergence c |b|² along b: all of the loss by hand."""
    noisy, noise_std, shrinkage = uniform(3, 1, 5, 5), 0.2, 0.7
    direction = standard_normal_like(noisy, seeded(4))
    expected = (0.3**2 * noisy.square() + noise_std**2 * (2 * shrinkage * direction.square() - 1)).mean()
    loss = sure_loss(lambda y: shrinkage * y, noisy, noise_std, seeded(4))
    torch.testing.assert_close(loss, expected)


def test_sure_loss_is_the_risk_on_average():
    truth, noise_std = uniform(1, 1, 16, 16).expand(300, 1, 16, 16), 0.3
    noisy = truth + noise_std * normal(300, 1, 16, 16)
    denoiser = curved_convolution()
    losses = torch.stack(
        [sure_loss(denoiser, y[None], noise_std, seeded(n), step=1e-3) for n, y in enumerate(noisy)]
    )
    risks = (denoiser(noisy) - truth).square().flatten(1).mean(dim=1)
    difference = losses - risks
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(300)
    assert difference.mean().abs() < 0.1 * risks.mean()


def test_sure_loss_agrees_with_deepinv_along_the_same_direction():
    noisy, network = uniform(4, 1, 8, 8), curved_convolution()
    peer = deepinv.loss.SureGaussianLoss(sigma=0.2, tau=0.01, rng=seeded(5))
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.2))
    theirs = peer(y=noisy, x_net=network(noisy), physics=physics, model=lambda y, _: network(y))
    ours = sure_loss(network, noisy, 0.2, seeded(5), step=0.01)
    torch.testing.assert_close(ours, theirs.mean())
    levels = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    mixed = sure_loss(network, noisy, levels, seeded(5))
    direction = standard_normal_like(noisy, seeded(5))
    slope = (direction * (network(noisy + 0.01 * direction) - network(noisy)) / 0.01).flatten(1).mean(dim=1)
    residual = (network(noisy) - noisy).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(mixed, (residual + levels**2 * (2 * slope - 1)).mean())


# --- Classical denoisers -------------------------------------------------------------------------------------------


def test_classical_denoisers_are_scikit_images_for_gaussian_noise():
    noisy = add_gaussian_noise(uniform(2, 1, 20, 24), 0.1, seeded())
    means = classical_denoise(noisy, "gaussian", 0.1, "non-local means", strength=0.6)
    variation = classical_denoise(noisy, "gaussian", 0.1, "total variation", strength=0.8)
    for n, layer in enumerate(noisy[:, 0].numpy()):
        by_hand = denoise_nl_means(layer, patch_size=5, patch_distance=6, h=0.06, fast_mode=True, sigma=0.1)
        np.testing.assert_allclose(means[n, 0], by_hand, rtol=1e-10)
        by_hand = denoise_tv_chambolle(layer, weight=0.08, eps=1e-5)
        np.testing.assert_allclose(variation[n, 0], by_hand, rtol=1e-10)


@pytest.mark.parametrize(
    ("family", "parameter", "transform", "noise_std"),
    [
        ("poisson", 0.02, lambda y: 2 * np.sqrt(y / 0.02 + 3 / 8), 1.0),
        ("gamma", 30.0, np.log, stats.loggamma(30.0).std()),
    ],
)
def test_classical_denoisers_work_where_the_variance_is_constant(family, parameter, transform, noise_std):
    noisy = ADD_NOISE[family](0.2 + 0.6 * uniform(1, 1, 20, 20), parameter, seeded())
    by_hand = denoise_tv_chambolle(transform(noisy[0, 0].numpy()), weight=0.5 * noise_std, eps=1e-5)
    expected = undo_stabilisation(torch.as_tensor(by_hand), family, parameter)
    found = classical_denoise(noisy, family, parameter, "total variation", strength=0.5)
    torch.testing.assert_close(found[0, 0], expected)
    by_hand = denoise_nl_means(
        transform(noisy[0, 0].numpy()),
        patch_size=5,
        patch_distance=6,
        h=0.5 * noise_std,
        fast_mode=True,
        sigma=noise_std,
    )
    expected = undo_stabilisation(torch.as_tensor(by_hand), family, parameter)
    found = classical_denoise(noisy, family, parameter, "non-local means", strength=0.5)
    torch.testing.assert_close(found[0, 0], expected)


def test_limits_of_total_variation():
    """No strength: the observation. Boundless strength: a flat image at the mean."""
    noisy = uniform(1, 1, 8, 8)
    weak = classical_denoise(noisy, "gaussian", 1e-7, "total variation", strength=1e-3)
    torch.testing.assert_close(weak, noisy, rtol=0, atol=1e-6)
    strong = classical_denoise(noisy, "gaussian", 1.0, "total variation", strength=100.0)
    assert strong.std() < 0.1 * noisy.std()
    assert strong.mean().item() == pytest.approx(noisy.mean().item(), rel=1e-6)


@pytest.mark.parametrize(("family", "parameter"), [("gaussian", 0.1), ("poisson", 0.02), ("gamma", 30.0)])
@pytest.mark.parametrize("method", ["non-local means", "total variation"])
def test_classical_denoisers_denoise_a_photograph(family, parameter, method):
    clean = centre_crop(photograph("camera"), 96)[None, None]
    noisy = ADD_NOISE[family](clean, parameter, seeded())
    denoised = classical_denoise(noisy, family, parameter, method, strength=0.7)
    assert denoised.dtype == torch.float32
    assert psnr(denoised, clean)[0] > psnr(noisy, clean)[0] + 3


# --- Problems and runs --------------------------------------------------------------------------------------------

QUICK = experiment.Training(width=4, n_steps=6, patch_size=16, batch_size=2)


def small_pool():
    return make_noisy_pool([uniform(24, 24).float(), uniform(20, 28, seed=1).float()], RANGES, seeded())


def output_of(network):
    with torch.inference_mode():
        return network(uniform(1, 1, 16, 16, seed=7).float())


@pytest.mark.parametrize(
    "method", ["Noise2Score", "Noise2Self", "Noise2Void", "Noise2Noise", "supervised", "SURE"]
)
def test_a_training_sees_what_its_method_may_see(method):
    """Clean images, second copies and noise levels are put out of order one by one: only who may see them notices."""
    pool = small_pool()
    usual = output_of(experiment.train(method, pool, QUICK, seed=3))
    assert torch.equal(usual, output_of(experiment.train(method, pool, QUICK, seed=3)))
    assert not torch.equal(usual, output_of(experiment.train(method, pool, QUICK, seed=4)))
    seen = {}
    for layer, name in enumerate(("noisy", "clean", "second")):
        changed = [replace(entry, layers=entry.layers.clone()) for entry in pool]
        for entry in changed:
            entry.layers[layer] = entry.layers[layer].flip(0)
        seen[name] = not torch.equal(usual, output_of(experiment.train(method, changed, QUICK, seed=3)))
    changed = [replace(entry, parameter=2 * entry.parameter) for entry in pool]
    seen["level"] = not torch.equal(usual, output_of(experiment.train(method, changed, QUICK, seed=3)))
    allowed = {"Noise2Noise": {"second"}, "supervised": {"clean"}, "SURE": {"level"}}.get(method, set())
    assert {name for name, noticed in seen.items() if noticed} == {"noisy"} | allowed


def test_every_method_begins_alike_and_gets_the_same_patches(monkeypatch):
    given, draws = {}, []

    def remember(method):
        def loss(network, batch):
            given.setdefault(method, []).append((batch, [p.clone() for p in network.parameters()]))
            draws.append(torch.rand((), generator=batch.generator).item())
            return sum(p.square().sum() for p in network.parameters())

        return loss

    monkeypatch.setattr(experiment, "LOSSES", {name: remember(name) for name in ("one", "other")})
    for method in ("one", "other"):
        experiment.train(method, small_pool(), QUICK, seed=3)
    for (batch, weights), (other_batch, other_weights) in zip(given["one"], given["other"], strict=True):
        assert torch.equal(batch.noisy, other_batch.noisy)
        assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))
    assert len(set(draws)) == len(draws)  # no step, and no method, sees the perturbation of another
    patches = [batch.noisy for batch, _ in given["one"]]
    assert not torch.equal(patches[0], patches[1])
    stds = [batch.perturbation_std for batch, _ in given["one"]]
    assert stds[0] > stds[2] > stds[-1] == pytest.approx(0.05)


def test_each_step_has_a_fresh_perturbation():
    images, generator = torch.zeros(1, 1, 8, 8), seeded()
    spy = Spy()
    for _ in range(2):
        ardae_loss(spy, images, 1.0, generator)
    assert not torch.equal(*spy.seen)


def test_first_weights_are_he_s_or_the_authors():
    for architecture in ("unet", "noise2noise"):
        settings = replace(QUICK, architecture=architecture, width=16, initial_std=0.02)
        network = experiment.make_network(settings, seeded())
        layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        weights = torch.cat([layer.weight.detach().flatten() for layer in layers]).numpy()
        assert stats.kstest(weights / 0.02, "norm").pvalue > 1e-3
        assert all(not layer.bias.any() for layer in layers)
    scaled = experiment.make_network(QUICK, seeded())
    assert next(scaled.parameters()).std() > 0.1


@pytest.mark.parametrize("family", ["gaussian", "poisson", "gamma"])
def test_the_spread_at_mid_grey_is_that_of_the_noise(family):
    condition = Condition("c", family, {"gaussian": 0.1, "poisson": 0.02, "gamma": 30.0}[family])
    grey = torch.full((1, 1, 300, 300), 0.5)
    spread = ADD_NOISE[family](grey, condition.parameter, seeded()).std().item()
    assert condition.std_at_mid_grey == pytest.approx(spread, rel=0.02)


FORMULAS = {  # of y, the score and the parameter, written out
    "gaussian": (0.1, lambda y, score: y + 0.1**2 * score),
    "poisson": (0.02, lambda y, score: (y + 0.01) * torch.exp(0.02 * score)),
    "gamma": (30.0, lambda y, score: 30 * y / (29 - y * score)),
}


@pytest.mark.parametrize("family", FORMULAS)
def test_each_noise_is_taken_out_by_its_own_formula(family):
    parameter, formula = FORMULAS[family]
    noisy = 0.02 * (10 + 40 * uniform(1, 1, 8, 8)).round()  # multiples of the Poisson noise's count
    network = curved_convolution()
    expected = formula(noisy, -network(noisy) / 0.2)
    condition = Condition("c", family, parameter)
    (restored,) = experiment.restore("Noise2Score", network, [noisy], condition, 0.2)
    torch.testing.assert_close(restored, expected)
    grid = [0.5 * parameter, parameter, 2 * parameter]

    def penalty(denoised, _):
        return (denoised - expected).square().flatten(1).mean(dim=1)

    (found,) = experiment.scan(as_score(network, 0.2), [noisy], family, grid, penalty)
    assert found.value.item() == pytest.approx(parameter)
    torch.testing.assert_close(found.denoised, expected)


def test_restoring_is_tweedie_s_formula_masked_passes_or_the_network():
    condition = Condition("c", "gaussian", 0.1)
    noisy = uniform(1, 1, 8, 8).float()
    network = curved_convolution()

    def smooth(images):
        return network(images.double()).float()

    score = -smooth(noisy) / 0.2
    expected = {
        "Noise2Score": noisy + 0.1**2 * score,
        "Noise2Self": j_invariant_denoise(as_denoiser(smooth), noisy),
        "supervised": noisy - smooth(noisy),
    }
    for method, image in expected.items():
        (restored,) = experiment.restore(method, smooth, [noisy], condition, 0.2)
        torch.testing.assert_close(restored, image)


def test_weak_noise_has_a_strength_of_its_own():
    noisy = uniform(1, 1, 24, 24).float()
    for std, strength in ((25 / 255, 0.3), (15 / 255, 0.9)):
        condition = Condition("c", "gaussian", std)
        (found,) = experiment.restore_classically("total variation", [noisy], condition, (0.3, 0.9))
        expected = classical_denoise(noisy, "gaussian", std, "total variation", strength=strength)
        torch.testing.assert_close(found, expected)


def test_the_lattice_has_its_best_perturbation_where_it_was_worked_out():
    """Root mean square distances of an independent computation, in counts."""
    lattice = experiment.poisson_on_the_lattice([0.1, 0.7, 1.0, 2.0, 3.0])
    for std, distance in ((0.7, 0.057), (1.0, 0.082), (2.0, 0.156), (3.0, 0.233)):
        assert lattice.distances[std] == pytest.approx(distance, abs=0.02)
    few = slice(0, 40)
    np.testing.assert_allclose(lattice.estimates[0.1][few], lattice.counts[few] + 0.5, rtol=0.02)
    assert (lattice.geometric_mean < lattice.arithmetic_mean).all()


def test_the_formulas_are_exact_under_conjugate_priors():
    errors = experiment.conjugate_errors()
    assert max(errors["gaussian"], errors["gamma"]) < 1e-12
    # By Stirling's series log z + ½ differs from ψ(z + 1) by 1/(24 z²) relatively; at five counts 0.14 %.
    assert errors["poisson"] == pytest.approx(1 / (24 * 5.5**2), rel=0.05)


def test_a_scan_is_one_pass_and_tweedie_s_formula():
    calls = []

    def score(y):
        calls.append(y)
        return -(y - 2) / 9

    y = torch.tensor([[[[-1.0, 5.0], [5.0, -1.0]]]])
    (found,) = experiment.scan(score, [y], "gaussian", [1.0, 2.0, 3.0, 4.0])
    assert found.value.item() == 3.0
    assert len(calls) == 1


# --- Bad input ----------------------------------------------------------------------------------------------------

IMAGES = torch.full((1, 1, 8, 8), 0.5)
SCORE = torch.zeros(1, 1, 8, 8)


def identity(images):
    return images


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan")])
def test_perturbation_must_be_positive(bad):
    with pytest.raises(ValueError, match=f"perturbation_std must be positive and finite; got {bad}"):
        ardae_loss(identity, IMAGES, bad)
    with pytest.raises(ValueError, match=f"end must be positive and finite; got {bad}"):
        perturbation_schedule(0, 10, end=bad)
    with pytest.raises(ValueError, match=f"scale must be positive and finite; got {bad}"):
        as_score(identity, bad)


@pytest.mark.bad_input
def test_perturbation_must_not_rise():
    with pytest.raises(ValueError, match=r"end must not be above start; got start=0\.01, end=0\.1"):
        perturbation_schedule(0, 10, start=0.01, end=0.1)


@pytest.mark.bad_input
@pytest.mark.parametrize("grid", [[], [0.1], [0.1, 0.2]])
def test_grid_must_have_an_inside(grid):
    with pytest.raises(ValueError, match=f"grid must have at least three values; got {len(grid)}"):
        estimate_noise_parameter(IMAGES, SCORE, tweedie_gaussian, grid)


@pytest.mark.bad_input
@pytest.mark.parametrize("grid", [[0.3, 0.2, 0.1], [0.1, 0.2, 0.2]])
def test_grid_must_increase(grid):
    with pytest.raises(ValueError, match="grid must increase strictly"):
        estimate_noise_parameter(IMAGES, SCORE, tweedie_gaussian, grid)


@pytest.mark.bad_input
@pytest.mark.parametrize(("grid", "target"), [([1.0, 2.0, 3.0], 0.5), ([1.0, 2.0, 3.0], 9.0)])
def test_an_optimum_at_an_end_of_the_grid_is_warned_of(grid, target):
    with pytest.warns(UserWarning, match="the optimum of 1 of 1 images is at an end of the grid; widen it"):
        estimate_noise_parameter(
            SCORE,
            SCORE + 1,
            lambda y, score, value: y + value * score,
            grid,
            penalty=lambda x, _: (x.mean(dim=(1, 2, 3)) - target).abs(),
        )


@pytest.mark.bad_input
def test_pool_must_have_photographs_in_the_unit_interval_and_sensible_ranges():
    with pytest.raises(ValueError, match="photographs must not be empty"):
        make_noisy_pool([], RANGES)
    with pytest.raises(ValueError, match=r"clean must be in \[0, 1\]; got a range of \[128"):
        make_noisy_pool([torch.full((4, 4), 128.0)], RANGES)
    for bad in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="the range of gamma must be positive and increasing; got"):
            make_noisy_pool([torch.full((4, 4), 0.5)], {"gamma": bad})


@pytest.mark.bad_input
def test_patches_must_fit():
    with pytest.raises(ValueError, match="layers must not be empty"):
        sample_patches([], size=3, n_patches=2)
    with pytest.raises(ValueError, match="size must not exceed the smallest side of an image, 4; got 5"):
        sample_patches([torch.zeros(1, 9, 9), torch.zeros(1, 4, 9)], size=5, n_patches=2)


@pytest.mark.bad_input
def test_blind_spots_must_make_sense():
    for bad in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"fraction must be in \(0, 1\); got {bad}"):
            noise2void_loss(identity, IMAGES, fraction=bad)
    with pytest.raises(ValueError, match="radius must be at least 1; got 0"):
        noise2void_loss(identity, IMAGES, radius=0)
    with pytest.raises(ValueError, match="image sides must be at least 10 for radius 5; got 8 x 8"):
        noise2void_loss(identity, IMAGES, radius=5)
    for function in (noise2self_loss, j_invariant_denoise):
        with pytest.raises(ValueError, match="spacing must be at least 2; got 1"):
            function(identity, IMAGES, spacing=1)


@pytest.mark.bad_input
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_levels_and_strengths_must_be_positive(bad):
    with pytest.raises(ValueError, match="noise_std must be positive and finite; got"):
        sure_loss(identity, IMAGES, bad)
    with pytest.raises(ValueError, match="step must be positive and finite; got"):
        sure_loss(identity, IMAGES, 0.1, step=bad)
    with pytest.raises(ValueError, match="strength must be positive and finite; got"):
        classical_denoise(IMAGES, "gaussian", 0.1, "total variation", strength=bad)
    with pytest.raises(ValueError, match="parameter must be positive and finite; got"):
        classical_denoise(IMAGES, "gaussian", bad, "total variation", strength=1.0)


@pytest.mark.bad_input
def test_there_are_two_classical_methods():
    with pytest.raises(
        ValueError, match="method must be one of 'non-local means', 'total variation'; got 'median'"
    ):
        classical_denoise(IMAGES, "gaussian", 0.1, "median", strength=1.0)
