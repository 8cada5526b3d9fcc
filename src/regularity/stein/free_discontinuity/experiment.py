"""The runs behind the chapter's tables and figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from pandas import DataFrame
from torch import Tensor

from regularity.foundations.risk import monte_carlo_divergence, sure_gaussian
from regularity.stein.free_discontinuity.method import (
    FreeDiscontinuity,
    LiftedSurface,
    certify,
    find_jumps,
    free_discontinuity_regression,
    lifted_mumford_shah,
    price_of,
    refit_between_jumps,
    segment,
    smallest_notable_jump,
)
from regularity.stein.free_discontinuity.problems import (
    GridData,
    Sample,
    cast_to_grid,
    compare_borders,
    mumford_shah_energy,
    mumford_shah_on_a_line,
    rand_index,
    sphere_border,
    sphere_side,
)
from regularity.stein.free_discontinuity.rivals import RIVALS, tune_rival

# --- The cone with a step ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """A sample on a grid, with what is true of it."""

    sample: Sample
    grid: GridData
    target: Float[Tensor, "*grid"]  # cell means of the true values
    height: float  # of the step
    smallest: float  # jumps count from here on; chosen without the truth

    @property
    def low(self) -> float:
        """Least mean of a cell."""
        return self.grid.means.min().item()

    @property
    def width(self) -> float:
        """Range of the means."""
        return (self.grid.means.max() - self.grid.means.min()).item()

    @property
    def scaled(self) -> Float[Tensor, "*grid"]:
        """The means, brought to [0, 1]."""
        return (self.grid.means - self.low) / self.width

    def price(self) -> float:
        """Price of border at which jumps count from `smallest` on."""
        return price_of(self.smallest, self.width, self.grid.means.shape[0])

    def risk(self, surfaces: Float[Tensor, "*batch_grid"]) -> Float[Tensor, "*batch"]:
        """Mean squared error of surfaces over the cells with data."""
        batch = surfaces.shape[: surfaces.ndim - self.target.ndim]
        errors = (surfaces - self.target).square().reshape(*batch, -1)[..., self.grid.filled]
        return errors.mean(dim=-1)

    def describe(self, surface: Float[Tensor, "*grid"], smallest: float | None = None) -> dict[str, float]:
        """Risk, rates of false and missed cells, distance of the borders, jump sizes, regions."""
        n_cells, n_axes = self.target.shape[0], self.target.ndim
        jumps = find_jumps(surface, self.smallest if smallest is None else smallest)
        errors = compare_borders(jumps.cells, sphere_border(n_cells, n_axes))
        sizes = jumps.sizes[jumps.cells].abs() / self.height
        regions = segment(jumps)
        return {
            "risk": self.risk(surface).item(),
            "risk of the means": self.risk(self.grid.means).item(),
            "false": 100 * errors.false,
            "missed": 100 * errors.missed,
            "worse": 100 * errors.worse,
            "distance": errors.distance,
            "size": sizes.mean().item(),
            "size error": (sizes - 1).square().mean().sqrt().item(),
            "regions": int(regions.max()) + 1,
            "agreement": rand_index(regions, sphere_side(n_cells, n_axes)),
        }


def cast_disk(sample: Sample, n_cells: int, height: float, notable: float, device: torch.device) -> Disk:
    """Cast a sample on a grid; jumps count from `notable` typical differences of neighbouring means on."""
    sample = Sample(*(part.to(device) for part in sample))
    grid = cast_to_grid(sample.points, sample.values, n_cells)
    target = cast_to_grid(sample.points, sample.truth, n_cells).means
    return Disk(sample, grid, target, height, smallest_notable_jump(grid.means, notable))


@dataclass(frozen=True)
class Solved:
    """Surfaces of a batch of disks, in units of the values."""

    disks: list[Disk]
    lifted: LiftedSurface
    surfaces: list[Float[Tensor, "*grid"]]
    refitted: list[Float[Tensor, "*grid"]]  # the same after `refit_between_jumps`

    def describe(self, *, refitted: bool = False) -> DataFrame:
        """What `Disk.describe` says of each surface, a row a disk."""
        surfaces = self.refitted if refitted else self.surfaces
        pairs = zip(self.disks, surfaces, strict=True)
        return DataFrame([disk.describe(surface) for disk, surface in pairs])


def solve_disks(
    disks: Sequence[Disk],
    fidelity: float | Sequence[float],
    *,
    n_bins: int,
    tolerance: float,
    price: float | None = None,
) -> Solved:
    """Solve disks of one size in one batch; without a price, each at that of its own smallest jump."""
    n_cells = disks[0].target.shape[0]
    if price is not None:
        disks = [replace(disk, smallest=disk.width * math.sqrt(price / n_cells)) for disk in disks]
    data = torch.stack([disk.scaled for disk in disks])
    prices = torch.tensor([disk.price() for disk in disks], dtype=data.dtype, device=data.device)
    fidelity = torch.as_tensor(fidelity, dtype=data.dtype, device=data.device).expand(len(data))
    found = lifted_mumford_shah(
        data.float(), fidelity.float(), prices.float(), n_bins=n_bins, tolerance=tolerance
    )
    refitted = refit_between_jumps(found.surface, data, fidelity, prices)

    def unscale(surfaces: Tensor) -> list[Tensor]:
        return [disk.low + disk.width * u.to(data.dtype) for disk, u in zip(disks, surfaces, strict=True)]

    return Solved(list(disks), found, unscale(found.surface), unscale(refitted))


def compare_bins(
    disk: Disk, fidelity: float, bins: Sequence[int], tolerance: float
) -> tuple[DataFrame, float]:
    """Energies of a disk's surface, solved with several numbers of bins, and a lower bound for all of them.

    The bound starts from the flow of the first number of bins. Gaps and shares are in per cent.
    """
    data, price, rows, flow = disk.scaled[None], disk.price(), {}, None
    for n_bins in bins:
        found = lifted_mumford_shah(data.float(), fidelity, price, n_bins=n_bins, tolerance=tolerance)
        flow = found.flow if flow is None else flow
        refitted = refit_between_jumps(found.surface, data, fidelity, price)
        rows[n_bins] = {
            "relaxed, lower": found.dual.item(),
            "relaxed, upper": found.primal.item(),
            "surface": mumford_shah_energy(found.surface, data, fidelity, price).item(),
            "refitted": mumford_shah_energy(refitted, data, fidelity, price).item(),
            "fractional cells": 100 * found.fractional.item(),
        }
    bound = certify(refitted, data, fidelity, price, flow).lower.item()
    table = DataFrame(rows).T.rename_axis("bins")
    for name in ("surface", "refitted"):
        table[f"gap of the {name}"] = 100 * (1 - bound / table[name])
    return table, bound


# --- On a line ---------------------------------------------------------------------------------------------------


def stepped_lines(n_lines: int, n_cells: int, generator: torch.Generator) -> Float[Tensor, "n cells"]:
    """A smooth curve with a jump up at 0.4 and one down at 0.75, with noise."""
    x = (torch.arange(n_cells, dtype=torch.float64) + 0.5) / n_cells
    curve = 0.25 + 0.2 * torch.sin(3 * x) + 0.35 * (x > 0.4) - 0.2 * (x > 0.75)
    noise = torch.randn(n_lines, n_cells, generator=generator, dtype=torch.float64)
    return curve + 0.03 * noise


def minimise_lines(
    lines: Float[Tensor, "n cells"], fidelity: float, price: float
) -> tuple[Float[Tensor, "n cells"], Float[Tensor, " n"], list[list[int]]]:
    """Exact minimisers of lines, their energies, and the cells after which they jump."""
    exact = [mumford_shah_on_a_line(line, fidelity, price) for line in lines]
    surfaces = torch.stack([surface for surface, _ in exact])
    energies = torch.tensor([energy for _, energy in exact], dtype=torch.float64)
    return surfaces, energies, [jumps_of_line(surface, price) for surface in surfaces]


def jumps_of_line(surface: Float[Tensor, " cells"], price: float) -> list[int]:
    """Cells after which a scaled line jumps, by the functional's own threshold."""
    return find_jumps(surface, math.sqrt(price / len(surface))).cells.nonzero()[:, 0].tolist()


