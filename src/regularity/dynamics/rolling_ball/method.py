"""Roll a ball on the graph of a loss: by the paper's few projection steps, or with the contact solved for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_not_negative,
    check_positive,
    check_squares,
)
from regularity.foundations.curvature import extreme_eigenvalues, hessian_product
from regularity.foundations.hypergradients import NotPositiveDefiniteError, conjugate_gradients

Loss = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]  # points, one a run, to their losses and gradients
Setting = float | Tensor  # of all runs, or one a run


class BallTooLargeError(ValueError):
    """The ball does not fit: where it touches, the surface curves more tightly than the ball."""


# --- The paper's algorithm ---------------------------------------------------------------------------------------


def rolling_ball_step(
    value_and_gradient: Gradient,
    points: Float[Tensor, "runs d"],
    *,
    learning_rate: float | Float[Tensor, " runs"] = 1.0,
    radius: float | Float[Tensor, " runs"] = 10.0,
    projection_rate: float | Float[Tensor, " runs"] = 1e-3,
    n_projections: int = 100,
) -> Float[Tensor, "runs d"]:
    """Roll each run's ball one step: down the tangent, then K gradient steps towards the nearest point of the graph.

    The defaults are those of the authors' code.

    Parameters
    ----------
    value_and_gradient
        Takes points, and gives their losses (runs,) and gradients (runs, d). It is called K times, and must not draw
        another batch in between.
    points
        Where each run's ball touches the graph.
    learning_rate, radius, projection_rate
        η, ρ and γ: one number, or one a run.
    n_projections
        K, the number of projection steps, and of gradients.

    Returns
    -------
    The new points. A run whose loss or gradient stopped being finite lies at infinity.

    Raises
    ------
    ValueError
        If `learning_rate` or `projection_rate` is not positive, `radius` is negative, or `n_projections` below 1.

    References
    ----------
    Belgoumri, Bouadjenek, Hacid, Razzak and Aryal (2025), Rolling Ball Optimizer, Algorithm 1.
    """
    _check_settings(learning_rate, radius, projection_rate, n_projections)
    (points,) = as_floats(points=points, finite=False)
    rate = _as_column(projection_rate, points)

    losses, gradients = value_and_gradient(points)
    places, rises = descended_centre(
        points, gradients, _as_column(learning_rate, points), _as_column(radius, points)
    )
    moved, values = points, losses
    for k in range(n_projections):
        if k > 0:  # the first gradient is at hand
            values, gradients = value_and_gradient(moved)
        above = (values - losses)[:, None] - rises  # of the graph, over the centre
        moved = moved - rate * ((moved - places) + above * gradients)
    return moved.where(moved.isfinite().all(dim=-1, keepdim=True), torch.inf)


def descended_centre(
    points: Tensor, gradients: Tensor, learning_rate: Setting, radius: Setting
) -> tuple[Tensor, Tensor]:
    """Centre of the ball after its step down the tangent: its place, and its height over the loss at the contact.

    The ball touches from above, so its centre lies at ρν from the contact, with the normal ν = (−g, 1)/√(1 + ‖g‖²).
    The step is −ητ along the tangent τ = (g, ‖g‖²).
    """
    slopes = gradients.square().sum(dim=-1, keepdim=True)
    lift = radius / (1 + slopes).sqrt()
    return points - (lift + learning_rate) * gradients, lift - learning_rate * slopes


def _check_settings(
    learning_rate: Setting, radius: Setting, projection_rate: Setting, n_projections: int
) -> None:
    for name, value in (("learning_rate", learning_rate), ("projection_rate", projection_rate)):
        if not (
            isinstance(value, float) and 0 < value < math.inf
        ):  # which costs a hundredth of the general check
            check_positive(name, value)
    if not (isinstance(radius, float) and radius >= 0):
        check_not_negative("radius", radius)
    check_at_least("n_projections", n_projections, 1)


def _as_column(value: Setting, points: Tensor) -> Setting:
    """Bring a setting to the points' type and device, with an axis for the coordinates where there is one a run."""
    return value if isinstance(value, int | float) else value.to(points)[:, None]


