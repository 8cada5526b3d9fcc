"""Total variation and a Gaussian filter, tuned by the same estimate of risk."""

from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.choices import choose
from regularity.foundations.proximal import denoise_total_variation
from regularity.stein.free_discontinuity.method import sure_of_candidates
from regularity.stein.free_discontinuity.problems import GridData


def _total_variation(rows: Tensor, noise_std: float, n_candidates: int) -> Tensor:
    weights = noise_std * torch.logspace(-1, 0.7, n_candidates, dtype=rows.dtype).to(rows.device)
    return denoise_total_variation(rows, weights, n_iterations=150).values


def _gaussian(rows: Tensor, noise_std: float, n_candidates: int) -> Tensor:
    from scipy.ndimage import gaussian_filter

    bandwidths = np.geomspace(0.25, 2.5, n_candidates)
    pairs = zip(rows.cpu().numpy(), bandwidths, strict=True)
    return torch.from_numpy(np.stack([gaussian_filter(grid, b, mode="nearest") for grid, b in pairs])).to(
        rows
    )


RIVALS = MappingProxyType({"total variation": _total_variation, "Gaussian filter": _gaussian})


def tune_rival(
    rival: str,
    grid: GridData,
    noise_std: float,
    *,
    n_candidates: int,
    n_probes: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, " candidates *grid"], Float[Tensor, " candidates"]]:
    """Smooth a grid with candidates for a rival's one parameter: their estimates, and the estimated risks.

    Weights of total variation go from 0.1 to 5 standard deviations of one value, bandwidths of the filter from 0.25
    to 2.5 cells.
    """
    smooth = choose("rival", rival, RIVALS)
    filled, entry, shape = grid.filled, grid.entry, grid.means.shape

    def estimator(observed: Tensor) -> Tensor:
        rows = observed[:, entry].view(-1, *shape)
        return smooth(rows, noise_std, n_candidates).flatten(1)[:, filled]

    counts = grid.counts.flatten()[filled].to(grid.means.dtype)
    estimates, sure = sure_of_candidates(
        estimator,
        grid.means.flatten()[filled],
        noise_std / counts.sqrt(),
        n_candidates,
        n_probes=n_probes,
        generator=generator,
    )
    return estimates[:, entry].view(-1, *shape), sure
