"""Learn the score of noisy images from noisy images alone, and denoise by Tweedie's formula, which has no weights.

Step 1 learns the score (`ardae_loss`). Step 2 is Tweedie's formula (`regularity.foundations.tweedie`). Step 3 finds
an unknown noise parameter by a scan (`estimate_noise_parameter`).
"""

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.noise import standard_normal_like
from regularity.foundations.proximal import total_variation

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
    noisy, perturbation = as_floats(noisy=noisy, perturbation=perturbation)
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
    (noisy,) = as_floats(noisy=noisy)
    perturbation = standard_normal_like(noisy, generator)
    return ardae_residual(score, noisy, perturbation, perturbation_std).square().mean()


def as_score(network: ImageMap, scale: float = 0.1) -> ImageMap:
    """Read a network f that predicts noise as a score: R(y) = −f(y) / scale.

    The scale, of the order of the noise in units of intensity, sets the network's output to order one.
    """
    check_positive("scale", scale)
    return lambda noisy: -network(noisy) / scale


def as_denoiser(network: ImageMap) -> ImageMap:
    """Read a network f that predicts noise as a denoiser: x̂ = y − f(y)."""
    return lambda noisy: noisy - network(noisy)


# --- Step 3: an unknown noise parameter --------------------------------------------------------------------------


def variation_of(images: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Anisotropic total variation of each image: mean |horizontal difference| + mean |vertical difference|."""
    (images,) = as_floats(images=images)
    return total_variation(images, 2, form="mean").mean(dim=1)


def _poisson_terms(estimate: Tensor, noisy: Tensor) -> Tensor:
    return estimate - noisy * torch.log(estimate)


def _gamma_terms(estimate: Tensor, noisy: Tensor) -> Tensor:
    ratio = noisy / estimate
    return torch.log(estimate) + ratio + ratio.square()


PENALTIES = {"gaussian": (1.0, None), "poisson": (0.1, _poisson_terms), "gamma": (1.0, _gamma_terms)}


def quality_penalty(
    denoised: Float[Tensor, "n c h w"], noisy: Float[Tensor, "n c h w"], family: str
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

    Raises
    ------
    ValueError
        If there is no such family.

    References
    ----------
    Kim and Ye (2021), Noise2Score; the weights are those of the authors' code.
    """
    denoised, noisy = as_floats(denoised=denoised, noisy=noisy)
    weight, terms = choose("family", family, PENALTIES)
    variation = weight * variation_of(denoised)
    if terms is None:
        return variation
    positive = denoised > 0
    estimate = torch.where(positive, denoised, 1.0)
    counted = torch.where(positive, terms(estimate, noisy), 0.0).flatten(1).sum(dim=1)
    return variation + counted / positive.flatten(1).sum(dim=1).clamp_min(1)


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
    noisy, score = as_floats(noisy=noisy, score=score)
    measure = penalty if penalty is not None else lambda denoised, _: variation_of(denoised)

    curve = torch.stack([measure(denoise(noisy, score, value), noisy) for value in values])
    best = curve.argmin(dim=0)
    n_at_end = int(((best == 0) | (best == len(values) - 1)).sum())
    if n_at_end:
        message = f"the optimum of {n_at_end} of {len(noisy)} images is at an end of the grid; widen it"
        warnings.warn(message, stacklevel=2)
    chosen = [values[index] for index in best.tolist()]
    denoised = [denoise(noisy[i : i + 1], score[i : i + 1], value) for i, value in enumerate(chosen)]
    return NoiseEstimate(torch.tensor(chosen), torch.cat(denoised), curve)
