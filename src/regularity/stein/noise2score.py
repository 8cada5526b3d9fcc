"""Noise2Score: denoise from the score of the noisy images alone.

Kwanyoung Kim and Jong Chul Ye, "Noise2Score: Tweedie's Approach to Self-Supervised Image Denoising without Clean
Images", NeurIPS 2021, arXiv 2106.07009.

Step 1 learns the score of the noisy images (`ardae_loss`). Step 2 is Tweedie's formula, which has no weights
(`regularity.foundations.tweedie`). Step 3 finds an unknown noise parameter by a scan
(`estimate_noise_parameter`). Below them stand the self-supervised and classical methods it is compared with.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor
from torch.nn import functional

from regularity.foundations.checks import check_at_least, check_positive
from regularity.foundations.noise import (
    ADD_NOISE,
    Family,
    stabilise_variance,
    standard_normal_like,
    undo_stabilisation,
)
from regularity.foundations.risk import monte_carlo_divergence, sure_gaussian

ImageMap = Callable[[Tensor], Tensor]

# --- Step 1: the score of the noisy images -----------------------------------------------------------------------


def perturbation_schedule(
    step: int, n_steps: int, *, start: float = 0.05, end: float = 0.001, fraction: float = 1.0
) -> float:
    """Standard deviation σ_a of the added perturbation at a step: linear from `start` to `end`, then constant.

    Parameters
    ----------
    step
        Step of the training, counted from 0.
    n_steps
        Steps of the whole training.
    start, end
        Largest and smallest perturbation, in units of intensity.
    fraction
        Share of the training over which it falls.

    Returns
    -------
    σ_a at the step.

    Raises
    ------
    ValueError
        If `end` is not positive (at σ_a = 0 the loss has no gradient), or above `start`.

    References
    ----------
    Kim and Ye (2021), Noise2Score; the defaults are those of the authors' code.

    Examples
    --------
    >>> [round(perturbation_schedule(step, 5, start=0.5, end=0.1, fraction=0.8), 2) for step in range(5)]
    [0.4, 0.3, 0.2, 0.1, 0.1]
    """
    check_positive("end", end)
    if end > start:
        raise ValueError(f"end must not be above start; got start={start}, end={end}")
    progress = min((step + 1) / max(fraction * n_steps, 1), 1.0)
    return start * (1 - progress) + end * progress


def ardae_residual(
    score: ImageMap,
    noisy: Float[Tensor, " n *dims"],
    perturbation: Float[Tensor, " n *dims"],
    perturbation_std: float,
) -> Float[Tensor, " n *dims"]:
    """Residual u + σ_a R(y + σ_a u) of the amortised residual denoising autoencoder.

    Parameters
    ----------
    score
        The map R that is to become the score of the noisy data.
    noisy
        Noisy observations y.
    perturbation
        Standard normal variables u.
    perturbation_std
        σ_a, in the units of `noisy`.

    Returns
    -------
    The residual, of the shape of `noisy`.

    Raises
    ------
    ValueError
        If `perturbation_std` is not positive.

    References
    ----------
    Lim et al. (2020), AR-DAE; Kim and Ye (2021), Noise2Score.
    """
    check_positive("perturbation_std", perturbation_std)
    return perturbation + perturbation_std * score(noisy + perturbation_std * perturbation)


def ardae_loss(
    score: ImageMap,
    noisy: Float[Tensor, " n *dims"],
    perturbation_std: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Loss of the amortised residual denoising autoencoder: the mean square of its residual.

    Its minimiser is the score of the noisy data blurred by N(0, σ_a²); its minimum 1 − σ_a² E[score²].

    Parameters
    ----------
    score
        The map R that is to become the score of the noisy data.
    noisy
        Noisy observations.
    perturbation_std
        σ_a, in the units of `noisy`.
    generator
        Source of the perturbation.

    Returns
    -------
    The mean over observations and coordinates.

    Raises
    ------
    ValueError
        If `perturbation_std` is not positive.

    References
    ----------
    Lim et al. (2020), AR-DAE; Kim and Ye (2021), Noise2Score.
    """
    perturbation = standard_normal_like(noisy, generator)
    return ardae_residual(score, noisy, perturbation, perturbation_std).square().mean()


