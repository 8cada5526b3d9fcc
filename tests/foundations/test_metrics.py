"""Image quality and hypervolume against definitions written out, cases worked out by hand, and pymoo."""

import itertools
import math

import numpy as np
import pytest
import torch
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from regularity.foundations.metrics import hypervolume, hypervolume_improvement, nondominated, psnr


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- Peak signal-to-noise ratio -----------------------------------------------------------------------------------


def test_psnr_by_its_definition():
    """Each image of a batch on its own, all its channels together, with 1 as the peak."""
    estimate, truth = images(4, 3, 5, 7), images(4, 3, 5, 7, seed=1)
    squares = (estimate.double() - truth.double()).square().numpy()
    np.testing.assert_allclose(
        psnr(estimate, truth), [-10 * math.log10(one.mean()) for one in squares], rtol=1e-12
    )


def test_estimates_are_clipped_and_truths_are_not_scaled():
    truth = torch.tensor([0.0, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2)
    estimate = torch.tensor([-3.0, 7.0, 0.5, 0.7]).reshape(1, 1, 2, 2)
    assert psnr(estimate, truth)[0] == pytest.approx(-10 * math.log10(0.2**2 / 4), rel=1e-6)
    # Halving all contrast halves the errors: 20 log₁₀ 2 more, since the peak stays 1.
    assert psnr(estimate.clamp(0, 1) / 2, truth / 2)[0] - psnr(estimate, truth)[0] == pytest.approx(
        6.0206, abs=1e-4
    )


def test_a_perfect_estimate_has_infinite_psnr_without_a_warning():
    truth = images(2, 1, 4, 4)
    estimate = truth.clone()
    estimate[1] += 1e-3
    values = psnr(estimate, truth)
    assert values[0] == math.inf
    assert 0 < values[1] < math.inf


def test_psnr_of_gaussian_noise():
    """Noise of standard deviation 0.1 that no clipping meets: 20 dB, with an error of 4.3 √(2/n) dB."""
    truth = torch.full((1, 1, 200, 200), 0.5)
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    assert psnr(truth + noise.clamp(-0.5, 0.5), truth)[0] == pytest.approx(
        20, abs=4 * 4.343 * math.sqrt(2 / 40_000)
    )


# --- Structural similarity ----------------------------------------------------------------------------------------


# --- Hypervolume --------------------------------------------------------------------------------------------------


def points(*shape, seed=0):
    """Some of them beyond the reference point (1, ..., 1)."""
    return 1.2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ones(m):
    return torch.ones(m, dtype=torch.float64)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_hypervolume_is_that_of_pymoo(n, m):
    sets = points(5, n, m)
    expected = [HV(ref_point=np.ones(m))(one.numpy()) for one in sets]
    np.testing.assert_allclose(hypervolume(sets, ones(m)), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolume_by_inclusion_and_exclusion(m):
    """The union of the boxes [point, 1], by the volumes of all their intersections."""
    few = points(5, m, seed=1)
    total = 0.0
    for size in range(1, 6):
        for chosen in itertools.combinations(few, size):
            corner = torch.stack(chosen).amax(dim=0)
            total -= (-1) ** size * (1 - corner).clamp_min(0).prod().item()
    assert hypervolume(few, ones(m)).item() == pytest.approx(total, abs=1e-14)


@pytest.mark.parametrize("m", [2, 3])
def test_improvement_is_a_difference_of_hypervolumes(m):
    front, candidates = points(3, 20, m), points(3, 6, m, seed=2) - 0.1
    gains = hypervolume_improvement(candidates, front, ones(m))
    measure = HV(ref_point=np.ones(m))
    for run in range(3):
        for candidate in range(6):
            both = np.vstack([front[run].numpy(), candidates[run, candidate].numpy()])
            expected = measure(both) - measure(front[run].numpy())
            assert gains[run, candidate].item() == pytest.approx(expected, abs=1e-14)


def test_hypervolume_of_curves():
    """Below the reference (1.1, 1.1): ∫ (1.1 − f) over [0, 1], and the strip of width 0.1 beyond."""
    first = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    reference = 1.1 * ones(2)
    for second, area in ((1 - first.sqrt(), 2 / 3), (1 - first.square(), 1 / 3)):
        curve = torch.stack([first, second], dim=1)
        assert hypervolume(curve, reference).item() == pytest.approx(0.1 + area + 0.11, abs=1e-4)


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolume_counts_neither_order_nor_dominated_points_nor_axes(m):
    some = points(10, m)
    volume = hypervolume(some, ones(m))
    torch.testing.assert_close(hypervolume(some.flip(0), ones(m)), volume)
    torch.testing.assert_close(hypervolume(torch.cat([some, some + 0.05]), ones(m)), volume)
    torch.testing.assert_close(hypervolume(some.flip(1), ones(m)), volume)
    assert hypervolume(some + 1, ones(m)) == 0


@pytest.mark.parametrize("m", [2, 3, 4])
def test_nothing_is_dominated_by_exactly_nothing(m):
    """A comparison with zero decides whether a set says anything: it must not be left to rounding."""
    beyond = points(50, 20, m) / 1.2 + 0.1
    beyond[..., -1] = 1.0  # on the border: each point dominates a set of measure zero
    assert (hypervolume(beyond, ones(m)) == 0).all()
    assert hypervolume(torch.empty(0, m), ones(m)) == 0
    assert hypervolume(torch.full((1, m), torch.inf), ones(m)) == 0
    if m < 4:
        front, candidates = points(50, 20, m), points(50, 9, m, seed=3)
        covered = (front[:, None] <= candidates[:, :, None]).all(dim=-1).any(dim=-1)
        gains = hypervolume_improvement(candidates, front, ones(m))
        assert covered.any()
        assert (gains[covered | (candidates >= 1).any(dim=-1)] == 0).all()


def test_hypervolume_keeps_type_and_batch():
    sets = points(2, 3, 5, 2)
    volumes = hypervolume(sets.float(), ones(2).float().expand(2, 3, 2))
    assert volumes.dtype == torch.float32
    torch.testing.assert_close(volumes, hypervolume(sets, ones(2)).float())
    assert volumes.shape == (2, 3)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_nondominated_points_are_the_first_front_of_pymoo(m):
    sets = (5 * points(4, 30, m)).round()  # with ties and repetitions
    for one, found in zip(sets, nondominated(sets), strict=True):
        first = NonDominatedSorting().do(one.numpy(), only_non_dominated_front=True)
        assert found.nonzero()[:, 0].tolist() == sorted(first.tolist())


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_shapes_must_agree():
    with pytest.raises(
        ValueError, match=r"estimate must have the shape of truth; got \(1, 1, 16, 16\) for \(2, 1, 16"
    ):
        psnr(images(1, 1, 16, 16), images(2, 1, 16, 16))


@pytest.mark.bad_input
def test_images_in_0_to_255_are_refused():
    """Of two equal images the ratio would be infinite, of others −43 dB: the estimate alone is clipped to [0, 1]."""
    photograph = (255 * images(1, 1, 16, 16)).round()
    with pytest.raises(ValueError, match=r"truth must be in \[0, 1\]; got a range of \[\d\.0, 25\d\.0\]"):
        psnr(photograph, photograph)


@pytest.mark.bad_input
def test_hypervolume_of_two_or_three_objectives():
    with pytest.raises(ValueError, match="points must have two objectives or more; got 1"):
        hypervolume(points(3, 1), ones(1))
    with pytest.raises(ValueError, match="front must have two or three objectives; got 4"):
        hypervolume_improvement(points(2, 4), points(4, 4), ones(4))
    with pytest.raises(ValueError, match="reference must have one entry an objective, 3; got 2"):
        hypervolume_improvement(points(2, 3), points(4, 3), ones(2))
    with pytest.raises(ValueError, match="reference must have one entry an objective, 2; got 3"):
        hypervolume(points(4, 2), ones(3))
    for bad in (torch.nan, -torch.inf):
        with pytest.raises(ValueError, match="points must be numbers above −∞; got NaN or −∞"):
            hypervolume(torch.tensor([[0.5, bad]]), torch.ones(2))
    with pytest.raises(ValueError, match="reference must be finite"):
        hypervolume(points(4, 2), torch.tensor([1.0, torch.inf]).double())