class RollingBall(torch.optim.Optimizer):
    """The rolling ball as a torch optimiser: `step` takes a closure that gives the loss and does no more.

    The closure is called K times a step and must give the same function each time: the same batch, no dropout. The
    first step calls it once more to see that it does. Settings are those of `rolling_ball_step`; a projection that
    diverges raises FloatingPointError.
    """

    def __init__(
        self,
        parameters: object,
        learning_rate: float = 1.0,
        radius: float = 10.0,
        projection_rate: float = 1e-3,
        n_projections: int = 100,
    ) -> None:
        _check_settings(learning_rate, radius, projection_rate, n_projections)
        settings = {"learning_rate": learning_rate, "radius": radius, "projection_rate": projection_rate}
        super().__init__(parameters, settings | {"n_projections": n_projections})
        if len(self.param_groups) != 1:
            raise ValueError(
                f"parameters must be of one group, as there is one ball; got {len(self.param_groups)}"
            )
        self._is_tried = False

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:
        """Roll one step, and give the loss where it began."""
        if closure is None:
            raise ValueError("closure must give the loss, which the projection evaluates again; got None")
        settings = dict(self.param_groups[0])
        weights = settings.pop("params")
        sizes = [part.numel() for part in weights]
        losses = []

        def place(point: Tensor) -> None:
            for part, piece in zip(weights, point.split(sizes), strict=True):
                part.data = piece.view_as(part)

        def value_and_gradient(points: Tensor) -> tuple[Tensor, Tensor]:
            place(points[0])
            with torch.enable_grad():
                loss = closure()
                slopes = torch.autograd.grad(loss, weights)
            losses.append(loss.detach())
            return losses[-1][None], torch.cat([slope.flatten() for slope in slopes])[None]

        start = torch.cat([part.detach().flatten() for part in weights])[None]
        if not self._is_tried:
            (first, _), (again, _) = value_and_gradient(start), value_and_gradient(start)
            if not torch.equal(first, again):
                raise ValueError(
                    f"closure must give the same loss at the same weights; got {first.item():g} and then "
                    f"{again.item():g}. Keep the batch, and switch dropout off"
                )
            self._is_tried = True
            losses.clear()
        end = rolling_ball_step(value_and_gradient, start, **settings)[0]
        if end[0].isinf():
            raise FloatingPointError(
                "the projection diverged; try a smaller projection_rate, radius or learning_rate"
            )
        place(end)
        return losses[0]


# --- The ball itself ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contact:
    """Where a ball touches the graph of a loss f: at (point, f(point)), `distance` from its centre.

    `error` says how far `point` may be from the exact contact, to first order: the slope of half the squared distance
    over its smallest curvature.
    """

    point: Float[Tensor, " d"]
    distance: float
    error: float


def largest_radius(loss: Loss, point: Float[Tensor, " d"], *, n_steps: int = 40) -> float:
    """Radius of curvature of the graph where it bends up most: no larger ball can touch it there from above.

    With s = √(1 + ‖g‖²) a ball of radius ρ fits while I + ggᵀ − (ρ/s)H is positive definite.

    Parameters
    ----------
    loss
        f, twice differentiable.
    point
        Where the ball touches.
    n_steps
        Lanczos steps, at most d: enough for an exact answer where d is not larger. Otherwise the answer may be a
        little too large, never too small.

    Returns
    -------
    The radius; infinity where the graph bends up in no direction.

    Raises
    ------
    ValueError
        If `point` is not finite, or `n_steps` is below 1.
    FloatingPointError
        If a product with the Hessian is not finite.
    """
    check_at_least("n_steps", n_steps, 1)
    (point,) = as_floats(point=point)
    slope, hessian = torch.func.grad(loss)(point), hessian_product(loss, point)
    steepness = math.sqrt(1 + slope.square().sum().item())
    # (I + ggᵀ)^(−1/2) v = v − g(g·v)/(s(1 + s)), on both sides of H.
    shear = lambda v: v - slope * (slope @ v) / (steepness * (1 + steepness))  # noqa: E731
    ends = extreme_eigenvalues(
        lambda v: shear(hessian(shear(v))), _direction(point), n_steps=min(n_steps, len(point))
    )
    return steepness / ends.largest if ends.largest > 0 else math.inf


