"""A lower bound of the energy of all surfaces on a grid, and surfaces of less energy: what the paper has not.

The gap of the relaxed problem says nothing of the surface that is handed back, nor of the functional on the grid.
`certify` does, and `refit_between_jumps` lowers a surface's energy.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.hypergradients import conjugate_gradients
from regularity.foundations.proximal import divergence, forward_gradient, lengths
from regularity.stein.free_discontinuity.method import Lifting, lift
from regularity.stein.free_discontinuity.problems import (
    check_cubes,
    integrate,
    mumford_shah_energy,
    one_a_grid,
)


@dataclass(frozen=True)
class Certificate:
    """How good surfaces are among all surfaces on their grids.

    Attributes
    ----------
    energy
        Each surface's own, by `mumford_shah_energy`.
    lower
        No surface with values in [0, 1] has less.
    """

    energy: Float[Tensor, " n"]
    lower: Float[Tensor, " n"]

    @property
    def relative_gap(self) -> Float[Tensor, " n"]:
        """By how much of its energy a surface may at most be above the least; 0 where the energy is 0."""
        return (self.energy - self.lower) / self.energy.clamp_min(torch.finfo(self.energy.dtype).tiny)


@torch.no_grad()
def certify(
    surface: Float[Tensor, " n *grid"],
    data: Float[Tensor, " n *grid"],
    fidelity: float | Float[Tensor, " n"],
    boundary_price: float | Float[Tensor, " n"],
    flow: Float[Tensor, "bins n d *grid"],
    *,
    n_bins: int = 16,
    n_steps: int = 100,
) -> Certificate:
    """Compare a surface's energy with a lower bound of the energy of all surfaces on the same grid.

    Give every cell x, for each axis i, any function Φᵢ(x, ·) of height, and let the cell pay −Φᵢ(x, t′)/h for the
    height t′ that it wishes for the next cell, which pays +Φᵢ(x, u)/h for the height u that it has itself. Where
    each wish is granted the payments cancel, so that for every Φ

        min E ≥ h^D Σₓ min over t, t′ of [λ(t − g)² + Σᵢ Φᵢ(x − eᵢ, t)/h + min(|t′ − t|²/h², ν/h) − Σᵢ Φᵢ(x, t′ᵢ)/h].

    The lifting's flow is ∂Φ/∂t. It makes the right side large, but not largest, since it looks at differences of
    heights within a bin only. Here steps along supergradients, own heights minus wishes, raise it.

    Parameters
    ----------
    surface, data
        Grids, the data in [0, 1].
    fidelity, boundary_price
        λ and ν, one number or one a grid.
    flow
        Where to start: `LiftedSurface.flow`.
    n_bins
        Bins of height on which ∂Φ/∂t is constant. Any number gives a bound; more give a better one.
    n_steps
        Steps of the ascent; 0 judges `flow` itself.

    Returns
    -------
    The energies and the bounds, both exact up to rounding.

    References
    ----------
    Komodakis, Paragios and Tziritas (2011), MRF energy minimization and beyond via dual decomposition.
    """
    check_at_least("n_bins", n_bins, 2)
    check_at_least("n_steps", n_steps, 0)
    surface, data, fidelity, boundary_price, flow = as_floats(
        surface=surface, data=data, fidelity=fidelity, boundary_price=boundary_price, flow=flow
    )
    energy = mumford_shah_energy(surface.double(), data.double(), fidelity, boundary_price)
    problem = lift(data, one_a_grid(fidelity, data), one_a_grid(boundary_price, data), n_bins).double()
    edges = torch.ones_like(flow[:1])  # a last cell has no next one
    for axis in range(problem.n_axes):
        edges.movedim(2, 0)[axis].movedim(2 + axis, 0)[-1] = 0
    start = _resample(flow.double() * edges, n_bins)
    scales = torch.linspace(0.5, 1, 6, dtype=start.dtype, device=start.device)
    values = torch.stack([_wishes(problem, scale * start, 4).value for scale in scales])
    flow = start * scales[values.argmax(dim=0)].view(1, -1, *[1] * (start.ndim - 2))
    best, highest = flow, torch.full_like(energy, -torch.inf)
    rate = 0.05 * flow.square().flatten(2).mean(dim=(0, 2)).sqrt().view(1, -1, *[1] * (start.ndim - 2))
    mean, square = torch.zeros_like(flow), torch.zeros_like(flow)
    for step in range(n_steps):
        wishes = _wishes(problem, flow, 4)
        best = torch.where((wishes.value > highest).view_as(rate), flow, best)
        highest = highest.maximum(wishes.value)
        mean = 0.9 * mean + 0.1 * wishes.ascent
        square = 0.99 * square + 0.01 * wishes.ascent.square()
        damped = (square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-12
        flow = flow + rate * (1 - step / n_steps) * mean / (1 - 0.9 ** (step + 1)) / damped
    n_levels = max(4, 320 // n_bins)
    lower = torch.stack([_lower_bound(problem, field, n_levels) for field in (start, best, flow)]).amax(dim=0)
    return Certificate(energy, lower)


def _resample(flow: Tensor, n_bins: int) -> Tensor:
    """The flow on other bins, with the same integral between any two labels that both have."""
    total = torch.cat([torch.zeros_like(flow[:1]), flow.cumsum(dim=0)]) / len(flow)
    place = torch.linspace(0, len(flow), n_bins + 1, dtype=flow.dtype, device=flow.device)
    k = place.long().clamp_max(len(flow) - 1)
    share = (place - k).view(-1, *[1] * (flow.ndim - 1))
    return n_bins * (total[k] + share * (total[k + 1] - total[k])).diff(dim=0)


class _Wishes(NamedTuple):
    value: Tensor  # the lower bound, if heights were levels only
    ascent: Tensor  # its supergradient in the flow, but for a positive factor
    levels: Tensor
    rising: Tensor  # Σᵢ Φᵢ(x − eᵢ, ·)/h at the levels, linear between them
    toll: Tensor  # the least of |t′ − t|²/h² − Σᵢ Φᵢ(x, t′ᵢ)/h over t′; minus D t²/h² it is concave in t
    torn: Tensor  # the least of ν/h − Σᵢ Φᵢ(x, t′ᵢ)/h


def _wishes(p: Lifting, flow: Tensor, n_levels: int) -> _Wishes:
    """What each cell would choose, for its own height and those of the next cells; n_levels heights a bin."""
    side, n_bins, at_cells = p.width / p.slope, len(flow), (-1, *[1] * (flow.ndim - 1))
    potential = torch.cat([torch.zeros_like(flow[:1]), p.width * flow.cumsum(dim=0)])  # Φ at the labels
    levels = torch.linspace(0, 1, n_bins * n_levels + 1, dtype=flow.dtype, device=flow.device)
    k = (torch.arange(len(levels), device=flow.device) // n_levels).clamp_max(n_bins - 1)
    own = levels.view(at_cells)
    paid = potential[k] + (own - p.width * k.view(at_cells)) * flow[k]
    rising = torch.zeros_like(paid[:, :, 0])
    for axis in range(p.n_axes):
        count = rising.shape[2 + axis] - 1
        rising.narrow(2 + axis, 1, count).add_(paid[:, :, axis].narrow(2 + axis, 0, count) / side)
    cost = wish = None
    for bin_, (low, rate) in enumerate(zip(potential[:-1], flow, strict=True)):
        near = (own + side * rate / 2).clamp(bin_ * p.width, (bin_ + 1) * p.width)
        price = ((near - own) / side).square() - (low + (near - bin_ * p.width) * rate) / side
        wish = near if cost is None else torch.where(price < cost, near, wish)
        cost = price if cost is None else cost.minimum(price)
    for axis in range(p.n_axes):  # a last cell wishes for nothing
        cost[:, :, axis].movedim(2 + axis, 0)[-1] = 0
    toll = cost.sum(dim=2)
    cheapest = potential.max(dim=0)
    torn = p.price / side - cheapest.values.sum(dim=1) / side
    level = levels.view(-1, *[1] * (toll.ndim - 1))
    bill = p.fidelity * (level - p.data).square() + rising + toll.minimum(torn)
    least, chosen = bill.min(dim=0)
    smooth = toll.gather(0, chosen[None])[0] <= torn
    has = levels[chosen]
    wished = wish.gather(0, chosen[None, :, None].expand_as(wish[:1]))[0]
    wished = torch.where(smooth.unsqueeze(1), wished, p.width * cheapest.indices)
    ahead = torch.stack([_next(has, axis) for axis in range(p.n_axes)], dim=1)
    lows = p.width * torch.arange(n_bins, dtype=flow.dtype, device=flow.device).view(at_cells)
    ascent = (ahead - lows).clamp(0, p.width) - (wished - lows).clamp(0, p.width)
    for axis in range(p.n_axes):
        ascent[:, :, axis].movedim(2 + axis, 0)[-1] = 0
    return _Wishes(integrate(least, side), ascent, levels, rising, toll, torn)


def _next(cells: Tensor, axis: int) -> Tensor:
    """Each cell's next one along an axis; the last cell itself."""
    return torch.cat(
        [cells.narrow(1 + axis, 1, cells.shape[1 + axis] - 1), cells.narrow(1 + axis, -1, 1)], dim=1 + axis
    )