# --- The estimate of risk ----------------------------------------------------------------------------------------


def sure_against_loss(
    pairs: Sequence[tuple[float, float]],
    steps: Sequence[float],
    *,
    noise_std: float,
    n_draws: int,
    n_bins: int,
    n_iterations: int,
    generators: Sequence[torch.Generator],
    device: torch.device,
    n_cells: int = 32,
) -> DataFrame:
    """SURE and loss over draws of the noise around one curve: for each pair of prices and length of the step.

    The first generator draws the noise, the second the probes' directions, one set for each pair and step.
    """
    x = (torch.arange(n_cells) + 0.5) / n_cells
    curve = (0.3 + 0.15 * torch.sin(3 * x) + 0.3 * (x > 0.5)).to(device)
    drawing, probing = generators
    draws = curve + noise_std * torch.randn(n_draws, n_cells, generator=drawing).to(device)
    rows = []
    for fidelity, price in pairs:

        def smooth(grids: Tensor, pair: tuple[float, float] = (fidelity, price)) -> Tensor:
            return lifted_mumford_shah(grids, *pair, n_bins=n_bins, n_iterations=n_iterations).surface

        estimates = smooth(draws)
        loss = (estimates - curve).square().mean(dim=1)
        for step in steps:
            divergence = monte_carlo_divergence(
                smooth, draws, step=step * noise_std, value=estimates, generator=probing
            )
            sure = sure_gaussian(estimates, draws, noise_std, divergence) / n_cells
            apart = (sure - loss).double()
            error = apart.std().item() / math.sqrt(n_draws)
            rows.append(
                {
                    "fidelity": fidelity,
                    "price": price,
                    "step": step,
                    "risk": loss.mean().item(),
                    "SURE": sure.mean().item(),
                    "error": error,
                    "z": apart.mean().item() / error,
                }
            )
    return DataFrame(rows)


