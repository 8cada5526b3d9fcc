"""What the method is compared with: networks that hide pixels, Stein's risk as a loss, two classical denoisers."""

import numpy as np
import torch
from jaxtyping import Float
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor
from torch.nn import functional

from regularity.foundations.checks import as_floats, check_at_least, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.noise import stabilise_variance, undo_stabilisation
from regularity.foundations.risk import monte_carlo_divergence, sure_gaussian
from regularity.stein.noise2score.method import ImageMap


def noise2void_loss(
    denoiser: ImageMap,
    noisy: Float[Tensor, "n c h w"],
    generator: torch.Generator | None = None,
    *,
    fraction: float = 0.05,
    radius: int = 2,
) -> Float[Tensor, ""]:
    """Noise2Void's loss (Krull et al., 2019): hide pixels behind random neighbours, and predict what was there.

    Substitutes come from the square of side 2·radius + 1 around the pixel, the pixel itself excluded.
    """
    (noisy,) = as_floats(noisy=noisy)
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
    return torch.where(hidden, error.square(), 0.0).sum() / hidden.sum().clamp_min(1)


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
    """Noise2Self's loss (Batson and Royer, 2019): hide a grid of pixels behind the mean of their neighbours."""
    check_at_least("spacing", spacing, 2)
    (noisy,) = as_floats(noisy=noisy)
    phase = torch.randint(spacing**2, (), generator=generator).item()
    mask = _grid_mask(noisy, spacing, phase)
    error = denoiser(torch.where(mask, _neighbour_mean(noisy), noisy)) - noisy
    return error[..., mask].square().mean()


def j_invariant_denoise(
    denoiser: ImageMap, noisy: Float[Tensor, "n c h w"], *, spacing: int = 4
) -> Float[Tensor, "n c h w"]:
    """Denoise each pixel from all others: one pass a phase of the grid, each keeps the pixels that it hid.

    For a map trained with `noise2self_loss` at the same spacing; no pixel's value depends on its own observation.
    """
    check_at_least("spacing", spacing, 2)
    (noisy,) = as_floats(noisy=noisy)
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

    Per pixel; single batches may give negative values (Soltanayev and Chun, 2018).
    """
    (noisy,) = as_floats(noisy=noisy)
    denoised = denoiser(noisy)
    divergence = monte_carlo_divergence(denoiser, noisy, step=step, value=denoised, generator=generator)
    return sure_gaussian(denoised, noisy, noise_std, divergence).sum() / noisy.numel()


def _non_local_means(image: np.ndarray, strength: float, noise_std: float) -> np.ndarray:
    options = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
    return denoise_nl_means(image, h=strength * noise_std, sigma=noise_std, **options)


def _total_variation(image: np.ndarray, strength: float, noise_std: float) -> np.ndarray:
    # At the default eps a small step of an objective that swings now and then passes for convergence.
    return denoise_tv_chambolle(image, weight=strength * noise_std, eps=1e-5)


CLASSICAL = {"non-local means": _non_local_means, "total variation": _total_variation}


def classical_denoise(
    noisy: Float[Tensor, "n c h w"],
    family: str,
    parameter: float,
    method: str,
    *,
    strength: float,
) -> Float[Tensor, "n c h w"]:
    """Denoise with scikit-image where the noise has been made close to Gaussian (Anscombe, logarithm).

    The strength is in units of the noise's standard deviation there.
    """
    check_positive("strength", strength)
    denoise = choose("method", method, CLASSICAL)
    (noisy,) = as_floats(noisy=noisy)
    stable, noise_std = stabilise_variance(noisy, family, parameter)
    layers = stable.detach().double().cpu().numpy().reshape(-1, *stable.shape[-2:])
    denoised = torch.as_tensor(np.stack([denoise(layer, strength, noise_std) for layer in layers])).to(noisy)
    return undo_stabilisation(denoised.view_as(noisy), family, parameter)