def _lower_bound(p: Lifting, flow: Tensor, n_levels: int) -> Tensor:
    """The bound over all heights: between two levels a concave function lies above its chord."""
    side, wishes = p.width / p.slope, _wishes(p, flow, n_levels)
    level = wishes.levels.view(-1, *[1] * (wishes.toll.ndim - 1))
    low, high = level[:-1], level[1:]

    def least(line: Tensor, curvature: float) -> Tensor:
        """Of λ(t − g)² + curvature·t² and what is linear between the levels, over all t."""
        slope = line.diff(dim=0) / (high - low)
        place = (p.fidelity * p.data - slope / 2) / (p.fidelity + curvature)
        place = place.maximum(low).minimum(high)
        squares = p.fidelity * (place - p.data).square() + curvature * place.square()
        return (squares + line[:-1] + slope * (place - low)).amin(dim=0)

    curvature = p.n_axes / side**2
    smooth = least(wishes.rising + wishes.toll - curvature * level.square(), curvature)
    return integrate(smooth.minimum(least(wishes.rising, 0.0) + wishes.torn), side)


@torch.no_grad()
def refit_between_jumps(
    surface: Float[Tensor, " n *grid"],
    data: Float[Tensor, " n *grid"],
    fidelity: float | Float[Tensor, " n"],
    boundary_price: float | Float[Tensor, " n"],
    *,
    n_rounds: int = 10,
) -> Float[Tensor, " n *grid"]:
    """Lower a surface's energy: hold its jumps, solve for the best surface between them, look for jumps again.

    Parameters
    ----------
    surface, data
        Grids.
    fidelity, boundary_price
        λ and ν, one number or one a grid.
    n_rounds
        Rounds at most; it ends earlier where the jumps stay.

    Returns
    -------
    The surfaces, in double precision; the energy has fallen in each round.
    """
    check_at_least("n_rounds", n_rounds, 1)
    surface, data, fidelity, boundary_price = as_floats(
        surface=surface, data=data, fidelity=fidelity, boundary_price=boundary_price
    )
    check_cubes("data", data)
    surface, data, n_axes, side = surface.double(), data.double(), data.ndim - 1, 1 / data.shape[1]
    weight, price = one_a_grid(fidelity, data), one_a_grid(boundary_price, data).unsqueeze(1)
    joined = None
    for _ in range(n_rounds):
        before, joined = joined, lengths(forward_gradient(surface, n_axes), 1) < (price * side).sqrt()
        if before is not None and bool((before == joined).all()):
            break

        def product(cells: Tensor, joined: Tensor = joined) -> Tensor:
            return weight * cells - divergence(joined * forward_gradient(cells, n_axes), n_axes) / side**2

        right = weight * data
        tolerance = 1e-9 * right.norm().item() + 1e-12
        surface = conjugate_gradients(product, right, tolerance=tolerance, start=surface).values
    return surface
