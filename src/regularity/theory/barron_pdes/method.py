"""Descent preconditioned in H¹ for variational equations, Barron norms of its iterates, and networks drawn from them.

`sobolev_descent` is the paper's iteration, carried out in products of cosines or sines. `barron_norm` measures an
iterate, `theorem_bound` and `semilinear_bound` say how much one step can add. `maurey_network` makes of a function
with a small norm a network of two layers, as in the proof of Barron's theorem.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, pi

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.foundations.choices import choose
from regularity.foundations.polynomials import gauss_legendre
from regularity.foundations.randomness import random_signs

# --- Functions on a cube ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Basis:
    """Cosines or sines on [0, length] at the nodes of a quadrature; products over the axes span functions of a cube.

    Attributes
    ----------
    frequencies
        ω_k = πk/length, of the n functions.
    masses
        Mean square of each.
    nodes, weights
        Of the quadrature; the weights sum to one, so that integrals are means over the cube.
    values, slopes
        Functions and their derivatives (columns) at the nodes (rows).
    length
        Of the interval.
    is_even
        Cosines, whose derivatives vanish at the ends; or sines, which vanish themselves.
    """

    frequencies: Float[Tensor, " n"]
    masses: Float[Tensor, " n"]
    nodes: Float[Tensor, " q"]
    weights: Float[Tensor, " q"]
    values: Float[Tensor, "q n"]
    slopes: Float[Tensor, "q n"]
    length: float
    is_even: bool

    def squared_frequencies(self, dimension: int) -> Float[Tensor, "*modes"]:
        """|ω|², the eigenvalues of −Δ."""
        axes = torch.meshgrid(*[self.frequencies.square()] * dimension, indexing="ij")
        return torch.stack(axes).sum(dim=0)


def cosine_basis(
    n_modes: int, *, degree: int = 4, length: float = pi, device: torch.device | str = "cpu"
) -> Basis:
    """1, cos(πx/length), ...; products of `degree` functions are integrated exactly, by the midpoint rule."""
    check_at_least("n_modes", n_modes, 1)
    check_at_least("degree", degree, 2)
    n_nodes = degree * (n_modes - 1) // 2 + 1
    nodes = (torch.arange(n_nodes, dtype=torch.float64, device=device) + 0.5) / n_nodes
    return _basis(torch.arange(n_modes), nodes, torch.full_like(nodes, 1 / n_nodes), length, is_even=True)


def sine_basis(
    n_modes: int, *, n_nodes: int | None = None, length: float = 1.0, device: torch.device | str = "cpu"
) -> Basis:
    """sin(πx/length), ...; with nodes of Gauss and Legendre, six a mode unless told otherwise."""
    check_at_least("n_modes", n_modes, 1)
    nodes, weights = gauss_legendre(6 * n_modes if n_nodes is None else n_nodes)
    nodes = (nodes.to(device) + 1) / 2
    return _basis(torch.arange(1, n_modes + 1), nodes, weights.to(device), length, is_even=False)


def _basis(modes: Tensor, nodes: Tensor, weights: Tensor, length: float, *, is_even: bool) -> Basis:
    check_positive("length", length)
    modes = modes.to(nodes)
    frequencies = pi * modes / length
    cosines, sines = (pi * nodes[:, None] * modes).cos(), (pi * nodes[:, None] * modes).sin()
    values, slopes = (cosines, -sines) if is_even else (sines, cosines)
    masses = torch.where(modes == 0, 1.0, 0.5).to(nodes)
    return Basis(frequencies, masses, length * nodes, weights, values, frequencies * slopes, length, is_even)


def _along(tensor: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the first axis by a matrix, and put it last: the next call has the next axis."""
    return torch.tensordot(tensor, matrix, dims=([0], [1]))


def _products(factors: Tensor, dimension: int) -> Tensor:
    """Products over the axes of masses, or of weights."""
    total = factors
    for _ in range(dimension - 1):
        total = total[..., None] * factors
    return total


def _as_modes(name: str, coefficients: Tensor, basis: Basis) -> Tensor:
    """Take coefficients with one axis a dimension, each as long as the basis."""
    (coefficients,) = as_floats(**{name: coefficients})
    n_modes = len(basis.frequencies)
    if set(coefficients.shape) != {n_modes}:
        raise ValueError(f"{name} must have {n_modes} modes along each axis; got {tuple(coefficients.shape)}")
    check_squares(name, coefficients)
    return coefficients


