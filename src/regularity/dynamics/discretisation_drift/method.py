"""Flows that follow gradient descent, what they say of its step, of games, and of spectral normalisation.

A loss takes a flat point θ of d numbers and gives one number. Points have leading axes for runs side by side. A flow
is given by its velocity; that of order p passes within O(ηᵖ⁺¹) of where a gradient step of length η ends.

Flows and learning rates: Barrett and Dherin (2021), arXiv 2009.11162; Rosca et al. (2023), arXiv 2302.01952. Games:
Rosca et al. (2021), arXiv 2105.13922. Spectral normalisation: Miyato et al. (2018); Gogianu et al. (2021), arXiv
2105.05246.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.func import grad, jvp, vmap

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.foundations.choices import choose

Loss = Callable[[Tensor], Tensor]
Game = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# --- Flows of gradient descent ------------------------------------------------------------------------------------


def modified_flow(
    loss: Loss, points: Float[Tensor, "*runs d"], learning_rate: float, *, order: int = 2
) -> Float[Tensor, "*runs d"]:
    """Velocity of the flow that follows gradient descent to an order, by backward error analysis.

    Parameters
    ----------
    loss, points, learning_rate
        A smooth loss, where the velocity is wanted, and the step η of gradient descent.
    order
        1, the negative gradient flow −g; 2, implicit gradient regularisation −g − (η/2)Hg, downhill on the loss
        E + (η/4)‖g‖²; 3, with − η²[H²g/3 + D²g[g, g]/12] as well.

    Returns
    -------
    The velocity. Over a time η its flow misses the step θ − ηg by O(η²), O(η³), O(η⁴).

    Raises
    ------
    ValueError
        If `order` or `learning_rate` is out of range, or the velocity overflows at `points`.
    """
    (points,) = as_floats(points=points)
    check_positive("learning_rate", learning_rate)
    if order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3; got {order}")
    gradient_at, h = grad(loss), learning_rate

    def velocity(point: Tensor) -> Tensor:
        g = gradient_at(point)
        found = -g
        if order >= 2:
            hg = _along(gradient_at, point, g)
            found = found - h / 2 * hg
        if order == 3:
            found = found - h**2 * (_along(gradient_at, point, hg) / 3 + _bend(loss, point, g) / 12)
        return found

    return _each(velocity, points)


def curvature_drift(loss: Loss, points: Float[Tensor, "*runs d"]) -> Float[Tensor, "*runs d"]:
    """D²g[g, g]: how the gradient bends along itself. The part of the third order that the Hessian cannot give."""
    (points,) = as_floats(points=points)
    return _each(lambda point: _bend(loss, point, grad(loss)(point)), points)


def frozen_flow(
    loss: Loss, points: Float[Tensor, "*runs d"], starts: Float[Tensor, "*runs d"], learning_rate: float
) -> Float[Tensor, "*runs d"]:
    """Velocity −g(θ) − (η/2)H(θ)g(θ'): downhill on E(θ) + (η/2) g(θ)ᵀg(θ'), for the one step that starts at θ'."""
    points, starts = as_floats(points=points, starts=starts)
    check_positive("learning_rate", learning_rate)
    if points.shape != starts.shape:
        raise ValueError(
            f"starts must have the shape {tuple(points.shape)} of points; got {tuple(starts.shape)}"
        )

    def velocity(point: Tensor, start: Tensor) -> Tensor:
        return -grad(loss)(point) - learning_rate / 2 * _along(grad(loss), point, grad(loss)(start))

    return _each(velocity, points, starts)


def _each(velocity: Callable[..., Tensor], points: Tensor, *others: Tensor) -> Tensor:
    """Apply to each run, and refuse what overflows."""
    rows = [part.reshape(-1, part.shape[-1]) for part in (points, *others)]
    found = vmap(velocity)(*rows).reshape(points.shape)
    if not bool(torch.isfinite(found).all()):
        raise ValueError("points must be where the velocity is finite; it overflows")
    return found


