"""Photographs under noises that the training is not told: a pool with one frozen noisy copy each, and its patches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regularity.foundations.checks import check_at_least
from regularity.foundations.choices import choose
from regularity.foundations.noise import ADD_NOISE


class Condition(NamedTuple):
    """Noise of a known kind in the test photographs."""

    name: str
    family: str
    parameter: float

    @property
    def std_at_mid_grey(self) -> float:
        """Standard deviation of the noise where the intensity is one half."""
        spreads = {
            "gaussian": lambda std: std,
            "poisson": lambda gain: math.sqrt(gain / 2),
            "gamma": lambda shape: 0.5 / math.sqrt(shape),
        }
        return choose("family", self.family, spreads)(self.parameter)


@dataclass(frozen=True)
class NoisyPhotograph:
    """A photograph with one frozen noisy copy, and a second one for Noise2Noise alone.

    Attributes
    ----------
    layers
        Noisy copy, clean photograph, second noisy copy: intensities.
    family, parameter
        The noise's family and its parameter.
    """

    layers: Float[Tensor, "3 h w"]
    family: str
    parameter: float


def make_noisy_pool(
    photographs: Sequence[Float[Tensor, "_ _"]],
    ranges: Mapping[str, tuple[float, float]],
    generator: torch.Generator | None = None,
) -> list[NoisyPhotograph]:
    """Give each photograph one frozen noisy copy a family, at a level drawn log-uniformly from a range."""
    if not photographs:
        raise ValueError("photographs must not be empty")
    for family, (low, high) in ranges.items():
        choose("ranges", family, ADD_NOISE)
        if not 0 < low <= high:
            raise ValueError(f"the range of {family} must be positive and increasing; got ({low}, {high})")
    pool = []
    for clean in photographs:
        for family, (low, high) in ranges.items():
            level = torch.rand((), generator=generator).item()
            parameter = math.exp(math.log(low) + level * math.log(high / low))
            noisy, second = (ADD_NOISE[family](clean, parameter, generator) for _ in range(2))
            pool.append(NoisyPhotograph(torch.stack([noisy, clean, second]), family, parameter))
    return pool


def sample_patches(
    layers: Sequence[Float[Tensor, "c _ _"]],
    *,
    size: int,
    n_patches: int,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "n c s s"], Int[Tensor, " n"]]:
    """Draw square patches at random, each turned or mirrored; also tell which image each comes from.

    Layers of an image are cut alike; images are drawn uniformly, on the CPU.
    """
    if not layers:
        raise ValueError("layers must not be empty")
    check_at_least("n_patches", n_patches, 1)
    check_at_least("size", size, 1)
    smallest = min(min(image.shape[-2:]) for image in layers)
    if smallest < size:
        raise ValueError(f"size must not exceed the smallest side of an image, {smallest}; got {size}")
    indices = torch.randint(len(layers), (n_patches,), generator=generator)
    corners = torch.rand(n_patches, 2, generator=generator)
    symmetries = torch.randint(8, (n_patches,), generator=generator)
    patches = []
    for index, corner, symmetry in zip(indices.tolist(), corners.tolist(), symmetries.tolist(), strict=True):
        image = layers[index]
        top = int(corner[0] * (image.shape[-2] - size + 1))
        left = int(corner[1] * (image.shape[-1] - size + 1))
        patch = image[:, top : top + size, left : left + size].rot90(symmetry % 4, dims=(-2, -1))
        patches.append(patch.flip(-1) if symmetry >= 4 else patch)
    return torch.stack(patches), indices