# --- Prices chosen by Stein --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """A disk's fit, and its rivals' surfaces and risks, all tuned along the same random directions."""

    fit: FreeDiscontinuity
    chosen: dict[str, Float[Tensor, "*grid"]]  # each rival's surface of least estimated risk
    risks: dict[str, tuple[float, float]]  # of each method: at SURE's choice, and the least of all candidates


def fit_disk(
    disk: Disk,
    *,
    seed: int,
    fidelities: Sequence[float],
    boundary_prices: Sequence[float] | None = None,
    **options: int | float,
) -> FreeDiscontinuity:
    """Fit a disk, prices chosen by SURE (None: the fidelity alone); `seed` fixes the probes' directions."""
    return free_discontinuity_regression(
        disk.sample.points,
        disk.sample.values,
        n_cells=disk.target.shape[0],
        fidelities=fidelities,
        boundary_prices=[disk.price()] if boundary_prices is None else boundary_prices,
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


def judge_sure(disk: Disk, fit: FreeDiscontinuity) -> dict[str, float]:
    """What SURE says of its choice, and what is true of it and of the best candidate."""
    risks = disk.risk(fit.candidates).flatten()
    chosen = int(fit.sure.argmin())
    return {
        "noise, estimated": fit.noise_std,
        "λ chosen": fit.fidelity,
        "SURE": fit.sure.min().item(),
        "risk": risks[chosen].item(),
        "least risk": risks.min().item(),
    }


def tune_disk(
    disk: Disk,
    *,
    seed: int,
    fidelities: Sequence[float],
    boundary_prices: Sequence[float] | None = None,
    n_probes: int,
    n_candidates: int,
    **options: int | float,
) -> Tuned:
    """Fit a disk as `fit_disk` does, and tune the rivals along the same random directions."""
    fit = fit_disk(
        disk,
        seed=seed,
        fidelities=fidelities,
        boundary_prices=boundary_prices,
        n_probes=n_probes,
        **options,
    )
    of_each = disk.risk(fit.candidates).flatten()
    risks = {"free discontinuity": (of_each[fit.sure.argmin()].item(), of_each.min().item())}
    chosen = {}
    for rival in RIVALS:
        estimates, sure = tune_rival(
            rival,
            disk.grid,
            fit.noise_std,
            n_candidates=n_candidates,
            n_probes=n_probes,
            generator=torch.Generator().manual_seed(seed),
        )
        of_each, best = disk.risk(estimates), int(sure.argmin())
        chosen[rival] = estimates[best]
        risks[rival] = (of_each[best].item(), of_each.min().item())
    return Tuned(fit, chosen, risks)


def border_curve(
    disks: Sequence[Disk], surfaces: Sequence[Float[Tensor, "*grid"]], shares: Sequence[float]
) -> DataFrame:
    """Mean errors of surfaces' borders, with jumps counted from several shares of the step's height on."""
    rows = []
    for share in shares:
        pairs = zip(disks, surfaces, strict=True)
        found = DataFrame([disk.describe(surface, share * disk.height) for disk, surface in pairs])
        rows.append({"share": share, **found.mean()})
    return DataFrame(rows).set_index("share")


def price_curve(
    disks: Sequence[Disk],
    fidelity: float | Sequence[float],
    shares: Sequence[float],
    *,
    n_bins: int,
    tolerance: float,
) -> DataFrame:
    """As `border_curve`, but each threshold sets the price of border, and so has surfaces of its own."""
    rows = []
    for share in shares:
        moved = [replace(disk, smallest=share * disk.height) for disk in disks]
        found = solve_disks(moved, fidelity, n_bins=n_bins, tolerance=tolerance).describe()
        rows.append({"share": share, **found.mean()})
    return DataFrame(rows).set_index("share")


def border_at_prices(disk: Disk, fit: FreeDiscontinuity) -> Float[np.ndarray, "fidelities prices 2"]:
    """Rates of false and missed cells of every candidate, each cut where its own price of border cuts."""
    n_cells = disk.target.shape[0]
    border, rates = sphere_border(n_cells), []
    for surfaces in fit.candidates:
        for surface, price in zip(surfaces, fit.boundary_prices, strict=True):
            threshold = disk.width * math.sqrt(price / n_cells)
            rates.append(compare_borders(find_jumps(surface, threshold).cells, border)[:2])
    return np.array(rates).reshape(*fit.sure.shape, 2)


def sample_image(
    image: Float[Tensor, "h w"], n_points: int, noise_std: float, generator: torch.Generator
) -> Sample:
    """Draw values of a square image, which may be NaN in places, at random points, with noise."""
    points = torch.rand(n_points, 2, generator=generator, dtype=torch.float64)
    truth = image[tuple((points * len(image)).long().T)].double()
    values = truth + noise_std * torch.randn(n_points, generator=generator, dtype=torch.float64)
    visible = ~truth.isnan()
    return Sample(points[visible], truth[visible], values[visible])
