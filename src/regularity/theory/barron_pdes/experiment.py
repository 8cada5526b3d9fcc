"""The chapter's runs: descents beside their bounds, compositions, sizes in growing dimension, trained networks."""

from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from regularity.foundations.randomness import Stream
from regularity.theory.barron_pdes.method import (
    Lagrangian,
    Networks,
    VariationalPDE,
    barron_norm,
    cosine_basis,
    energy,
    energy_curvature,
    evaluate,
    first_variation,
    maurey_error,
    semilinear_bound,
    sobolev_descent,
    theorem_bound,
    variational_pde,
)
from regularity.theory.barron_pdes.problems import (
    draw_forcing,
    power_law,
    quartic_gradient,
    varying_coefficient,
)


def log_slope(sizes: list[int], values: Float[Tensor, "k n"]) -> Float[Tensor, " n"]:
    """Slope of each column's logarithm on that of the sizes, by least squares."""
    x = torch.tensor(sizes, dtype=torch.float64).log()
    x = x - x.mean()
    return x @ values.double().cpu().log() / x.square().sum()


# --- Descents beside their bounds ---------------------------------------------------------------------------------


def equations(
    dimension: int, n_modes: int, norm: float, stream: Stream, device: torch.device | str = "cpu"
) -> dict[str, VariationalPDE]:
    """One equation of each kind, with forcings of one Barron norm."""
    lagrangians: dict[str, Lagrangian] = {
        "linear, p = 1": varying_coefficient(0.5),
        "u², p = 2": power_law(2),
        "u³, p = 3": power_law(3),
        "u⁵, p = 5": power_law(5),
        "|∇u|²∇u, p = 3": quartic_gradient(dimension, 0.2),
    }
    found = {}
    for name, lagrangian in lagrangians.items():
        basis = cosine_basis(n_modes, degree=lagrangian.growth.power + 1, device=device)
        positive = lagrangian.growth.power == 2
        forcing = draw_forcing(basis, dimension, norm, stream("forcing", name), positive=positive)
        found[name] = variational_pde(lagrangian, forcing, basis)
    return found


@dataclass(frozen=True)
class Path:
    """A descent beside what the theory says of it.

    Attributes
    ----------
    factor, contraction
        The largest factor of the energy gap in a step, above rounding; and the bound 1 − m(2η − Mη²), which is
        1 − m/M for η = 1/M.
    norm
        The Barron norm of the last iterate.
    theorem, semilinear
        Barron norm after a step, over the bound by that before it: the largest such ratio along the path (after the
        first step, which starts from zero), and from other functions. The second bound is that for power laws.
    lowest
        The smallest value that an iterate takes at a node.
    """

    factor: float
    contraction: float
    norm: float
    theorem: float
    semilinear: float
    lowest: float


def follow(
    pde: VariationalPDE, solution: Tensor, functions: Float[Tensor, " n *modes"], n_steps: int
) -> Path:
    """Descend with η = 1/M at the solution; and take one step from each of some functions."""
    rate = 1 / energy_curvature(pde, solution[None])[1]
    run = sobolev_descent(pde, learning_rate=rate, n_steps=n_steps)
    gaps = run.energies - energy(pde, solution)
    factors = (gaps[1:] / gaps[:-1])[gaps[:-1] > 1e-9 * gaps[0]]
    smallest, largest = energy_curvature(pde, torch.cat([run.iterates, solution[None]]))
    starts = torch.cat([run.iterates[1:-1], functions])
    ends = torch.cat([run.iterates[2:], torch.stack([_step(pde, u, rate) for u in functions])])
    norms = [barron_norm(u, pde.basis).item() for u in ends]
    ratios = [
        (norm / theorem_after(pde, u, rate), norm / semilinear_after(pde, u, rate))
        for norm, u in zip(norms, starts, strict=True)
    ]
    return Path(
        factors.max().item(),
        1 - smallest * (2 * rate - largest * rate**2),
        norms[n_steps - 2],
        max(ratio for ratio, _ in ratios),
        max(ratio for _, ratio in ratios),
        min(pde.fields(u)[0].min().item() for u in run.iterates),
    )


def _step(pde: VariationalPDE, u: Tensor, learning_rate: float) -> Tensor:
    return u - learning_rate * first_variation(pde, u) / pde.stiffness