def evaluate(
    coefficients: Float[Tensor, "*modes"], basis: Basis, points: Float[Tensor, "m d"]
) -> Float[Tensor, " m"]:
    """Sum the series Σ_k c_k Π_i cos(ω_{k_i} x_i), or that of sines, at points, one a row."""
    coefficients, points = as_floats(coefficients=coefficients, points=points)
    coefficients = _as_modes("coefficients", coefficients, basis)
    if points.ndim != 2 or points.shape[1] != coefficients.ndim:
        raise ValueError(f"points must be (m, {coefficients.ndim}); got {tuple(points.shape)}")
    check_squares("points", points)
    if bool(coefficients.any()):  # most functions here need few of the modes
        used = coefficients.nonzero().amax(dim=0) + 1
        coefficients = coefficients[tuple(slice(size) for size in used.tolist())]
    total = coefficients.expand(len(points), *coefficients.shape)
    for along in points.T:
        angles = along[:, None] * basis.frequencies[: total.shape[1]].to(points)
        total = torch.einsum("mk...,mk->m...", total, angles.cos() if basis.is_even else angles.sin())
    return total


# --- The equation and the descent ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curvature:
    """Bounds (λ, Λ) of a Lagrangian's second derivatives: in the gradient's place, and in the value's."""

    gradient: tuple[float, float]
    value: tuple[float, float]


@dataclass(frozen=True)
class Growth:
    """How L acts on Barron norms: ‖∂L(h)‖ ≤ constant·max(b, b^power) for functions h of norm b.

    Attributes
    ----------
    power
        p, the degree of the derivatives.
    gradient_constant, value_constant
        B_L for the derivatives in each component of the gradient, and B'_L for that in the value.
    own_band
        Largest frequency in L's own dependence on x.
    """

    power: int
    gradient_constant: float
    value_constant: float
    own_band: float = 0.0

    def next_band(self, band: float) -> float:
        """Largest frequency along an axis of ∂L(u), that of u being `band`."""
        return self.power * band + self.own_band


@dataclass(frozen=True)
class Lagrangian:
    """The integrand L(x, u, ∇u), convex in u and ∇u.

    Attributes
    ----------
    density
        L, given the coordinates of points (one tensor a dimension), values, and gradients (dimension first).
    curvature
        Bounds of its second derivatives over the values and gradients given.
    growth
        How its derivatives act on Barron norms, where that is known.
    """

    density: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor], Curvature]
    growth: Growth | None = None


@dataclass(frozen=True)
class VariationalPDE:
    """−div ∂_∇u L + ∂_u L = f on a cube: the solution minimises the mean of L(x, u, ∇u) − f u."""

    lagrangian: Lagrangian
    forcing: Float[Tensor, "*modes"]
    basis: Basis

    @cached_property
    def stiffness(self) -> Float[Tensor, "*modes"]:
        """I − Δ in each mode: 1 + |ω|²."""
        return 1 + self.basis.squared_frequencies(self.forcing.ndim)

    @cached_property
    def masses(self) -> Float[Tensor, "*modes"]:
        """Mean square of each mode."""
        return _products(self.basis.masses, self.forcing.ndim)

    def fields(self, coefficients: Float[Tensor, "*modes"]) -> tuple[Tensor, Tensor]:
        """Values of a function at the nodes, and its gradient; their transforms share the axes that they can."""
        values, gradient = coefficients, []
        for _ in range(coefficients.ndim):
            gradient = [_along(part, self.basis.values) for part in gradient]
            gradient.append(_along(values, self.basis.slopes))
            values = _along(values, self.basis.values)
        return values, torch.stack(gradient)


def variational_pde(lagrangian: Lagrangian, forcing: Float[Tensor, "*modes"], basis: Basis) -> VariationalPDE:
    """Pose an equation by L and the coefficients of f, in double precision: energies are compared in all digits."""
    forcing = _as_modes("forcing", forcing, basis).to(basis.values)
    check_squares("forcing", forcing)
    return VariationalPDE(lagrangian, forcing, basis)