def as_score(network: ImageMap, scale: float = 0.1) -> ImageMap:
    """Read a network f that predicts noise as a score: R(y) = −f(y) / scale.

    Parameters
    ----------
    network
        Any map of images.
    scale
        Order of magnitude of the noise, in units of intensity; it sets the network's output to order one.

    Returns
    -------
    The score, a map of images.

    Raises
    ------
    ValueError
        If `scale` is not positive.
    """
    check_positive("scale", scale)
    return lambda noisy: -network(noisy) / scale


def as_denoiser(network: ImageMap) -> ImageMap:
    """Read a network f that predicts noise as a denoiser: x̂ = y − f(y).

    Parameters
    ----------
    network
        Any map of images.

    Returns
    -------
    The denoiser, a map of images.
    """
    return lambda noisy: noisy - network(noisy)


# --- Step 3: an unknown noise parameter --------------------------------------------------------------------------


def total_variation(images: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Anisotropic total variation of each image: mean |horizontal difference| + mean |vertical difference|.

    Parameters
    ----------
    images
        Intensities, both sides of at least two.

    Returns
    -------
    One value an image.

    Examples
    --------
    A chessboard changes by 1 at each step, both ways:

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]))
    tensor([2.])
    """
    horizontal = images.diff(dim=-1).abs().flatten(1).mean(dim=1)
    return horizontal + images.diff(dim=-2).abs().flatten(1).mean(dim=1)


def quality_penalty(
    denoised: Float[Tensor, "n c h w"], noisy: Float[Tensor, "n c h w"], family: Family
) -> Float[Tensor, " n"]:
    """Penalty whose minimum over the noise parameter picks the parameter: total variation and a likelihood.

    Parameters
    ----------
    denoised
        Estimates x̂ at one value of the parameter.
    noisy
        The observations y.
    family
        Gaussian: TV. Poisson: 0.1 TV + mean(x̂ − y log x̂). Gamma: TV + mean(log x̂ + y/x̂ + (y/x̂)²).
        The means are over pixels with x̂ > 0.

    Returns
    -------
    One value an image.

    References
    ----------
    Kim and Ye (2021), Noise2Score; the weights are those of the authors' code.
    """
    variation = total_variation(denoised)
    if family == "gaussian":
        return variation
    positive = denoised > 0
    estimate = torch.where(positive, denoised, 1.0)
    if family == "poisson":
        terms, weight = estimate - noisy * torch.log(estimate), 0.1
    else:
        ratio = noisy / estimate
        terms, weight = torch.log(estimate) + ratio + ratio.square(), 1.0
    counted = torch.where(positive, terms, 0.0).flatten(1).sum(dim=1)
    return weight * variation + counted / positive.flatten(1).sum(dim=1).clamp_min(1)


@dataclass(frozen=True)
class NoiseEstimate:
    """What a scan over the noise parameter found.

    Attributes
    ----------
    value
        The chosen parameter, one an image.
    denoised
        Each image denoised with its own parameter.
    curve
        The penalty at each value of the grid (rows), for each image (columns).
    """

    value: Float[Tensor, " n"]
    denoised: Float[Tensor, "n c h w"]
    curve: Float[Tensor, "grid n"]


def estimate_noise_parameter(
    noisy: Float[Tensor, "n c h w"],
    score: Float[Tensor, "n c h w"],
    denoise: Callable[[Tensor, Tensor, float], Tensor],
    grid: Sequence[float],
    *,
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> NoiseEstimate:
    """Scan the noise parameter and keep, for each image, the value of least penalty.

    The score is computed once: only Tweedie's formula is evaluated at each value of the grid.

    Parameters
    ----------
    noisy
        Noisy images.
    score
        Their score, which does not depend on the parameter.
    denoise
        Tweedie's formula: ``denoise(noisy, score, parameter)``.
    grid
        Values to try, in increasing order; at least three.
    penalty
        ``penalty(denoised, noisy)``, one value an image; None: the total variation of the denoised image.

    Returns
    -------
    The chosen values, the images denoised with them, and the curve of the penalty.

    Raises
    ------
    ValueError
        If the grid has fewer than three values or does not increase.

    Warns
    -----
    UserWarning
        If an image's optimum is at an end of the grid: the true value may lie outside.

    References
    ----------
    Kim and Ye (2021), Noise2Score.

    Examples
    --------
    White texture of mean 2 and standard deviation 3 has score −(y − 2)/9; the scan takes all of it for noise:

    >>> y, grid = torch.tensor([[[[-1.0, 5.0], [5.0, -1.0]]]]), [1.0, 2.0, 3.0, 4.0]
    >>> estimate_noise_parameter(y, -(y - 2) / 9, lambda y, score, std: y + std**2 * score, grid).value
    tensor([3.])
    """
    values = [float(value) for value in grid]
    if len(values) < 3:
        raise ValueError(f"grid must have at least three values; got {len(values)}")
    if any(low >= high for low, high in itertools.pairwise(values)):
        raise ValueError("grid must increase strictly; got values out of order")
    measure = penalty if penalty is not None else lambda denoised, _: total_variation(denoised)

    curve = torch.stack([measure(denoise(noisy, score, value), noisy) for value in values])
    best = curve.argmin(dim=0)
    n_at_end = int(((best == 0) | (best == len(values) - 1)).sum())
    if n_at_end:
        message = f"the optimum of {n_at_end} of {len(noisy)} images is at an end of the grid; widen it"
        warnings.warn(message, stacklevel=2)
    chosen = [values[index] for index in best.tolist()]
    denoised = [denoise(noisy[i : i + 1], score[i : i + 1], value) for i, value in enumerate(chosen)]
    return NoiseEstimate(torch.tensor(chosen), torch.cat(denoised), curve)


# --- The pool: photographs under noises that the training is not told --------------------------------------------


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
    family: Family
    parameter: float


def make_noisy_pool(
    photographs: Sequence[Float[Tensor, "_ _"]],
    ranges: dict[Family, tuple[float, float]],
    generator: torch.Generator | None = None,
) -> list[NoisyPhotograph]:
    """Give each photograph one frozen noisy copy a family, at a level of its own.

    Parameters
    ----------
    photographs
        Clean intensities in [0, 1], of any sizes.
    ranges
        For each family the smallest and largest parameter; each level is drawn log-uniformly between them.
    generator
        Source of levels and noise.

    Returns
    -------
    One entry a photograph and family.

    Raises
    ------
    ValueError
        If there is no photograph, an intensity is outside [0, 1], or a range is not positive and increasing.
    """
    if not photographs:
        raise ValueError("photographs must not be empty")
    for family, (low, high) in ranges.items():
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
    """Draw square patches at random, each turned or mirrored at random.

    Parameters
    ----------
    layers
        Images as stacks of layers that are cut alike.
    size
        Side of a patch, in pixels.
    n_patches
        Number of patches; each from an image drawn uniformly.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    patches
        The patches.
    indices
        Which image each comes from.

    Raises
    ------
    ValueError
        If there is no image, or one is smaller than `size`.
    """
    if not layers:
        raise ValueError("layers must not be empty")
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


# --- What it is compared with ------------------------------------------------------------------------------------


def noise2void_loss(
    denoiser: ImageMap,
    noisy: Float[Tensor, "n c h w"],
    generator: torch.Generator | None = None,
    *,
    fraction: float = 0.05,
    radius: int = 2,
) -> Float[Tensor, ""]:
    """Noise2Void's loss: hide pixels behind random neighbours, and predict what was there.

    Parameters
    ----------
    denoiser
        The map under training.
    noisy
        Noisy images, sides of at least 2·radius.
    generator
        Source of the hidden pixels and of their substitutes.
    fraction
        Share of pixels that are hidden.
    radius
        Substitutes come from the square of side 2·radius + 1 around the pixel, the pixel itself excluded.

    Returns
    -------
    Mean squared error on the hidden pixels.

    Raises
    ------
    ValueError
        If `fraction` is not in (0, 1), `radius` is below one, or a side is below 2·radius.

    References
    ----------
    Krull, Buchholz and Jug (2019), Noise2Void.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be in (0, 1); got {fraction}")
    check_at_least("radius", radius, 1)
    height, width = noisy.shape[-2:]
    if min(height, width) < 2 * radius:
        raise ValueError(
            f"image sides must be at least {2 * radius} for radius {radius}; got {height} x {width}"
        )
    side = 2 * radius + 1
    device = generator.device if generator is not None else noisy.device
    hidden = torch.rand(noisy.shape, generator=generator, device=device) < fraction
    # A number among the side² − 1 neighbours; those from the centre on move up by one, past the centre.
    neighbour = torch.randint(side**2 - 1, noisy.shape, generator=generator, device=device)
    neighbour = neighbour + (neighbour >= side**2 // 2)
    hidden, neighbour = hidden.to(noisy.device), neighbour.to(noisy.device)

    def step(centre: Tensor, offset: Tensor, length: int) -> Tensor:
        """Go the other way where the edge is in the way: reflecting at the edge could lead back to the pixel."""
        there = centre + offset
        return torch.where((there < 0) | (there >= length), centre - offset, there)

    rows = step(torch.arange(height, device=noisy.device)[:, None], neighbour // side - radius, height)
    columns = step(torch.arange(width, device=noisy.device), neighbour % side - radius, width)
    source = rows * width + columns
    substitutes = noisy.flatten(2).gather(2, source.flatten(2)).view_as(noisy)
    error = denoiser(torch.where(hidden, substitutes, noisy)) - noisy
    return (hidden * error.square()).sum() / hidden.sum().clamp_min(1)


def _neighbour_mean(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Mean of the eight neighbours, those across an edge twice the weight of those across a corner."""
    kernel = torch.tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]], dtype=images.dtype) / 6
    kernel = kernel.to(images.device).expand(images.shape[1], 1, 3, 3)
    return functional.conv2d(
        functional.pad(images, (1, 1, 1, 1), mode="reflect"), kernel, groups=images.shape[1]
    )


def _grid_mask(images: Tensor, spacing: int, phase: int) -> Tensor:
    row, column = divmod(phase, spacing)
    mask = torch.zeros(images.shape[-2:], dtype=torch.bool, device=images.device)
    mask[row::spacing, column::spacing] = True
    return mask


def noise2self_loss(
    denoiser: ImageMap,
    noisy: Float[Tensor, "n c h w"],
    generator: torch.Generator | None = None,
    *,
    spacing: int = 4,
) -> Float[Tensor, ""]:
    """Noise2Self's loss: hide a grid of pixels behind the mean of their neighbours, and predict what was there.

    Parameters
    ----------
    denoiser
        The map under training.
    noisy
        Noisy images.
    generator
        Source of the grid's phase, on the CPU.
    spacing
        Distance of hidden pixels, both ways.

    Returns
    -------
    Mean squared error on the hidden pixels.

    Raises
    ------
    ValueError
        If `spacing` is below two.

    References
    ----------
    Batson and Royer (2019), Noise2Self.
    """
    check_at_least("spacing", spacing, 2)
    phase = torch.randint(spacing**2, (), generator=generator).item()
    mask = _grid_mask(noisy, spacing, phase)
    error = denoiser(torch.where(mask, _neighbour_mean(noisy), noisy)) - noisy
    return error[..., mask].square().mean()


def j_invariant_denoise(
    denoiser: ImageMap, noisy: Float[Tensor, "n c h w"], *, spacing: int = 4
) -> Float[Tensor, "n c h w"]:
    """Denoise each pixel from all others: one pass a phase of the grid, each keeps the pixels that it hid.

    Parameters
    ----------
    denoiser
        A map trained with `noise2self_loss` at the same spacing.
    noisy
        Noisy images.
    spacing
        Distance of hidden pixels, both ways.

    Returns
    -------
    The denoised images; a pixel's value does not depend on its own observation.

    Raises
    ------
    ValueError
        If `spacing` is below two.

    References
    ----------
    Batson and Royer (2019), Noise2Self.
    """
    check_at_least("spacing", spacing, 2)
    surroundings, denoised = _neighbour_mean(noisy), torch.zeros_like(noisy)
    for phase in range(spacing**2):
        mask = _grid_mask(noisy, spacing, phase)
        denoised = torch.where(mask, denoiser(torch.where(mask, surroundings, noisy)), denoised)
    return denoised


def sure_loss(
    denoiser: ImageMap,
    noisy: Float[Tensor, "n c h w"],
    noise_std: float | Float[Tensor, " n"],
    generator: torch.Generator | None = None,
    *,
    step: float = 0.01,
) -> Float[Tensor, ""]:
    """Stein's unbiased risk estimate as a training loss, for Gaussian noise of known level.

    Parameters
    ----------
    denoiser
        The map under training.
    noisy
        Noisy images.
    noise_std
        Standard deviation of the noise: one number, or one an image.
    generator
        Source of the divergence's direction.
    step
        Length of the divergence's finite difference, in units of intensity.

    Returns
    -------
    The estimated mean squared error, per pixel; single batches may give negative values.

    Raises
    ------
    ValueError
        If `noise_std` or `step` is not positive.

    References
    ----------
    Soltanayev and Chun (2018), Training deep learning based denoisers without ground truth data.
    """
    denoised = denoiser(noisy)
    divergence = monte_carlo_divergence(denoiser, noisy, step=step, value=denoised, generator=generator)
    return sure_gaussian(denoised, noisy, noise_std, divergence).sum() / noisy.numel()


def classical_denoise(
    noisy: Float[Tensor, "n c h w"],
    family: Family,
    parameter: float,
    method: Literal["non-local means", "total variation"],
    *,
    strength: float,
) -> Float[Tensor, "n c h w"]:
    """Denoise with scikit-image where the noise has been made close to Gaussian (Anscombe, logarithm).

    Parameters
    ----------
    noisy
        Noisy images.
    family, parameter
        The noise, known.
    method
        Non-local means, or total variation by Chambolle's algorithm.
    strength
        Filter strength in units of the noise's standard deviation there.

    Returns
    -------
    Intensities.

    Raises
    ------
    ValueError
        If `strength` or `parameter` is not positive, or there is no such method.

    References
    ----------
    Buades, Coll and Morel (2005), A non-local algorithm for image denoising; Chambolle (2004), An algorithm for
    total variation minimization and applications.
    """
    check_positive("strength", strength)
    if method not in ("non-local means", "total variation"):
        raise ValueError(f"method must be 'non-local means' or 'total variation'; got {method!r}")
    stable, noise_std = stabilise_variance(noisy, family, parameter)

    def denoise(image: np.ndarray) -> np.ndarray:
        if method == "non-local means":
            options = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
            return denoise_nl_means(image, h=strength * noise_std, sigma=noise_std, **options)
        # At the default eps a small step of an objective that swings now and then passes for convergence.
        return denoise_tv_chambolle(image, weight=strength * noise_std, eps=1e-5)

    layers = stable.detach().double().cpu().numpy().reshape(-1, *stable.shape[-2:])
    denoised = torch.as_tensor(np.stack([denoise(layer) for layer in layers])).to(noisy)
    return undo_stabilisation(denoised.view_as(noisy), family, parameter)
