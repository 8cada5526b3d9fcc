"""The Mumford-Shah energy on a grid, its exact minimiser on a line, data on grids, and the paper's cone with a step.

Energies are those of the unit cube, whatever the number of cells: with cells of side h and D axes,
E(u) = h^D Σ [fidelity·(u − data)² + min(|δu|²/h², boundary_price/h)], δ the forward differences.
"""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from regularity.foundations.checks import as_floats, as_unit_interval, check_at_least, check_positive
from regularity.foundations.proximal import forward_gradient, lengths

# --- The functional, and its exact minimiser on a line -----------------------------------------------------------


def mumford_shah_energy(
    surfaces: Float[Tensor, " n *grid"],
    data: Float[Tensor, " n *grid"],
    fidelity: float | Float[Tensor, " n"],
    boundary_price: float | Float[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """Mumford-Shah energy of surfaces on a grid over the unit cube, in which an edge pays the cheaper of two prices.

    Parameters
    ----------
    surfaces, data
        A batch of grids with the same number of cells along each axis.
    fidelity
        λ, the weight of the squared distance to the data; one number, or one a grid.
    boundary_price
        ν, the price of a unit of boundary; one number, or one a grid.

    Returns
    -------
    One energy a grid.

    References
    ----------
    Mumford and Shah (1989), Optimal approximations by piecewise smooth functions; the grid's version: Strekalovskiy
    and Cremers (2014), Real-time minimization of the piecewise smooth Mumford-Shah functional.
    """
    surfaces, data, fidelity, boundary_price = as_floats(
        surfaces=surfaces, data=data, fidelity=fidelity, boundary_price=boundary_price
    )
    _check_cubes("data", data)
    n_axes = data.ndim - 1
    side = 1 / data.shape[1]
    fidelity, boundary_price = (_one_a_grid(value, data) for value in (fidelity, boundary_price))
    slopes = lengths(forward_gradient(surfaces, n_axes), 1)[:, 0] / side
    cells = fidelity * (surfaces - data).square() + torch.minimum(slopes.square(), boundary_price / side)
    return _integrate(cells, side)


def _check_cubes(name: str, grids: Tensor) -> None:
    """Refuse what is no batch of grids with as many cells along each axis."""
    if grids.ndim < 2 or len(set(grids.shape[1:])) != 1:
        raise ValueError(f"{name} must be grids with equal sides; got the shape {tuple(grids.shape)}")


def _check_squares(**tensors: Tensor) -> None:
    """Refuse numbers whose squares overflow."""
    for name, values in tensors.items():
        if not bool(torch.isfinite(values.square().sum())):
            raise ValueError(
                f"{name} must be smaller: the squares of numbers up to {values.abs().max():.2g} overflow"
            )


def _one_a_grid(value: float | Tensor, data: Tensor) -> Tensor:
    """A number, or one a grid, with axes of length 1 for the cells."""
    values = torch.as_tensor(value, dtype=data.dtype, device=data.device).expand(len(data))
    return values.reshape(-1, *[1] * (data.ndim - 1))


def _integrate(cells: Tensor, side: float) -> Tensor:
    """Integral over the unit cube, one a grid."""
    return side ** (cells.ndim - 1) * cells.flatten(1).sum(dim=1)


def mumford_shah_on_a_line(
    data: Float[Tensor, " n"], fidelity: float, boundary_price: float
) -> tuple[Float[Tensor, " n"], float]:
    """Minimise the Mumford-Shah energy in one dimension exactly, by dynamic programming over the jumps.

    Between two jumps the energy is quadratic: its minimum over a segment that ends at cell r, as a function of the
    last value, is a parabola, which grows by one cell in closed form. All segments grow at once.

    Parameters
    ----------
    data
        Values on the n cells of the unit interval.
    fidelity, boundary_price
        λ and ν.

    Returns
    -------
    surface
        The minimiser, float64, on the CPU.
    energy
        What the surface costs: fidelity, slopes and jumps.

    Raises
    ------
    ValueError
        If `fidelity` or `boundary_price` is not positive, or an entry is not finite.

    References
    ----------
    Blake and Zisserman (1987), Visual Reconstruction (the weak string).
    """
    check_positive("fidelity", fidelity)
    check_positive("boundary_price", boundary_price)
    (data,) = as_floats(data=data)
    g, n = data.double().cpu(), len(data)
    _check_squares(data=g)
    side, pull = 1 / n, fidelity / n
    # curvature·(u − centre)² + offset: the least energy of cells l..r given u_r = u, for every l.
    curvature, centre, offset = (g.new_zeros(n) for _ in range(3))
    best, first = [0.0], []
    for r in range(n):
        curvature = curvature / (1 + curvature * side)
        total = curvature + pull
        offset = offset + curvature * pull / total * (centre - g[r]).square()
        centre = (curvature * centre + pull * g[r]) / total
        curvature = total
        curvature[r + 1 :], offset[r + 1 :] = 0, 0  # segments that have not begun
        costs = torch.tensor(best, dtype=g.dtype) + offset[: r + 1] + boundary_price
        costs[0] -= boundary_price
        first.append(int(costs.argmin()))
        best.append(costs[first[-1]].item())
    joined = g.new_ones(n - 1)
    start = first[-1]
    while start > 0:
        joined[start - 1] = 0
        start = first[start - 1]
    steps = torch.eye(n, dtype=g.dtype).diff(dim=0)
    stiffness = steps.T @ (joined[:, None] * steps) / side
    surface = torch.linalg.solve(pull * torch.eye(n, dtype=g.dtype) + stiffness, pull * g)
    return surface, best[-1]


# --- Data on a grid ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GridData:
    """Scattered data, averaged in the cells of a grid.

    Attributes
    ----------
    means
        Mean value of each cell that has data; other cells take that of the nearest one that has.
    counts
        Number of data in each cell.
    source
        For each cell, in the order of the flattened grid, the cell whose mean it takes.
    """

    means: Float[Tensor, "*grid"]
    counts: Int[Tensor, "*grid"]
    source: Int[Tensor, " cells"]

    @property
    def filled(self) -> Bool[Tensor, " cells"]:
        """Which cells, in the order of the flattened grid, have data."""
        return self.counts.flatten() > 0

    @property
    def entry(self) -> Int[Tensor, " cells"]:
        """For each cell, the entry that it takes of a vector over the cells with data."""
        return (self.filled.cumsum(0) - 1)[self.source]


def cast_to_grid(points: Float[Tensor, "n d"], values: Float[Tensor, " n"], n_cells: int) -> GridData:
    """Average scattered data in the cells of a grid over the unit cube.

    Parameters
    ----------
    points
        Coordinates in [0, 1], one point a row.
    values
        One value a point.
    n_cells
        Number of cells along each axis.

    Returns
    -------
    The cells' means and counts.

    Raises
    ------
    ValueError
        If the lengths differ, a coordinate is outside [0, 1], a value is not finite, or `n_cells` is below 2.

    Warns
    -----
    UserWarning
        If more than a tenth of the cells have no data.
    """
    points, values = _check_data(points, values)
    check_at_least("n_cells", n_cells, 2)
    n_axes = points.shape[1]
    grid = [n_cells] * n_axes
    cell = (points * n_cells).long().clamp_max(n_cells - 1)
    place = torch.tensor([n_cells ** (n_axes - 1 - axis) for axis in range(n_axes)], device=points.device)
    index = (cell * place).sum(dim=1)
    counts = torch.bincount(index, minlength=n_cells**n_axes)
    totals = torch.zeros_like(counts, dtype=values.dtype).index_add_(0, index, values)
    filled, empty = counts.nonzero()[:, 0], (counts == 0).nonzero()[:, 0]
    source = torch.arange(len(counts), device=points.device)
    if len(empty):
        if len(empty) > len(counts) / 10:
            share = len(empty) / len(counts)
            warnings.warn(f"{share:.0%} of the cells have no data; take fewer cells", stacklevel=2)
        centres = torch.stack(
            [axis.flatten() for axis in torch.meshgrid([torch.arange(n_cells)] * n_axes, indexing="ij")], 1
        )
        nearest = cKDTree(centres[filled.cpu()]).query(centres[empty.cpu()])[1]
        source[empty] = filled[torch.as_tensor(nearest, device=points.device)]
    means = (totals / counts.clamp_min(1))[source]
    return GridData(means.view(grid), counts.view(grid), source)


def _check_data(points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Bring points and values to one floating type, or name the row that is broken."""
    points, values = as_floats(points=points, values=values, finite=False)
    if len(points) != len(values):
        raise ValueError(f"points and values must have one length; got {len(points)} and {len(values)}")
    broken = (~(torch.isfinite(values) & torch.isfinite(points).all(dim=1))).nonzero()
    if len(broken):
        raise ValueError(f"points and values must be finite; got NaN or infinity in row {int(broken[0])}")
    return as_unit_interval("points", points), values


def nearest_neighbour_noise(points: Float[Tensor, "n d"], values: Float[Tensor, " n"]) -> float:
    """Estimate the noise's standard deviation from the differences of nearest neighbours.

    Slopes and jumps hardly touch it: neighbours are close, few pairs straddle a boundary, and the median ignores
    those.

    Parameters
    ----------
    points
        One point a row.
    values
        One value a point.

    Returns
    -------
    The square root of the median of (Yᵢ − Y_j)²/2 over that of a χ² variable of one degree of freedom.

    Raises
    ------
    ValueError
        If there are fewer than 50 points, the lengths differ or an entry is not finite.
    """
    points, values = _check_data(points, values)
    if len(points) < 50:
        raise ValueError(f"estimating the noise needs at least 50 points; got {len(points)}; give noise_std")
    places = points.cpu().numpy()
    nearest = cKDTree(places).query(places, k=2)[1]
    neighbour = np.where(nearest[:, 0] == np.arange(len(places)), nearest[:, 1], nearest[:, 0])
    halved = (values - values[torch.as_tensor(neighbour, device=values.device)]).square() / 2
    return (halved.median() / 0.454936).sqrt().item()


# --- The paper's cone with a step --------------------------------------------------------------------------------


class Sample(NamedTuple):
    """Scattered points, the true values there, and the noisy ones."""

    points: Float[Tensor, "n d"]
    truth: Float[Tensor, " n"]
    values: Float[Tensor, " n"]


def step_height(multiple: float, noise_std: float, n_axes: int = 2) -> float:
    """Height of a step in standard deviations of the values without it (the paper's unit)."""
    mean = {2: (math.sqrt(2) + math.asinh(1)) / 6, 3: 0.480296}[n_axes]  # of |x − c| over the cube
    return multiple * math.sqrt(n_axes / 12 - mean**2 + noise_std**2)


def draw_cone(
    n_points: int,
    height: float,
    *,
    noise_std: float,
    generator: torch.Generator,
    n_axes: int = 2,
    correlated: float = 0.0,
    reach: float = 0.05,
) -> Sample:
    """Draw noisy values of f(x) = |x − c| + height·1{|x − c| ≥ ¼} at uniform points of the unit cube.

    Parameters
    ----------
    n_points, height, noise_std
        Number of points; height of the step; standard deviation of the noise.
    generator
        Source of points and noise.
    n_axes
        Dimension of the cube.
    correlated
        Share of the noise's variance that neighbours have in common: a smooth random field of covariance
        exp(−|x − y|²/(2 reach²)), made of 200 random waves. 0: independent noise.
    reach
        Its range, in sides of the cube.

    Returns
    -------
    The points, the true values and the noisy ones.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points = torch.rand(n_points, n_axes, generator=generator, dtype=torch.float64)
    distance = (points - 0.5).norm(dim=1)
    truth = distance + height * (distance >= 0.25)
    noise = normal(n_points)
    if correlated:
        waves = points @ normal(n_axes, 200) / reach
        field = (waves.cos() @ normal(200) + waves.sin() @ normal(200)) / math.sqrt(200)
        noise = math.sqrt(1 - correlated) * noise + math.sqrt(correlated) * field
    return Sample(points, truth, truth + noise_std * noise)


def sphere_side(n_cells: int, n_axes: int = 2) -> Bool[np.ndarray, "*grid"]:
    """Which cells' middles lie outside the sphere."""
    middles = np.indices([n_cells] * n_axes) + 0.5
    return np.square(middles / n_cells - 0.5).sum(axis=0) >= 0.25**2


def sphere_border(n_cells: int, n_axes: int = 2) -> Bool[np.ndarray, "*grid"]:
    """Cells between which and a next one the sphere passes: the jumps that one should find."""
    outside = torch.from_numpy(sphere_side(n_cells, n_axes)).double()
    return (lengths(forward_gradient(outside, n_axes), 0)[0] > 0).numpy()


class BorderErrors(NamedTuple):
    """How a found border differs from the true one.

    Attributes
    ----------
    false
        Found cells that are no true ones, and no neighbours of such, over all that are not true.
    missed
        Share of the true cells that were not found, themselves or their neighbours.
    distance
        Mean distance of the found cells to the true ones and back, in sides of the cube; NaN where none was found.
    """

    false: float
    missed: float
    distance: float

    @property
    def worse(self) -> float:
        """The larger of the two rates."""
        return max(self.false, self.missed)


def compare_borders(found: Tensor, border: Bool[np.ndarray, "*grid"]) -> BorderErrors:
    """Compare a found border with the true one, with the tolerance of the authors' simulations.

    A cell is a neighbour of the one before it along an axis: to one side only, and not across corners.
    """
    from scipy.ndimage import distance_transform_edt

    found = found.cpu().numpy()
    false = (found & ~_with_neighbours(border)).sum() / (~border).sum()
    missed = (border & ~_with_neighbours(found)).sum() / border.sum()
    if not found.any():
        return BorderErrors(float(false), float(missed), math.nan)
    there, back = distance_transform_edt(~border)[found], distance_transform_edt(~found)[border]
    distance = (there.mean() + back.mean()) / (2 * border.shape[0])
    return BorderErrors(float(false), float(missed), float(distance))


def _with_neighbours(cells: Bool[np.ndarray, "*grid"]) -> Bool[np.ndarray, "*grid"]:
    wide = cells.copy()
    for axis in range(cells.ndim):
        ahead = [slice(None)] * cells.ndim
        behind = ahead.copy()
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        wide[tuple(behind)] |= cells[tuple(ahead)]
    return wide


def rand_index(regions: Int[Tensor, "*grid"], truth: Bool[np.ndarray, "*grid"]) -> float:
    """Agreement of two partitions beyond chance: 1 for the same partition, 0 in the mean for a random one.

    References
    ----------
    Hubert and Arabie (1985), Comparing partitions (the adjusted Rand index).
    """
    check_at_least("number of cells", truth.size, 2)
    found, true = regions.cpu().numpy().ravel(), truth.ravel().astype(int)
    pairs = np.unique(found, return_inverse=True)[1] * 2 + true

    def count(labels: np.ndarray) -> float:
        sizes = np.bincount(labels)
        return float((sizes * (sizes - 1) / 2).sum())

    both, ours, theirs, all_pairs = count(pairs), count(found), count(true), count(np.zeros_like(true))
    chance = ours * theirs / all_pairs
    return (both - chance) / ((ours + theirs) / 2 - chance)