def _as_function(pde: VariationalPDE, coefficients: Tensor, name: str = "coefficients") -> Tensor:
    coefficients = _as_modes(name, coefficients, pde.basis).to(pde.forcing)
    if coefficients.shape != pde.forcing.shape:
        raise ValueError(
            f"{name} must be {tuple(pde.forcing.shape)}, as the forcing is; got {tuple(coefficients.shape)}"
        )
    return coefficients


def energy(pde: VariationalPDE, coefficients: Float[Tensor, "*modes"]) -> Float[Tensor, ""]:
    """E(u): the mean over the cube of L(x, u, ∇u) − f u."""
    coefficients = _as_function(pde, coefficients)
    points = torch.meshgrid(*[pde.basis.nodes] * coefficients.ndim, indexing="ij")
    density = pde.lagrangian.density(points, *pde.fields(coefficients))
    weights = _products(pde.basis.weights, coefficients.ndim)
    return (weights * density).sum() - (pde.masses * pde.forcing * coefficients).sum()


def first_variation(pde: VariationalPDE, coefficients: Float[Tensor, "*modes"]) -> Float[Tensor, "*modes"]:
    """DE(u) = −div ∂_∇u L + ∂_u L − f.

    Parameters
    ----------
    pde
        L and f.
    coefficients
        Those of u.

    Returns
    -------
    The coefficients of DE(u): in each mode, the derivative of the energy in the coefficient over the mode's mass.

    Raises
    ------
    ValueError
        If the coefficients do not fit the equation, or are not finite.
    """
    return _vary(pde, coefficients)[1]


