"""Streams by name: the same everywhere, and no two alike."""

import itertools

import numpy as np
import pytest
import torch

from regularity.foundations.randomness import child_seed, random_signs, stream


def test_seeds_are_the_same_on_every_machine():
    assert child_seed(0) == 2807329457
    assert child_seed(1) == 2502166709
    assert child_seed(0, "networks", 3) == 3154362470
    assert child_seed(0, "né") == 3338709237
    assert child_seed(2**70, "a") == 2117083676
    torch.testing.assert_close(
        torch.rand(2, generator=stream(0, "noise")), torch.tensor([0.1408, 0.1351]), rtol=0, atol=5e-5
    )


def test_every_purpose_has_a_seed_of_its_own():
    """Also those that a hash of the joined words, or arithmetic on seeds, would let meet."""
    names = [
        (),
        ("",),
        ("a", "b"),
        ("ab",),
        ("a,b",),
        ('a", "b',),
        ("b", "a"),
        (3,),
        ("3",),
        (3, 3),
        (33,),
        (-3,),
    ]
    names += [("networks", index) for index in range(100)]
    seeds = {child_seed(seed, *name) for seed in range(20) for name in names}
    assert len(seeds) == 20 * len(names)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_streams_of_different_names_or_seeds_are_not_correlated():
    purposes = [(0, "networks"), (0, "shuffle"), (0, "networks", 0), (0, "networks", 1), (1, "networks")]
    n = 20_000
    drawn = torch.stack([torch.randn(n, generator=stream(*purpose)) for purpose in purposes])
    assert torch.equal(drawn[0], torch.randn(n, generator=stream(0, "networks")))
    correlations = torch.corrcoef(drawn)
    for one, other in itertools.combinations(range(len(purposes)), 2):
        assert correlations[one, other].abs() < 5 / n**0.5


def test_seeds_fill_their_range_evenly():
    seeds = np.array([child_seed(0, "purpose", index) for index in range(4000)])
    counts = np.histogram(seeds, bins=16, range=(0, 2**32))[0]
    assert ((counts - 250) ** 2 / 250).sum() < 45  # χ² of 15 degrees of freedom: one in 10⁴


@pytest.mark.bad_input
def test_whole_numbers_of_numpy_are_whole_numbers():
    assert child_seed(np.int64(0), "networks", np.int32(3)) == child_seed(0, "networks", 3)


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [child_seed, stream])
def test_what_is_no_seed_is_refused_by_name(make):
    with pytest.raises(ValueError, match="seed must not be negative; got -1"):
        make(-1, "a")
    for bad in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match=f"seed must be a whole number; got {bad!r}"):
            make(bad, "a")
    for bad in (True, 1.0, None, ("a",)):
        with pytest.raises(TypeError, match="names must be words and whole numbers; got"):
            make(0, "a", bad)


def test_signs_are_independent_and_even():
    """Of z uniform in {-1, 1}^d: E zzᵀ = I, with entries of variance 1/n off the diagonal."""
    signs = random_signs(torch.empty(20_000, 5, dtype=torch.float64), stream(0, "signs"))
    assert signs.dtype is torch.float64
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    moments = signs.T @ signs / len(signs)
    assert torch.equal(moments.diagonal(), torch.ones(5, dtype=torch.float64))
    assert (moments - torch.eye(5)).abs().max() < 5 / len(signs) ** 0.5
    assert signs.mean(0).abs().max() < 5 / len(signs) ** 0.5