def _band(pde: VariationalPDE, u: Tensor) -> float:
    """Largest frequency along an axis."""
    used = u.abs() > 1e-14 * u.abs().max()
    return pde.basis.frequencies[int(used.nonzero().amax())].item() if bool(used.any()) else 0.0


def theorem_after(
    pde: VariationalPDE, u: Tensor, learning_rate: float, norm: float | None = None, band: float | None = None
) -> float:
    """The theorem's bound of the norm after a step from u; or from any function of a norm and a band."""
    return theorem_bound(
        pde.lagrangian.growth,
        barron_norm(u, pde.basis).item() if norm is None else norm,
        _band(pde, u) if band is None else band,
        learning_rate=learning_rate,
        dimension=u.ndim,
        forcing_norm=barron_norm(pde.forcing, pde.basis).item(),
    )


def semilinear_after(
    pde: VariationalPDE, u: Tensor, learning_rate: float, norm: float | None = None
) -> float:
    """The sharper bound, for a power law."""
    return semilinear_bound(
        pde.lagrangian.growth,
        barron_norm(u, pde.basis).item() if norm is None else norm,
        learning_rate=learning_rate,
        smoothed_forcing_norm=barron_norm(pde.forcing / pde.stiffness, pde.basis).item(),
    )


def composed_theorem(pde: VariationalPDE, learning_rate: float, n_steps: int) -> list[float]:
    """What the theorem says of u_1, ..., u_T without a look at any iterate: each bound is put into the next."""
    norms, band = [0.0], _band(pde, pde.forcing)
    for step in range(n_steps):
        norms.append(theorem_after(pde, pde.forcing, learning_rate, norms[-1], band))
        if step:  # u_1 has the frequencies of f; those of later ones end with the basis's
            band = min(max(pde.lagrangian.growth.next_band(band), band), pde.basis.frequencies[-1].item())
    return norms[1:]


def composed_semilinear(pde: VariationalPDE, learning_rate: float, n_steps: int) -> list[float]:
    """The same for the sharper bound."""
    norms = [0.0]
    for _ in range(n_steps):
        norms.append(semilinear_after(pde, pde.forcing, learning_rate, norms[-1]))
    return norms[1:]


def steps_needed(energies: Float[Tensor, " n"], least: float, share: float) -> int | None:
    """First step that leaves at most a share of what the energy was above the least; None: it is not there."""
    gaps = energies - least
    reached = (gaps <= share * gaps[0]).nonzero()
    return int(reached[0]) if len(reached) else None


def plain_steps(
    pde: VariationalPDE, least: float, share: float, multiples: list[float], cap: int
) -> tuple[int, float]:
    """Steps that descent in L² needs, and the best of some multiples of 1/(Λ|ω|²), ω being the largest frequency."""
    flat = torch.zeros_like(pde.forcing)
    largest = pde.lagrangian.curvature(flat, flat[None]).gradient[1] * (pde.stiffness.max().item() - 1)
    wanted, fewest, best = least + share * (energy(pde, flat).item() - least), cap, multiples[-1]
    for multiple in multiples:
        u, before = flat, inf
        for step in range(1, fewest + 1):
            u = u - multiple / largest * first_variation(pde, u)
            if step % 10:  # the energy is looked at in every tenth step
                continue
            at = energy(pde, u).item()
            if at <= wanted:
                fewest, best = step, multiple
                break
            if step % 50 == 0:
                if not at < before:  # it cycles, or grows
                    break
                before = at
    return fewest, best


# --- Compositions -------------------------------------------------------------------------------------------------