def _vary(pde: VariationalPDE, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """E(u) and DE(u)."""
    variable = _as_function(pde, coefficients).detach().requires_grad_()
    with torch.enable_grad():
        at = energy(pde, variable)
        (derivative,) = torch.autograd.grad(at, variable)
    return at.detach(), derivative / pde.masses


@dataclass(frozen=True)
class Descent:
    """The iterates u_0, ..., u_T of a descent (coefficients), and their energies."""

    iterates: Float[Tensor, " n_iterates *modes"]
    energies: Float[Tensor, " n_iterates"]


def sobolev_descent(pde: VariationalPDE, *, learning_rate: float, n_steps: int) -> Descent:
    """Descend from u_0 = 0 by u_{t+1} = u_t − η (I − Δ)⁻¹ DE(u_t).

    Parameters
    ----------
    pde
        L and f.
    learning_rate
        η. With 1/M, M being the second of `energy_curvature`, a step leaves at most the share 1 − m/M of what the
        energy is above its minimum.
    n_steps
        Steps T.

    Returns
    -------
    The iterates and their energies, T + 1 of each.

    Raises
    ------
    ValueError
        If a number is not positive.
    FloatingPointError
        If the energy stops being finite.
    """
    check_positive("learning_rate", learning_rate)
    return descend(pde, learning_rate / pde.stiffness, n_steps)


def descend(pde: VariationalPDE, rates: Float[Tensor, "*modes"], n_steps: int) -> Descent:
    """Descend along DE with a rate for each mode, and the rest as for `sobolev_descent`."""
    check_at_least("n_steps", n_steps, 1)
    rates = _as_function(pde, rates, "rates")
    iterates, energies = [torch.zeros_like(pde.forcing)], []
    for step in range(n_steps):
        at, variation = _vary(pde, iterates[-1])
        energies.append(at)
        iterates.append(iterates[-1] - rates * variation)
        if not bool(iterates[-1].abs().max() < 1e50):
            raise FloatingPointError(f"the descent diverged by step {step}; take smaller rates")
    energies.append(energy(pde, iterates[-1]))
    return Descent(torch.stack(iterates), torch.stack(energies))


def energy_curvature(pde: VariationalPDE, functions: Float[Tensor, " n *modes"]) -> tuple[float, float]:
    """m and M with m ≤ D²E ≤ M in the norm ‖v‖² + ‖∇v‖², over the values and gradients that some functions take.

    With (λ, Λ) in the gradient's place and (λ', Λ') in the value's, D²E lies between (λω² + λ')/(1 + ω²) and
    (Λω² + Λ')/(1 + ω²) in a mode of frequency ω; both are monotone in ω.
    """
    (functions,) = as_floats(functions=functions)
    functions = torch.stack([_as_function(pde, u, "functions") for u in functions])
    lowest = pde.stiffness.min().item() - 1
    smallest, largest = [], []
    for u in functions:
        at = pde.lagrangian.curvature(*pde.fields(u))
        for found, inner, outer in zip((smallest, largest), at.gradient, at.value, strict=True):
            found += [inner, (inner * lowest + outer) / (1 + lowest)]
    return min(smallest), max(largest)


# --- Barron norms -------------------------------------------------------------------------------------------------


def barron_norm(coefficients: Float[Tensor, "*modes"], basis: Basis) -> Float[Tensor, ""]:
    """Σ_k (1 + |ω_k|)|c_k|: the spectral Barron norm of the periodic extension.

    A product of cosines is a mean over plane waves, all of one length |ω|, so that no Fourier transform is left to
    take. The norm on the cube is the least over all extensions, and may be smaller.

    Parameters
    ----------
    coefficients
        Those of the function, one axis a dimension.
    basis
        The functions along an axis.

    Returns
    -------
    The norm.

    Raises
    ------
    ValueError
        If the coefficients do not fit the basis, or are not finite.
    """
    coefficients = _as_modes("coefficients", coefficients, basis)
    lengths = basis.squared_frequencies(coefficients.ndim).sqrt().to(coefficients)
    return ((1 + lengths) * coefficients.abs()).sum()


def theorem_bound(
    growth: Growth, norm: float, band: float, *, learning_rate: float, dimension: int, forcing_norm: float
) -> float:
    """Bound the Barron norm of u_{t+1} by that of u_t, as in the paper's proof.

    Parameters
    ----------
    growth
        p and the constants B_L, B'_L.
    norm, band
        b, and the largest frequency W along an axis, of u_t.
    learning_rate, dimension, forcing_norm
        η, d, ‖f‖.

    Returns
    -------
    b + η (d W' B_L max(β, β^p) + B'_L max(b, b^p) + ‖f‖). Here β = W b bounds the norm of a partial derivative, and
    W' that of the frequencies of ∂L.
    """

    def composed(constant: float, b: float) -> float:
        return constant * max(b, _power(b, growth.power))

    inner = dimension * growth.next_band(band) * composed(growth.gradient_constant, band * norm)
    return norm + learning_rate * (inner + composed(growth.value_constant, norm) + forcing_norm)


def _power(norm: float, power: int) -> float:
    """Bounds of a few steps, put into one another, are beyond what a float holds."""
    try:
        return norm**power
    except OverflowError:
        return inf


def semilinear_bound(
    growth: Growth, norm: float, *, learning_rate: float, smoothed_forcing_norm: float
) -> float:
    """Bound it for L = |∇u|²/2 + u²/2 + κ|u|^{p+1}/(p+1) and η ≤ 1, where neither d nor frequencies enter.

    Then u_{t+1} = (1 − η) u_t + η (I − Δ)⁻¹ (f − κ u_t^p), whose norm is at most (1 − η) b + η (a + κ b^p) with
    a = ‖(I − Δ)⁻¹ f‖. The constant B'_L is 1 + κ.
    """
    strength = growth.value_constant - 1
    return (1 - learning_rate) * norm + learning_rate * (
        smoothed_forcing_norm + strength * _power(norm, growth.power)
    )


# --- Networks -----------------------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": torch.cos,
    "step": lambda z: (z > 0).to(z),
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Networks:
    """Networks offset + Σ_j outer_j σ(w_j·x + b_j), r of them side by side, of m units each.

    Attributes
    ----------
    weights, biases, outer, offsets
        w, b, the outer weights, and the constant.
    activation
        σ: "cosine", "step" or "tanh".
    """

    weights: Float[Tensor, "r m d"]
    biases: Float[Tensor, "r m"]
    outer: Float[Tensor, "r m"]
    offsets: Float[Tensor, " r"]
    activation: str

    def __call__(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "r n"]:
        """The outputs of each network."""
        inner = points.to(self.weights) @ self.weights.mT + self.biases[:, None]
        hidden = ACTIVATIONS[self.activation](inner)
        return self.offsets[:, None] + (hidden @ self.outer[:, :, None])[..., 0]


def maurey_network(
    coefficients: Float[Tensor, "*modes"],
    basis: Basis,
    width: int,
    *,
    activation: str = "cosine",
    n_draws: int = 1,
    generator: torch.Generator | None = None,
) -> Networks:
    """Draw networks whose mean is a given function: the proof of Barron's theorem as a construction.

    A unit draws a mode k in proportion to what the mode must have of the outer weights, then signs s, since
    Π_i cos(ω_i x_i) is the mean over s of cos((s ω)·x). A step draws a threshold t besides, in proportion to |sin t|,
    since cos z = cos B − ∫_{−B}^{B} sin(t) 1[z > t] dt for |z| ≤ B = π|k|_1.

    Parameters
    ----------
    coefficients, basis
        A series of cosines, one axis a dimension.
    width
        Units m of each network.
    activation
        "cosine": the waves themselves. "step": Barron's sigmoidal units.
    n_draws
        Networks.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    The networks; their expected squared error is `maurey_error` over the width.

    Raises
    ------
    ValueError
        If the basis is not of cosines, nothing is left for the units to do, or a number is out of its range.
    """
    check_at_least("width", width, 1)
    check_at_least("n_draws", n_draws, 1)
    coefficients = _as_modes("coefficients", coefficients, basis)
    shares, modes, offset = _shares(coefficients, basis, activation)
    drawn = torch.multinomial(shares.cpu(), n_draws * width, replacement=True, generator=generator)
    drawn = drawn.reshape(n_draws, width).to(shares.device)
    signs = random_signs(modes.new_empty(n_draws, width, coefficients.ndim), generator)
    outer = coefficients.flatten()[drawn].sign() * shares.sum() / width
    biases = torch.zeros_like(outer)
    if activation == "step":  # a half-wave of the sine, and by the inverse of (1 − cos t)/2 a place in it
        half_waves = 2 * modes.sum(dim=1)[drawn]
        uniform = torch.rand(2, n_draws, width, generator=generator, dtype=torch.float64).to(modes)
        thresholds = pi * ((uniform[0] * half_waves).floor() - half_waves / 2) + torch.acos(
            1 - 2 * uniform[1]
        )
        outer, biases = -outer * thresholds.sin().sign(), -thresholds
    weights = signs * modes[drawn] * pi / basis.length
    return Networks(weights, biases, outer, offset.expand(n_draws), activation)


def maurey_error(
    coefficients: Float[Tensor, "*modes"], basis: Basis, *, activation: str = "cosine"
) -> Float[Tensor, ""]:
    """Expected squared L² error of `maurey_network` times its width: the variance of one unit, S² v − ‖u − offset‖².

    S is the sum of the outer weights and v the mean square of a unit: ½, but 1 for a cosine of frequency 0.
    """
    coefficients = _as_modes("coefficients", coefficients, basis)
    shares, _, offset = _shares(coefficients, basis, activation)
    squares = torch.full_like(shares, 0.5)
    centred = coefficients.flatten().clone()
    squares[0], centred[0] = 1.0, centred[0] - offset
    masses = _products(basis.masses, coefficients.ndim).to(shares).flatten()
    return shares.sum() * (shares * squares).sum() - (masses * centred.square()).sum()


def _shares(coefficients: Tensor, basis: Basis, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """What each mode must have of the outer weights; the modes k; and the constant that takes no unit."""
    if not basis.is_even:
        raise ValueError("basis must be of cosines; got sines")
    choose("activation", activation, {"cosine": 0, "step": 0})
    numbers = torch.arange(len(basis.frequencies), device=coefficients.device)
    grid = torch.meshgrid(*[numbers] * coefficients.ndim, indexing="ij")
    modes = torch.stack(grid, dim=-1).reshape(-1, coefficients.ndim).to(coefficients)
    shares, offset = coefficients.abs().flatten(), coefficients.new_zeros(())
    if activation == "step":
        shares = 4 * modes.sum(dim=1) * shares
        offset = (coefficients.flatten() * (pi * modes.sum(dim=1)).cos()).sum()
    if not bool(shares.sum() > 0):
        raise ValueError("coefficients must not be zero, nor be those of a constant if the units are steps")
    return shares, modes, offset