def contact_point(
    loss: Loss,
    start: Float[Tensor, " d"],
    centre: Float[Tensor, " d+1"],
    *,
    tolerance: float = 1e-10,
    n_steps: int = 100,
) -> Contact:
    """Find the point of the graph that is nearest to a centre, by Newton's method with conjugate gradients.

    Minimises ½‖x − θ̃‖² + ½(f(x) − ỹ)² from `start`, with (θ̃, ỹ) the centre, until its slope is at most `tolerance`
    long. The Hessian is I + ggᵀ + (f − ỹ)H. Steps are halved where they must be. Raises BallTooLargeError if the
    slope vanishes where the distance has no minimum: there the graph curves more tightly than the ball.
    """
    check_positive("tolerance", tolerance)
    check_at_least("n_steps", n_steps, 1)
    point, centre = as_floats(start=start, centre=centre)
    if centre.shape != (len(point) + 1,):
        raise ValueError(f"centre must have one entry more than start, {len(point) + 1}; got {len(centre)}")
    place, height = centre[:-1], centre[-1]
    value_and_slope = torch.func.grad_and_value(loss)

    def half_square(x: Tensor, value: Tensor) -> Tensor:
        return ((x - place).square().sum() + (value - height).square()) / 2

    def bend(x: Tensor, slope: Tensor, above: Tensor) -> Callable[[Tensor], Tensor]:
        hessian = hessian_product(loss, x)
        return lambda v: v + slope * (slope @ v) + above * hessian(v)

    for _ in range(n_steps):
        slope, value = value_and_slope(point)
        gradient = (point - place) + (value - height) * slope
        length = gradient.norm().item()
        product = bend(point, slope, value - height)
        if length <= tolerance:
            lowest = extreme_eigenvalues(product, _direction(point), n_steps=min(40, len(point))).smallest
            distance = (2 * half_square(point, value)).sqrt().item()
            if lowest <= 0:
                raise BallTooLargeError(
                    f"the graph near start curves more tightly than a ball of radius {distance:g} around centre"
                )
            return Contact(point, distance, length / lowest)
        if not math.isfinite(length):
            break
        try:
            step = conjugate_gradients(product, gradient, tolerance=1e-3 * min(length, length**2)).values
        except NotPositiveDefiniteError:
            step = gradient  # too far away for Newton
        share, now = 1.0, half_square(point, value)
        # Near the contact a decrease drowns in the rounding of x and f.
        slack = (
            8 * torch.finfo(now.dtype).eps * (2 * now).sqrt() * (point.norm() + value.abs() + height.abs())
        )
        while share > 1e-12:
            trial = point - share * step
            if half_square(trial, loss(trial)) <= now + slack - 1e-4 * share * (gradient @ step):
                break
            share /= 2
        point = point - share * step
    raise ValueError(
        f"tolerance must be met within n_steps = {n_steps}; the slope is {length:.1e}, not {tolerance:.1e}"
    )


def roll(
    loss: Loss, point: Float[Tensor, " d"], *, learning_rate: float, radius: float, tolerance: float = 1e-10
) -> Contact:
    """Roll the ball one step and solve for its new contact, the nearest point of the graph that a descent finds.

    Parameters
    ----------
    loss
        f, twice differentiable.
    point
        Where the ball touches.
    learning_rate, radius
        η and ρ.
    tolerance
        As for `contact_point`.

    Returns
    -------
    The new contact.

    Raises
    ------
    BallTooLargeError
        If `radius` is not below the radius of curvature at `point`: the ball cannot lie there.
    ValueError
        If `learning_rate` is not positive, `radius` is negative, or as for `contact_point`.
    """
    check_positive("learning_rate", learning_rate)
    check_not_negative("radius", radius)
    (point,) = as_floats(point=point)
    check_squares("point", point)
    fits = largest_radius(loss, point)
    if not radius < fits:
        raise BallTooLargeError(
            f"radius must be below the graph's radius of curvature at point, {fits:.3g}; got {radius:g}"
        )
    slope, value = torch.func.grad_and_value(loss)(point)
    place, rise = descended_centre(point, slope, learning_rate, radius)
    return contact_point(loss, point, torch.cat([place, value + rise]), tolerance=tolerance)


def _direction(like: Tensor) -> Tensor:
    """A direction for Lanczos that no problem knows of, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


# --- What the ball makes of a function of one variable -----------------------------------------------------------


def offset_surface(values: Float[Tensor, " n"], *, spacing: float, radius: float) -> Float[Tensor, " inner"]:
    """Heights of the centre of a ball that rests on a function from above: the function dilated by the ball.

    f_ρ(x) = max over |h| ≤ ρ of f(x + h) + √(ρ² − h²), on a grid, at the points that are at least ρ from both ends.
    It is lower than the true one by the order of spacing².
    """
    return _sweep(values, spacing, radius, sign=1)


def rolled_surface(values: Float[Tensor, " n"], *, spacing: float, radius: float) -> Float[Tensor, " inner"]:
    """The lower face of all balls that rest on a function, at the points that are at least 2ρ from both ends.

    Equal to the function where a ball can touch it, above it elsewhere (a morphological closing).
    """
    return _sweep(offset_surface(values, spacing=spacing, radius=radius), spacing, radius, sign=-1)


def _sweep(values: Tensor, spacing: float, radius: float, sign: int) -> Tensor:
    """Upper (sign 1) or lower envelope of the ball's cap, swept along the grid."""
    check_positive("spacing", spacing)
    check_not_negative("radius", radius)
    (values,) = as_floats(values=values)
    reach = int(radius / spacing + 1e-9)
    n_inner = len(values) - 2 * reach
    if n_inner < 1:
        raise ValueError(
            f"values must span more than the ball of radius {radius:g}; got {len(values)}, {spacing:g} apart"
        )
    envelope = torch.full_like(values[:n_inner], -torch.inf)
    for shift in range(-reach, reach + 1):
        cap = math.sqrt(max(radius**2 - (shift * spacing) ** 2, 0.0))
        torch.maximum(envelope, sign * values[reach + shift :][:n_inner] + cap, out=envelope)
    return sign * envelope