def composition_ratios(
    pde: VariationalPDE, functions: Float[Tensor, " n *modes"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """‖∂L(u, ∇u)‖ over the bound B_L max(b, b^p), in the value's place and (the largest) in the gradient's.

    Norms are by Fourier transform on the whole torus, where L acts pointwise.
    """
    basis, growth, d = pde.basis, pde.lagrangian.growth, pde.forcing.ndim
    side = 2 * (growth.power + 1) * len(basis.frequencies)
    axis = 2 * basis.length * torch.arange(side, dtype=torch.float64, device=functions.device) / side
    points = torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"))
    waves = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64, device=functions.device)
    waves = waves * torch.pi / basis.length
    grid = torch.stack(torch.meshgrid(*[waves] * d, indexing="ij"))

    def norm(values: Tensor) -> Tensor:
        return ((1 + grid.norm(dim=0)) * torch.fft.fftn(values, norm="forward").abs()).sum()

    ratios = []
    for coefficients in functions:
        u = evaluate(coefficients, basis, points.flatten(1).T).reshape([side] * d)
        gradient = torch.fft.ifftn(1j * grid * torch.fft.fftn(u), dim=tuple(range(1, d + 1))).real
        arguments = u.requires_grad_(), gradient.requires_grad_()
        density = pde.lagrangian.density(points, *arguments).sum()
        of_value, of_gradient = torch.autograd.grad(density, arguments)
        b, beta = norm(u.detach()), max(norm(part) for part in gradient.detach())
        value = norm(of_value) / (growth.value_constant * max(b, b**growth.power))
        slope = max(norm(part) for part in of_gradient) / (
            growth.gradient_constant * max(beta, beta**growth.power)
        )
        ratios.append(torch.stack([value, slope]))
    return tuple(torch.stack(ratios).T)


def draw_functions(
    pde: VariationalPDE, norms: Float[Tensor, " n"], generator: Generator
) -> Float[Tensor, " n *modes"]:
    """Functions of random modes, of the first three an axis, brought to Barron norms; positive where p is even."""
    d = pde.forcing.ndim
    drawn = torch.randn(len(norms), *[3] * d, generator=generator, dtype=torch.float64)
    drawn = drawn * (torch.rand(drawn.shape, generator=generator) < 0.5)
    drawn[(slice(None), *[1] * d)] += 0.1  # never all zero
    if pde.lagrangian.growth.power % 2 == 0:
        drawn[(slice(None), *[0] * d)] = drawn.abs().flatten(1).sum(dim=1)
    functions = torch.zeros(len(norms), *pde.forcing.shape, dtype=torch.float64)
    functions[(slice(None), *[slice(3)] * d)] = drawn
    functions = functions.to(pde.forcing)
    sizes = torch.stack([barron_norm(function, pde.basis) for function in functions])
    return functions * (norms.to(sizes) / sizes).reshape(-1, *[1] * d)


# --- Growing dimension --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """What it takes to solve one equation to a relative L² error.

    Attributes
    ----------
    pde, solution
        The equation, and coefficients of u*.
    n_steps, norm
        The first iterate with half the error, and its Barron norm.
    cosines, steps
        Width at which networks drawn for it have the other half, in the mean square: of waves, and of Barron's steps.
    modes
        Functions an axis that the solution needs, cut off.
    theorem
        What the theorem's recursion says of the norm.
    """

    pde: VariationalPDE
    solution: Tensor
    n_steps: int
    norm: float
    cosines: float
    steps: float
    modes: int
    theorem: float


def size_for(pde: VariationalPDE, tolerance: float, *, learning_rate: float, n_steps: int) -> Size:
    """Descend, and take what is needed for a relative error."""
    run = sobolev_descent(pde, learning_rate=learning_rate, n_steps=n_steps)
    solution = run.iterates[-1]
    total = (pde.masses * solution.square()).sum()
    errors = ((pde.masses * (run.iterates - solution).square()).flatten(1).sum(dim=1) / total).sqrt()
    first = int((errors <= tolerance / 2).nonzero()[0])
    chosen = run.iterates[first]
    allowed = (tolerance / 2) ** 2 * total
    widths = [
        (maurey_error(chosen, pde.basis, activation=kind) / allowed).item() for kind in ("cosine", "step")
    ]
    squares = pde.masses * solution.square()
    block = [squares[tuple([slice(n)] * squares.ndim)].sum() for n in range(1, len(squares) + 1)]
    modes = 1 + int((total - torch.stack(block) <= tolerance**2 * total).nonzero()[0])
    theorem = composed_theorem(pde, learning_rate, first)[-1]
    return Size(pde, solution, first, barron_norm(chosen, pde.basis).item(), *widths, modes, theorem)


def squared_errors(networks: Networks, size: Size, points: Tensor) -> Float[Tensor, " r"]:
    """Squared L² error of each network, relative to the solution's square, at random points."""
    errors = [
        networks(part) - evaluate(size.solution, size.pde.basis, part) for part in points.split(50)
    ]  # hidden layers of all points at once would be large
    squares = (size.pde.masses * size.solution.square()).sum()
    return torch.cat(errors, dim=1).square().mean(dim=1) / squares