def _along(function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> Tensor:
    """Directional derivative."""
    return jvp(function, (point,), (direction,))[1]


def _bend(loss: Loss, point: Tensor, direction: Tensor) -> Tensor:
    """Second derivative of the gradient along a fixed direction, twice."""
    return _along(lambda at: _along(grad(loss), at, direction), point, direction)


# --- The principal flow -------------------------------------------------------------------------------------------


def principal_coefficient(z: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """c(z) = log(1 − z)/z of z = ηλ, learning rate times curvature; −1 at z = 0.

    Real below z = 1. Above, where a step crosses the minimum, the imaginary part is π/z: the flow must turn to change
    sign. The real part is negative up to z = 2 and positive beyond, where gradient descent diverges.

    Parameters
    ----------
    z
        Any numbers but 1, where a step lands on the minimum and no flow arrives in time.

    Returns
    -------
    The coefficients, complex.

    Raises
    ------
    ValueError
        If an entry of `z` is 1, to within 1e-12 or, in float32, 1e-6.
    """
    (z,) = as_floats(z=z)
    if bool(((z - 1).abs() < (1e-12 if z.dtype == torch.float64 else 1e-6)).any()):
        raise ValueError("z must not be 1: the logarithm is singular where a step lands on the minimum")
    small, crosses = z.abs() < 1e-5, z > 1
    divisor = torch.where(small, 1.0, z)
    logarithm = torch.where(
        crosses, torch.log(torch.where(crosses, z, 2.0) - 1), torch.log1p(-z.clamp_max(1))
    )
    real = torch.where(small, -1 - z / 2 - z**2 / 3, logarithm / divisor)
    return torch.complex(real, torch.where(crosses, math.pi / divisor, 0.0))


def principal_flow(gradient: Tensor, hessian: Float[Tensor, "*runs d d"], learning_rate: float) -> Tensor:
    """Velocity Σ c(ηλᵢ)(gᵀuᵢ)uᵢ of the principal flow, over the eigenpairs (λᵢ, uᵢ) of the Hessian.

    It gathers all terms of the backward error analysis without derivatives of H. On a quadratic loss it meets
    gradient descent at every step, however large the step.

    Parameters
    ----------
    gradient
        One a run, (*runs, d); complex where the point is, as it is on the path of a quadratic loss beyond ηλ = 1.
    hessian
        Symmetric.
    learning_rate
        The step η of gradient descent.

    Returns
    -------
    The velocity, (*runs, d): real where the gradient is real and all ηλ are below 1, complex otherwise.

    Raises
    ------
    ValueError
        If `hessian` is not symmetric, a step is singular (ηλ = 1), or something overflows.
    """
    is_complex = gradient.is_complex()
    parts = torch.view_as_real(gradient) if is_complex else gradient
    parts, hessian = as_floats(gradient=parts, hessian=hessian)
    check_positive("learning_rate", learning_rate)
    check_squares("hessian", hessian)
    check_squares("gradient", parts)
    if hessian.shape != (*gradient.shape, gradient.shape[-1]):
        raise ValueError(f"hessian must be (d, d) for each gradient; got {tuple(hessian.shape)}")
    if not torch.allclose(hessian, hessian.mT, rtol=1e-4, atol=1e-5 * hessian.abs().max().item()):
        raise ValueError("hessian must be symmetric")
    curvatures, vectors = torch.linalg.eigh(hessian)
    try:
        coefficients = principal_coefficient(learning_rate * curvatures)
    except ValueError as error:
        raise ValueError(
            f"hessian times learning_rate has an eigenvalue z that is refused: {error}"
        ) from None
    if not is_complex and not bool(coefficients.imag.any()):
        coefficients = coefficients.real
    vectors = vectors.to(coefficients.dtype)
    gradient = (torch.view_as_complex(parts) if is_complex else parts).to(coefficients.dtype)
    projected = vectors.mT @ gradient[..., None]
    return (vectors @ (coefficients[..., None] * projected))[..., 0]


# --- Drift-adjusted learning rates --------------------------------------------------------------------------------


def drift_adjusted_rate(
    gradient: Float[Tensor, "*runs d"],
    hessian_gradient: Float[Tensor, "*runs d"],
    *,
    power: float = 1.0,
    largest: float = 5.0,
) -> Float[Tensor, "*runs"]:
    """Learning rate min(2/‖Hĝ‖ᵖ, largest), ĝ = g/‖g‖, against the drift (η²/2)‖Hg‖ of a step.

    Parameters
    ----------
    gradient, hessian_gradient
        g and Hg, of the same loss and the same examples.
    power
        p. At 1 the rate lies at the edge of stability along the gradient, not inside. Below 1 it is larger where
        ‖Hĝ‖ is above 1, and depends on the loss's unit.
    largest
        Where the rate is cut, as in the authors' code; also the rate where there is no gradient, or no drift.

    Returns
    -------
    One rate a run.

    Raises
    ------
    ValueError
        If `power` is negative, `largest` not positive, or the shapes differ.
    """
    gradient, hessian_gradient = as_floats(gradient=gradient, hessian_gradient=hessian_gradient)
    check_squares("gradient", gradient)
    check_squares("hessian_gradient", hessian_gradient)
    check_at_least("power", power, 0)
    check_positive("largest", largest)
    if gradient.shape != hessian_gradient.shape:
        given = tuple(hessian_gradient.shape)
        raise ValueError(f"hessian_gradient must have the shape of gradient; got {given}")
    length, drift = gradient.norm(dim=-1), hessian_gradient.norm(dim=-1)
    drifts = (length > 0) & (drift > 0)
    rate = 2 / torch.where(drifts, drift / length, 1.0) ** power
    return torch.where(drifts, rate.clamp_max(largest), largest)


# --- Games of two players -----------------------------------------------------------------------------------------


def game_of(
    first_loss: Callable[[Tensor, Tensor], Tensor], second_loss: Callable[[Tensor, Tensor], Tensor]
) -> Game:
    """Game whose players each go down their own loss: (φ, ψ) ↦ (−∂L₁/∂φ, −∂L₂/∂ψ)."""
    return lambda a, b: (-grad(first_loss)(a, b), -grad(second_loss, argnums=1)(a, b))


class Drift(NamedTuple):
    """What the steps of a game add to each player's field: by the player's own steps, and by the other's."""

    own: tuple[Tensor, Tensor]
    interaction: tuple[Tensor, Tensor]


SECOND_PLAYER_SEES = {"simultaneous": -1.0, "alternating": 1.0}


def game_drift(
    game: Game,
    first: Float[Tensor, " d"],
    second: Float[Tensor, " e"],
    learning_rates: tuple[float, float],
    *,
    play: str = "simultaneous",
) -> Drift:
    """Drift of a round: φ̇ = α(f + own + interaction) passes O(η³) from where a round takes φ in a unit of time.

    With f and q the players' fields, and α, β their rates, own = −(α/2) f_φ f and −(β/2) q_ψ q. The first player's
    interaction is −(β/2) f_ψ q; the second's is −(α/2) q_φ f in simultaneous play, and +(α/2) q_φ f where it sees the
    first player's new position.

    Parameters
    ----------
    game
        (φ, ψ) ↦ (f, q), the directions in which the players move.
    first, second
        φ and ψ.
    learning_rates
        α and β: how far each moves in a round along its field.
    play
        "simultaneous", or "alternating" with the first player first.

    Returns
    -------
    The two kinds of drift, for the two players each.

    Raises
    ------
    ValueError
        If there is no such `play`, a rate is not positive, or the drift overflows.
    """
    first, second = as_floats(first=first, second=second)
    sees = choose("play", play, SECOND_PLAYER_SEES)
    check_positive("learning_rates", torch.tensor(learning_rates))
    alpha, beta = learning_rates
    f, q = game(first, second)
    _, (f_along_f, q_along_f) = jvp(lambda moved: game(moved, second), (first,), (f,))
    _, (f_along_q, q_along_q) = jvp(lambda moved: game(first, moved), (second,), (q,))
    drift = Drift(
        own=(-alpha / 2 * f_along_f, -beta / 2 * q_along_q),
        interaction=(-beta / 2 * f_along_q, sees * alpha / 2 * q_along_f),
    )
    if not all(bool(torch.isfinite(part).all()) for pair in drift for part in pair):
        raise ValueError("first and second must be where the drift is finite; it overflows")
    return drift


def play_round(
    game: Game,
    first: Float[Tensor, " d"],
    second: Float[Tensor, " e"],
    learning_rates: tuple[float, float],
    *,
    play: str = "simultaneous",
    cancel: float = 0.0,
) -> tuple[Float[Tensor, " d"], Float[Tensor, " e"]]:
    """Let each player make a step, with `cancel` times its interaction drift taken out of its field.

    In terms of losses the first player goes down L₁ − cancel·(β/2)(∇_ψL₁)ᵀ[∇_ψL₂], the bracket held fixed.
    As for `game_drift`.
    """
    first, second = as_floats(first=first, second=second)
    sees = choose("play", play, SECOND_PLAYER_SEES)

    def field(player: int, a: Tensor, b: Tensor) -> Tensor:
        plain = game(a, b)[player]
        if cancel == 0:
            return plain
        return plain - cancel * game_drift(game, a, b, learning_rates, play=play).interaction[player]

    moved = first + learning_rates[0] * field(0, first, second)
    second = second + learning_rates[1] * field(1, moved if sees > 0 else first, second)
    if not bool(torch.isfinite(moved).all() & torch.isfinite(second).all()):
        raise ValueError("first and second must be where a round is finite; it overflows")
    return moved, second


# --- Spectral normalisation, and the same factor elsewhere --------------------------------------------------------


class Scaling(NamedTuple):
    """Where the spectral norm σ of a layer goes, as exponents.

    The layer's weights are divided by σ**layer, the network's output by σ**output, the gradient by σ**gradient, and
    Adam's ε is multiplied by σ**epsilon. The first two change the function, with gradients through σ; the last two
    change the optimiser alone.
    """

    layer: float = 0.0
    output: float = 0.0
    gradient: float = 0.0
    epsilon: float = 0.0


SCALINGS = {
    "none": Scaling(),
    "spectral norm": Scaling(layer=1),
    "divOut": Scaling(output=1),
    "divGrad": Scaling(gradient=1),
    "mulEps": Scaling(epsilon=1),
}


def power_iteration(
    weights: Float[Tensor, "*runs a b"], direction: Float[Tensor, "*runs b"]
) -> tuple[Float[Tensor, "*runs"], Float[Tensor, "*runs b"]]:
    """One step of the power iteration: the spectral norm σ = vᵀWu so far, and the direction u to go on from.

    σ is differentiable in `weights` with u and v held fixed. `direction` is the u of the last call: from a fresh one
    each time σ would be noise.
    """
    weights, direction = as_floats(weights=weights, direction=direction)
    check_squares("weights", weights.detach().square())
    check_squares("direction", direction)
    with torch.no_grad():
        left = torch.nn.functional.normalize((weights @ direction[..., None])[..., 0], dim=-1, eps=0)
        right = torch.nn.functional.normalize((weights.mT @ left[..., None])[..., 0], dim=-1, eps=0)
    if not bool(torch.isfinite(right).all()):
        raise ValueError("weights and direction must not have the product zero: σ would be 0")
    return ((weights @ right[..., None])[..., 0] * left).sum(dim=-1), right


class Adam:
    """Adam on weights of several runs side by side, tensors with a leading axis of runs; in place.

    Each run has its own learning rate and ε.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        learning_rates: Float[Tensor, " runs"],
        epsilons: Float[Tensor, " runs"],
    ) -> None:
        self.weights, self.n_steps = list(weights), 0
        self.learning_rates, self.epsilons = learning_rates, epsilons
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], epsilon_factor: Tensor | float = 1.0) -> None:
        """Move along the gradients, with ε times a factor, one a run."""
        self.n_steps += 1
        first, second = 1 - 0.9**self.n_steps, 1 - 0.999**self.n_steps
        epsilons = self.epsilons * epsilon_factor
        for weight, gradient, mean, square in zip(
            self.weights, gradients, self.means, self.squares, strict=True
        ):
            shape = (-1,) + (1,) * (weight.ndim - 1)
            mean.lerp_(gradient, 0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            root = (square / second).sqrt_().add_(epsilons.reshape(shape))
            weight.sub_(self.learning_rates.reshape(shape) / first * mean / root)
