"""Free discontinuity regression: a surface that is smooth but for jumps, and where and how high the jumps are.

Florian Gunsilius and David Van Dijcke, "Free Discontinuity Regression: With an Application to the Economic Effects
of Internet Shutdowns", arXiv 2309.14630; read for this: abstract, official code, scripts of the simulations.

Scattered noisy data are cast on a grid (`cast_to_grid`); a convex lifting of the Mumford-Shah functional is
minimised over it (`lifted_mumford_shah`); jumps and regions are read off (`find_jumps`, `segment`); and Stein's
unbiased risk estimate chooses the two hyperparameters (`sure_of_candidates`). `free_discontinuity_regression` does
it all.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_floating,
    check_positive,
)
from regularity.foundations.hypergradients import conjugate_gradients
from regularity.foundations.proximal import divergence, forward_gradient, lengths, shrink
from regularity.foundations.risk import monte_carlo_divergence
from regularity.stein.free_discontinuity.problems import (
    GridData,
    _check_cubes,
    _check_data,
    _check_squares,
    _integrate,
    _one_a_grid,
    cast_to_grid,
    mumford_shah_energy,
    nearest_neighbour_noise,
)

# --- The convex lifting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiftedSurface:
    """What `lifted_mumford_shah` found for a batch of grids.

    Attributes
    ----------
    surface
        Where the lifted function falls through ½, in the units of the data.
    lifted
        The lifted function: at label 0, its mean over bin 0, at label 1, its mean over bin 1, ..., at the last label.
    flow
        The calibration's horizontal part, scaled to satisfy its limit exactly; `certify` starts from it.
    primal, dual
        Bounds of the minimum *of the relaxed problem with bins*. They say nothing of `surface`, and where the bins
        are narrower than the slope of a cell both may lie above the least energy on the grid: see `certify`.
    relative_gap
        (primal − dual) / primal, one a grid; 0 where both vanish, for data without any variation.
    n_iterations
        Iterations done.
    """

    surface: Float[Tensor, " n *grid"]
    lifted: Float[Tensor, "n levels *grid"]
    flow: Float[Tensor, "bins n d *grid"]
    primal: Float[Tensor, " n"]
    dual: Float[Tensor, " n"]
    relative_gap: Float[Tensor, " n"]
    n_iterations: int

    @property
    def fractional(self) -> Float[Tensor, " n"]:
        """Share of the cells whose lifted function is neither 0 nor 1 (by more than .05) at some label."""
        at_labels = self.lifted[:, ::2]
        return ((at_labels > 0.05) & (at_labels < 0.95)).any(dim=1).flatten(1).double().mean(dim=1)


class LiftedState(NamedTuple):
    """Primal variables, then dual ones. Axes: bins, runs of bins or inner labels; grids; D of vectors; cells."""

    inside: Float[Tensor, "bins n *grid"]  # mean of the lifted function over each bin
    above: Float[Tensor, "labels n *grid"]  # the lifted function at each inner label: the mass above it
    breaks: Float[Tensor, "runs n d *grid"]  # how much of the surface breaks across each whole run of bins
    broken: Float[Tensor, "bins n d *grid"]  # for each bin, the breaks summed over the runs that hold it
    flow: Float[Tensor, "bins n d *grid"]  # horizontal part of the calibration
    tilt: Float[Tensor, "bins n *grid"]  # its vertical part in a bin: slope ...
    height: Float[Tensor, "bins n *grid"]  # ... and level of a line under a parabola
    low: Float[Tensor, "bins n *grid"]  # multipliers: mass at the low end of a bin is not negative,
    high: Float[Tensor, "bins n *grid"]  # nor at the high end


@dataclass(frozen=True)
class Lifting:
    """The constants of a batch of lifted problems; `fidelity` and `price` have axes of length 1 for the cells."""

    data: Float[Tensor, " n *grid"]
    n_axes: int
    width: float  # of a bin
    slope: float  # that over the side of a cell
    fidelity: Float[Tensor, " n *ones"]
    price: Float[Tensor, " n *ones"]
    offset: Float[Tensor, "bins n *grid"]  # middle of each bin minus the data
    runs: Float[Tensor, "runs bins"]  # which bins each run of bins holds, 0 or 1

    @property
    def bend(self) -> Tensor:
        """√(cost of half a bin off): the curvature of the data's cost inside a bin."""
        return self.fidelity.sqrt() * self.width / 2

    def costs(self) -> tuple[Tensor, Tensor]:
        """Linear part of the cost of mass at the low and at the high end of each bin."""
        middle, half = self.offset.square(), self.width * self.offset
        return self.fidelity * (middle - half), self.fidelity * (middle + half)

    def double(self) -> "Lifting":
        """The same problem in double precision."""
        values = {name: value.double() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Lifting(**(vars(self) | values))


def _lift(data: Tensor, fidelity: Tensor, boundary_price: Tensor, n_bins: int) -> Lifting:
    """Gather the constants of the lifted problems."""
    n_axes, width = data.ndim - 1, 1 / n_bins
    bins = torch.arange(n_bins, device=data.device)
    first, last = torch.triu_indices(n_bins, n_bins, device=data.device)
    middles = (width * (bins + 0.5)).to(data.dtype).reshape(-1, 1, *[1] * n_axes)
    return Lifting(
        data=data,
        n_axes=n_axes,
        width=width,
        slope=width * data.shape[1],
        fidelity=fidelity,
        price=boundary_price,
        offset=middles - data,
        runs=((bins >= first[:, None]) & (bins <= last[:, None])).to(data.dtype),
    )


def _start(problem: Lifting) -> LiftedState:
    """The solution without a price on variation: the lifted data, and the dual variables that certify it."""
    p = problem
    inside = (0.5 - p.offset / p.width).clamp(0, 1)
    above = (p.offset[1:] < p.width / 2).to(inside.dtype)
    flow = inside.new_zeros((*inside.shape[:2], p.n_axes, *inside.shape[2:]))
    breaks = inside.new_zeros((len(p.runs), *flow.shape[1:]))
    tilt = -2 * p.fidelity.sqrt() * p.offset.clamp(-p.width / 2, p.width / 2)
    height = tilt.square() / 4
    low_cost, high_cost = p.costs()
    low = (low_cost - p.bend * tilt - height).clamp_min_(0)
    high = (high_cost + p.bend * tilt - height).clamp_min_(0)
    return LiftedState(inside, above, breaks, torch.zeros_like(flow), flow, tilt, height, low, high)


def _ends(inside: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Mass at the low and the high end of each bin."""
    outer = torch.ones_like(inside[:1])
    return torch.cat([outer, above]) - inside, inside - torch.cat([above, outer - outer])


def project_paraboloid(
    flow: Float[Tensor, "k n d *grid"], tilt: Float[Tensor, "k n *grid"], height: Float[Tensor, "k n *grid"]
) -> tuple[Float[Tensor, "k n d *grid"], Float[Tensor, "k n *grid"], Float[Tensor, "k n *grid"]]:
    """Project onto the points above a paraboloid: height ≥ (|flow|² + tilt²) / 4.

    The projection of a point outside scales (flow, tilt) by z/a, where a is half their length and z > 0 solves
    z³ + 3bz = 2a with b = (2 − height)/3. Newton's method from above the root falls monotonically; six steps
    reach the rounding of double precision. Cardano's formula loses all digits in single precision when b ≫ a.

    Parameters
    ----------
    flow
        Vectors of d components along the third axis.
    tilt, height
        One number a vector.

    Returns
    -------
    The nearest point with height ≥ (|flow|² + tilt²) / 4, in the same three parts.

    References
    ----------
    Pock, Cremers, Bischof and Chambolle (2009), An algorithm for minimizing the Mumford-Shah functional.
    """
    for name, values in (("flow", flow), ("tilt", tilt), ("height", height)):
        check_floating(name, values)
    a = torch.hypot(lengths(flow, 2)[:, :, 0], tilt).mul_(0.5)
    b = (2 - height) / 3
    z = (2 * a).pow_(1 / 3).add_((-3 * b).clamp_min_(0).sqrt_())
    b.mul_(1.5)
    for _ in range(6):
        square = z * z
        z = torch.addcmul(a, square, z).div_(torch.add(b, square, alpha=1.5))
    outside = height < a * a
    factor = torch.where(outside, z / a.clamp_min(torch.finfo(a.dtype).tiny), 1.0)
    return flow * factor.unsqueeze(2), tilt * factor, torch.where(outside, z * z, height)


def iterate_primal_dual(
    problem: Lifting, state: LiftedState, n_iterations: int, *, relaxation: float = 1.9
) -> LiftedState:
    """Do over-relaxed primal-dual iterations with diagonal preconditioning.

    Parameters
    ----------
    problem
        The constants.
    state
        Where to start; overwritten.
    n_iterations
        Number of iterations.
    relaxation
        Between 0 and 2: how far to go from the old point towards the new one and past it.

    Returns
    -------
    The last state. It satisfies its constraints in the limit only.

    References
    ----------
    Pock and Chambolle (2011), Diagonal preconditioning for first order primal-dual algorithms; for the relaxation
    Condat (2013), A primal-dual splitting method for convex optimization.
    """
    p, n_axes = problem, problem.n_axes
    # Primal over dual step sizes: the dual variables grow with the price, the primal ones do not. 0.3 is by trial.
    ratio = 0.3 / (n_axes * p.price.sqrt())
    low_cost, high_cost = p.costs()
    per_label = (-1, 1, *[1] * n_axes)
    size = p.width * p.runs.sum(dim=1)  # of a run
    inside_step = ratio / (2 * n_axes * p.slope + 2 * p.bend + 2)
    above_step = ratio / (2 * p.bend + 4)
    row = 2 * p.slope + p.width * p.runs.sum(dim=0).view(per_label)
    dual_step = 1 / (ratio * row.maximum(4 * p.bend).clamp_min(2))
    flow_step, end_step = dual_step.unsqueeze(2), 0.5 / ratio
    pull = p.width * p.runs / size[:, None]
    threshold = (ratio * p.price).unsqueeze(1) / size.view(-1, 1, *per_label[1:])
    pace = ratio.unsqueeze(1)
    breaks = torch.empty_like(state.breaks)  # the largest array by far: room for it is found once

    for _ in range(n_iterations):
        s = state
        # Descend in the primal variables. Shrinking the breaks is what bounds the flow through every run by ν.
        low = low_cost - p.bend * s.tilt - s.height - s.low
        high = high_cost + p.bend * s.tilt - s.height - s.high
        inside = s.inside + inside_step * (p.slope * divergence(s.flow, n_axes) + low - high)
        inside = inside.clamp_(0, 1)
        above = (s.above + above_step * (high[:-1] - low[1:])).clamp_(0, 1)
        forced = (pace * s.flow).flatten(1)
        torch.addmm(s.breaks.flatten(1), pull, forced, alpha=-1, out=breaks.flatten(1))
        shrink(breaks, threshold, 2, out=breaks)
        broken = (p.runs.T @ breaks.flatten(1)).view_as(s.flow)
        # Ascend in the dual ones, from the extrapolated primal point.
        ahead = 2 * inside - s.inside
        at_low, at_high = _ends(ahead, 2 * above - s.above)
        rise = p.slope * forward_gradient(ahead, n_axes) + p.width * (2 * broken - s.broken)
        flow, tilt, height = project_paraboloid(
            s.flow + flow_step * rise,
            s.tilt + dual_step * p.bend * (at_high - at_low),
            s.height - dual_step * (at_low + at_high),
        )
        low = (s.low - end_step * at_low).clamp_min_(0)
        high = (s.high - end_step * at_high).clamp_min_(0)
        new = LiftedState(inside, above, breaks, broken, flow, tilt, height, low, high)
        for old_part, new_part in zip(state, new, strict=True):
            old_part.lerp_(new_part, relaxation)
    return state


def _decreasing(inside: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """The lifted function made to fall from label to label, from 1 to 0."""
    above = torch.cat([above, torch.zeros_like(inside[:1])])
    chain = torch.stack([inside, above], dim=1).flatten(0, 1).clamp(0, 1).cummin(dim=0).values
    return chain[::2], chain[1:-1:2]


def _bounds(problem: Lifting, state: LiftedState) -> tuple[Tensor, Tensor, Tensor]:
    """Primal and dual value, each of a feasible point, and the dual one's flow; in double precision."""
    p = problem.double()
    state = LiftedState(*(part.double() for part in state))
    side = p.width / p.slope

    # Any flow is feasible once it is scaled so that no run of bins carries more than the price; the best vertical
    # part is then known, and the minimum over surfaces is attained in each cell at one label.
    carried = p.width * lengths((p.runs @ state.flow.flatten(1)).view_as(state.breaks), 2).amax(dim=0)
    flow = state.flow * (p.price.unsqueeze(1) / carried.clamp_min(1e-300)).clamp_max(1)
    inflow = -divergence(flow, p.n_axes) / side
    lower = p.width * (inflow.cumsum(dim=0) - inflow)  # inflow below the bin
    place = (-inflow / (2 * p.fidelity) - p.offset).clamp(-p.width / 2, p.width / 2)
    bins = p.fidelity * (place + p.offset).square() + lower + (place + p.width / 2) * inflow
    dual = (bins - flow.square().sum(dim=2) / 4).amin(dim=0)

    # Of what the breaks leave of the slope, mass carries what is cheaper so; the rest breaks bin by bin. Little mass
    # left far from the data costs much: two more points, with such crumbs swept up, are tried as well.
    low_cost, high_cost = p.costs()
    broken = (p.runs.T @ state.breaks.flatten(1)).view_as(flow)
    primal = []
    for crumb in (0.0, 0.003, 0.01):
        inside, above = (
            ((part - crumb) / (1 - 2 * crumb)).clamp(0, 1) for part in _decreasing(state.inside, state.above)
        )
        at_low, at_high = _ends(inside, above)
        mass = at_low + at_high
        rise = lengths(forward_gradient(inside, p.n_axes) / side + broken, 2)[:, :, 0]
        smooth = rise.minimum(mass * p.price / (2 * p.width**2))
        squares = (p.width * smooth).square() + (p.bend * (at_high - at_low)).square()
        quadratic = torch.where(mass > 0, squares / mass.clamp_min(1e-300), 0.0)
        bins = quadratic + low_cost * at_low + high_cost * at_high + p.price * (rise - smooth)
        primal.append(
            _integrate(bins.sum(dim=0) + p.price * lengths(state.breaks, 2)[:, :, 0].sum(dim=0), side)
        )
    return torch.stack(primal).amin(dim=0), _integrate(dual, side), flow


def _read_surface(problem: Lifting, state: LiftedState) -> tuple[Tensor, Tensor]:
    """The mean of the mass in the bin where the lifted function falls through ½, and the lifted function."""
    inside, above = _decreasing(state.inside, state.above)
    ends = torch.ones_like(inside[:1])
    labels = torch.cat([ends, above, torch.zeros_like(ends)])
    k = (labels[:-1] > 0.5).sum(dim=0, keepdim=True) - 1
    top, bottom, mean = labels.gather(0, k), labels.gather(0, k + 1), inside.gather(0, k)
    surface = problem.width * (k + (mean - bottom) / (top - bottom))[0]
    lifted = torch.cat([torch.stack([labels[:-1], inside], dim=1).flatten(0, 1), labels[-1:]])
    return surface, lifted.movedim(0, 1)


@torch.no_grad()
def lifted_mumford_shah(
    data: Float[Tensor, " n *grid"],
    fidelity: float | Float[Tensor, " n"],
    boundary_price: float | Float[Tensor, " n"],
    *,
    n_bins: int = 8,
    n_iterations: int = 1000,
    tolerance: float | None = None,
) -> LiftedSurface:
    """Minimise a convex relaxation of the Mumford-Shah energy, with bounds of the relaxed minimum.

    Parameters
    ----------
    data
        Grids of any number of axes D with the same number of cells along each; values in [0, 1] (a little outside
        does no harm, the surfaces stay in [0, 1]).
    fidelity
        λ, the weight of the squared distance to the data; one number, or one a grid.
    boundary_price
        ν, the price of a unit of boundary; one number, or one a grid.
    n_bins
        Number of intervals between labels. Within a bin the surface takes any value. The relaxed problem is that of
        a continuous domain: on the grid it is faithful as long as a bin, 1/n_bins, is wider than the surface's
        slope over a cell. Work and memory grow with the square of the number.
    n_iterations
        Iterations at most.
    tolerance
        Stop once every relative gap of the relaxed problem is at most this. None: do all iterations.

    Returns
    -------
    The surfaces, the lifted functions, the flows, and the two bounds.

    Raises
    ------
    ValueError
        If `fidelity`, `boundary_price` or `tolerance` is not positive, there are fewer than two bins, no iteration,
        the sides differ, or an entry is not finite or far outside [0, 1].

    Warns
    -----
    UserWarning
        If a gap is above `tolerance` after the last iteration.

    References
    ----------
    Alberti, Bouchitté and Dal Maso (2003), The calibration method for the Mumford-Shah functional; Pock et al.
    (2009); the bins' exact data term: Möllenhoff and Cremers (2017), Sublabel-accurate discretization of nonconvex
    free-discontinuity problems.
    """
    for name, value in (("fidelity", fidelity), ("boundary_price", boundary_price)):
        check_positive(name, value)
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    check_at_least("n_bins", n_bins, 2)
    check_at_least("n_iterations", n_iterations, 1)
    (data,) = as_floats(data=data)
    _check_cubes("data", data)
    if data.abs().max() > 1e6:
        low, high = (end.item() for end in data.aminmax())
        raise ValueError(f"data must be in [0, 1] or near it; got a range of [{low:g}, {high:g}]")
    problem = _lift(data, _one_a_grid(fidelity, data), _one_a_grid(boundary_price, data), n_bins)
    # Energies below this are those of surfaces that are off by 1e-4 of the range: nothing is left to minimise.
    nothing = 1e-8 * problem.fidelity.flatten().double()
    state, done = _start(problem), 0
    while done < n_iterations:
        steps = n_iterations - done if tolerance is None else min(50, n_iterations - done)
        state, done = iterate_primal_dual(problem, state, steps), done + steps
        primal, dual, flow = _bounds(problem, state)
        gap = (primal - dual) / primal.maximum(nothing)
        if tolerance is not None and bool((gap <= tolerance).all()):
            break
    if tolerance is not None and not bool((gap <= tolerance).all()):
        message = f"the relative gap is {gap.max():.2g} after {done} iterations, above {tolerance:g}"
        warnings.warn(message, stacklevel=2)
    return LiftedSurface(*_read_surface(problem, state), flow, primal, dual, gap, done)


# --- The certificate on the grid, which the paper has not --------------------------------------------------------


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
    problem = _lift(data, _one_a_grid(fidelity, data), _one_a_grid(boundary_price, data), n_bins).double()
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
    return _Wishes(_integrate(least, side), ascent, levels, rising, toll, torn)


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
    return _integrate(smooth.minimum(least(wishes.rising, 0.0) + wishes.torn), side)


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
    _check_cubes("data", data)
    surface, data, n_axes, side = surface.double(), data.double(), data.ndim - 1, 1 / data.shape[1]
    _check_squares(surface=surface, data=data)
    weight, price = _one_a_grid(fidelity, data), _one_a_grid(boundary_price, data).unsqueeze(1)
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


# --- Jumps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Jumps:
    """Where a surface jumps, and by how much.

    Attributes
    ----------
    cells
        Cells between which and the next one along some axis the surface jumps.
    sizes
        The jump's size at those cells, signed, along the axis on which it is largest; 0 elsewhere.
    """

    cells: Bool[Tensor, "*grid"]
    sizes: Float[Tensor, "*grid"]


def find_jumps(surface: Float[Tensor, "*grid"], threshold: float) -> Jumps:
    """Find the cells where a surface jumps, and the size of each jump.

    Parameters
    ----------
    surface
        Values on a grid of any number of axes.
    threshold
        Length of the forward difference from which on a cell is a jump, in units of the surface. The functional's
        own is √(boundary_price·h), times the range that was scaled to [0, 1].

    Returns
    -------
    The cells and sizes. Neighbouring edges that jump the same way are one jump; its size is the difference over
    these and the edge on either side of them (a cell that the border cuts lies between the two sides), unless that
    one jumps as well, minus the mean slope beyond for each edge.

    Raises
    ------
    ValueError
        If `threshold` is not positive, or an entry is not finite.
    """
    check_positive("threshold", threshold)
    (surface,) = as_floats(surface=surface)
    n_axes = surface.ndim
    steps = forward_gradient(surface, n_axes)
    cells = lengths(steps, 0)[0] >= threshold
    # Of a vector of length `threshold` the largest component is at least this.
    jumps = cells & (steps.abs() >= threshold / n_axes**0.5 * (1 - 1e-6))
    sizes = [
        _sizes_of_runs(steps[axis].movedim(axis, -1), jumps[axis].movedim(axis, -1)).movedim(-1, axis)
        for axis in range(n_axes)
    ]
    dominant = steps.abs().argmax(dim=0, keepdim=True)
    return Jumps(cells, torch.where(cells, torch.stack(sizes).gather(0, dominant)[0], 0.0))


def _sizes_of_runs(
    steps: Float[Tensor, "*rows n"], jumps: Bool[Tensor, "*rows n"]
) -> Float[Tensor, "*rows n"]:
    """Size of the jump that each edge of a line belongs to, 0 where it belongs to none; the last edge is no edge."""
    n_edges, up = steps.shape[-1] - 1, steps > 0
    begins = jumps.clone()
    begins[..., 1:] &= ~(jumps[..., :-1] & (up[..., 1:] == up[..., :-1]))
    run = (begins.flatten().cumsum(0) - 1)[jumps.flatten()]  # of each edge that jumps
    if not len(run):
        return torch.zeros_like(steps)
    row, edge = jumps.flatten(0, -2).nonzero().unbind(1) if steps.ndim > 1 else (None, jumps.nonzero()[:, 0])
    row = torch.zeros_like(edge) if row is None else row
    steps_of, jumps_of = steps.reshape(-1, n_edges + 1), jumps.reshape(-1, n_edges + 1)
    count = torch.bincount(run)
    last = count.cumsum(0) - 1
    first = last - count + 1
    row_of, low, high = row[first], edge[first], edge[last]

    def beside(place: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """The step at a place, 0 where there is none that is no jump, and whether there is one."""
        inside = place.clamp(0, n_edges)
        free = allowed & (place >= 0) & (place < n_edges) & ~jumps_of[row_of, inside]
        return torch.where(free, steps_of[row_of, inside], 0.0), free

    near, far = [], []
    for place, way in ((low, -1), (high, 1)):
        near.append(beside(place + way, torch.ones_like(place, dtype=torch.bool)))
        far.append(beside(place + 2 * way, near[-1][1]))
    (near_sum, n_near), (far_sum, n_far) = (
        (sum(step for step, _ in pair), sum(free.long() for _, free in pair)) for pair in (near, far)
    )
    # The slope from the edges beyond; where there are none, from those beside.
    slope = torch.where(n_far > 0, far_sum / n_far.clamp_min(1), near_sum / n_near.clamp_min(1))
    inner = torch.zeros_like(slope).index_add_(0, run, steps_of[row, edge])
    size = inner + near_sum - (count + n_near) * slope
    sizes = torch.zeros_like(steps)
    sizes[jumps] = size[run]
    return sizes


def segment(jumps: Jumps) -> Int[Tensor, "*grid"]:
    """Cut the grid along its jumps into contiguous regions: a cell that jumps is cut off from all next ones.

    Parameters
    ----------
    jumps
        What `find_jumps` found.

    Returns
    -------
    The number of each cell's region, 0 for the largest, and so on.
    """
    cut, index = jumps.cells.cpu().numpy(), np.arange(jumps.cells.numel()).reshape(jumps.cells.shape)
    pairs = []
    for axis in range(cut.ndim):
        joined = ~np.delete(cut, -1, axis=axis)
        pairs.append(
            np.stack([np.delete(index, -1, axis=axis)[joined], np.delete(index, 0, axis=axis)[joined]])
        )
    start, end = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(index.size, index.size))
    regions = connected_components(graph, directed=False)[1]
    order = np.bincount(regions).argsort(kind="stable")[::-1]
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return torch.from_numpy(number[regions].reshape(index.shape)).to(jumps.cells.device)


def smallest_notable_jump(means: Float[Tensor, "*grid"], notable: float = 2.0) -> float:
    """From which height on to count jumps, where nothing else tells: so many typical differences between cells.

    The typical difference, a median over the grid, holds the noise of the means and the slope of the surface; a
    border, which takes up few of the cells, does not move it.

    Parameters
    ----------
    means
        The cells' means.
    notable
        How many typical differences.

    Returns
    -------
    A threshold for `find_jumps`, in units of the means; `price_of` translates it into a price of border.
    """
    check_positive("notable", notable)
    (means,) = as_floats(means=means)
    steps = lengths(forward_gradient(means, means.ndim), 0)[0]
    return notable * steps.median().item()


def price_of(smallest_jump: float, scale: float, n_cells: int) -> float:
    """The price of border ν at which jumps count from `smallest_jump` on, for data divided by `scale`."""
    check_positive("smallest_jump", smallest_jump)
    check_positive("scale", scale)
    return n_cells * (smallest_jump / float(scale)) ** 2


# --- The choice of the hyperparameters, and the whole ---------------------------------------------------------------


def sure_of_candidates(
    estimator: Callable[[Tensor], Tensor],
    observed: Float[Tensor, " n"],
    noise_std: float | Float[Tensor, " n"],
    n_candidates: int,
    *,
    step: float = 0.5,
    n_probes: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "candidates n"], Float[Tensor, " candidates"]]:
    """Stein's unbiased estimate of the mean squared error of several estimators, along the same random directions.

    Parameters
    ----------
    estimator
        Maps one copy of the data a candidate, rows (candidates, n), to the candidates' estimates.
    observed
        Data with independent Gaussian noise.
    noise_std
        Standard deviation of the noise: one number, or one an entry.
    n_candidates
        Number of candidates.
    step
        Length of the divergence's finite difference, in standard deviations of the noise.
    n_probes
        Random directions, averaged.
    generator
        Source of the directions, which all candidates share.

    Returns
    -------
    estimates
        Each candidate's estimate, a row.
    sure
        Each one's estimated mean squared error; it may be negative.

    Raises
    ------
    ValueError
        If `noise_std` or `step` is not positive.

    References
    ----------
    Stein (1981), Theorem 1; Ramani, Blu and Unser (2008), Theorem 2. With unequal noise: the divergence of
    y ↦ s·f(s·y) at y = observed/s is Σ sᵢ² ∂fᵢ/∂yᵢ.
    """
    check_positive("noise_std", noise_std)
    (observed,) = as_floats(observed=observed)
    std = torch.as_tensor(noise_std, dtype=observed.dtype, device=observed.device).expand_as(observed)
    copies = observed.expand(n_candidates, -1)
    estimates = estimator(copies)
    spread = torch.zeros(n_candidates, dtype=observed.dtype, device=observed.device)
    for _ in range(n_probes):
        spread += monte_carlo_divergence(
            lambda whitened: std * estimator(std * whitened),
            copies / std,
            step=step,
            value=std * estimates,
            generator=generator,
            share_direction=True,
        )
    excess = (estimates - observed).square() - std.square()
    return estimates, excess.mean(dim=1) + 2 * spread / (n_probes * len(observed))


@dataclass(frozen=True)
class FreeDiscontinuity:
    """What `free_discontinuity_regression` found.

    Attributes
    ----------
    surface
        The regression surface on the grid, in units of the values.
    jumps
        Its jumps.
    grid
        The data on the grid.
    fidelity, boundary_price
        The chosen λ and ν.
    smallest_jump
        From where on jumps count at this price, in units of the values.
    noise_std
        Standard deviation of one value, given or estimated.
    fidelities, boundary_prices
        The candidates for λ and ν.
    candidates
        The surface of each pair, in units of the values: fidelities in rows, boundary prices in columns.
    sure
        Estimated risk of each, over the cells with data; NaN where there is only one pair.
    lifted
        The lifted solution at the chosen pair, with its certificate, in scaled units.
    """

    surface: Float[Tensor, "*grid"]
    jumps: Jumps
    grid: GridData
    fidelity: float
    boundary_price: float
    smallest_jump: float
    noise_std: float
    fidelities: tuple[float, ...]
    boundary_prices: tuple[float, ...]
    candidates: Float[Tensor, "fidelities prices *grid"]
    sure: Float[Tensor, "fidelities prices"]
    lifted: LiftedSurface


def free_discontinuity_regression(
    points: Float[Tensor, "n d"],
    values: Float[Tensor, " n"],
    *,
    n_cells: int,
    fidelities: Sequence[float],
    boundary_prices: Sequence[float],
    noise_std: float | None = None,
    n_bins: int = 8,
    n_iterations: int = 300,
    tolerance: float = 0.01,
    n_probes: int = 1,
    generator: torch.Generator | None = None,
) -> FreeDiscontinuity:
    """Estimate a surface that is smooth but for jumps, and where and by how much it jumps.

    Parameters
    ----------
    points
        Coordinates in [0, 1], one point a row, of any dimension.
    values
        One noisy value a point.
    n_cells
        Cells along each axis.
    fidelities, boundary_prices
        Candidates for λ and ν, for values scaled to [0, 1]. Where there are several pairs, Stein's unbiased risk
        estimate chooses.
    noise_std
        Standard deviation of the values' noise; None: `nearest_neighbour_noise`.
    n_bins
        Bins of the lifting.
    n_iterations
        Iterations of each solve behind a risk estimate: the estimate is that of the surface after as many,
        converged or not.
    tolerance
        Relative gap to which the chosen pair is then solved.
    n_probes
        Random directions of the risk estimate.
    generator
        Source of these directions.

    Returns
    -------
    The surface, its jumps, and what was chosen.

    Raises
    ------
    ValueError
        If a parameter is not positive, the data have different lengths or entries that are not finite, or all cells
        have one mean.

    Warns
    -----
    UserWarning
        If many cells are empty, or the gap stays above `tolerance`.

    References
    ----------
    Gunsilius and Van Dijcke (2023), Free Discontinuity Regression.
    """
    points, values = _check_data(points, values)
    for name, candidates in (("fidelities", fidelities), ("boundary_prices", boundary_prices)):
        check_positive(name, torch.tensor(candidates, dtype=torch.float64))
    grid = cast_to_grid(points, values, n_cells)
    low, width = grid.means.min(), grid.means.max() - grid.means.min()
    if width == 0:
        raise ValueError("values must differ: all cells have one mean, there is nothing to scale")
    std = nearest_neighbour_noise(points, values) if noise_std is None else noise_std
    check_positive("noise_std", std)
    pairs = torch.cartesian_prod(
        torch.tensor(fidelities, dtype=torch.float64), torch.tensor(boundary_prices, dtype=torch.float64)
    ).to(values.device)
    filled, entry = grid.filled, grid.entry

    def solve(observed: Tensor) -> Tensor:
        cells = ((observed - low) / width).float()[:, entry].view(-1, *grid.means.shape)
        found = lifted_mumford_shah(cells, *pairs.T, n_bins=n_bins, n_iterations=n_iterations)
        return low + width * found.surface.flatten(1)[:, filled].to(observed.dtype)

    sure, best, candidates = torch.full((len(pairs),), torch.nan), 0, None
    if len(pairs) > 1:
        cell_std = std / grid.counts.flatten()[filled].to(values.dtype).sqrt()
        observed = grid.means.flatten()[filled]
        candidates, sure = sure_of_candidates(
            solve, observed, cell_std, len(pairs), n_probes=n_probes, generator=generator
        )
        best = int(sure.argmin())
    fidelity, boundary_price = pairs[best].tolist()
    scaled = ((grid.means - low) / width).float()[None]
    lifted = lifted_mumford_shah(
        scaled, fidelity, boundary_price, n_bins=n_bins, n_iterations=20 * n_iterations, tolerance=tolerance
    )
    surface = low + width * lifted.surface[0].to(values.dtype)
    smallest_jump = (boundary_price / n_cells) ** 0.5 * width.item()
    jumps = find_jumps(surface, smallest_jump)
    shape = (len(fidelities), len(boundary_prices))
    candidates = surface if candidates is None else candidates[:, entry]
    return FreeDiscontinuity(
        surface,
        jumps,
        grid,
        fidelity,
        boundary_price,
        smallest_jump,
        std,
        tuple(fidelities),
        tuple(boundary_prices),
        candidates.view(*shape, *surface.shape),
        sure.view(shape),
        lifted,
    )
