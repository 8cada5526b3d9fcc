"""Training with stochastic gradients, many runs side by side: heavy ball and Adam, at any rate and schedule."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
)

Update = Callable[[Tensor], Tensor]  # gradients in, changes of the parameters out; it may remember


def heavy_ball(rates: Tensor | float, momentum: Tensor | float = 0.0) -> Update:
    """Stochastic gradient descent, with momentum where it is not 0."""
    check_positive("rates", rates)
    check_not_negative("momentum", momentum)
    check_finite("momentum", momentum)
    velocity = None

    def update(gradients: Tensor) -> Tensor:
        nonlocal velocity
        velocity = gradients if velocity is None else momentum * velocity + gradients
        return -rates * velocity

    return update


def adam(
    rates: Tensor | float, damping: Tensor | float = 1e-8, betas: tuple[float, float] = (0.9, 0.999)
) -> Update:
    """Adam; the damping is added to the root of the second moment."""
    check_positive("rates", rates)
    check_not_negative("damping", damping)
    check_finite("damping", damping)
    first = second = 0.0
    step = 0

    def update(gradients: Tensor) -> Tensor:
        nonlocal first, second, step
        step += 1
        first = betas[0] * first + (1 - betas[0]) * gradients
        second = betas[1] * second + (1 - betas[1]) * gradients.square()
        size = (second / (1 - betas[1] ** step)).sqrt() + damping
        return -rates * (first / (1 - betas[0] ** step)) / size

    return update


def epochs_of_batches(
    n_samples: int, batch_size: int, n_epochs: int, n_runs: int, generator: torch.Generator
) -> Iterator[Int[Tensor, "runs batch"]]:
    """Indices: every run shuffles the samples anew in each epoch and deals them out; a last smaller batch is left."""
    check_at_least("batch_size", batch_size, 1)
    if batch_size > n_samples:
        raise ValueError(f"batch_size must be at most n_samples; got {batch_size} of {n_samples}")
    for _ in range(n_epochs):
        order = torch.stack([torch.randperm(n_samples, generator=generator) for _ in range(n_runs)])
        yield from order[:, : n_samples // batch_size * batch_size].split(batch_size, dim=1)


def gradients_of(
    call: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor, Tensor], Float[Tensor, "runs settings d"]]:
    """Gradients of the mean cross-entropy for points (runs, settings, d); the settings of a run share its batch."""

    def loss(point: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(call(point, inputs), labels)

    return vmap(vmap(grad(loss), in_dims=(0, None, None)))


def train_runs(
    call: Callable[[Tensor, Tensor], Tensor],
    points: Float[Tensor, "runs settings d"],
    update: Update,
    inputs: Float[Tensor, "n _"],
    labels: Int[Tensor, " n"],
    *,
    batch_size: int,
    n_epochs: int,
    generator: torch.Generator,
    schedule: Callable[[float], float] = lambda share: 1.0,
) -> Float[Tensor, "runs settings d"]:
    """Train every run under every setting; `schedule` maps the share of epochs done to a factor of the rate."""
    points, inputs = as_floats(points=points, inputs=inputs)
    gradients, n_samples = gradients_of(call), len(inputs)
    batches = list(epochs_of_batches(n_samples, batch_size, n_epochs, len(points), generator))
    n_each = len(batches) // n_epochs
    for step, batch in enumerate(batches):
        batch = batch.to(inputs.device)
        change = update(gradients(points, inputs[batch], labels[batch]))
        points = points + schedule(step // n_each / n_epochs) * change
    return points


def flat_then_linear(share: int | float) -> float:
    """The schedule of the authors' scripts: constant for half of the training, then linear to 1 % at nine tenths."""
    return 1 - 0.99 * min(max(share - 0.5, 0.0) / 0.4, 1.0)


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": lambda share: 1.0, "decayed": flat_then_linear}


def evaluate(
    call: Callable[[Tensor, Tensor], Tensor],
    points: Float[Tensor, "runs settings d"],
    inputs: Float[Tensor, "n _"],
    labels: Int[Tensor, " n"],
) -> tuple[Float[Tensor, "runs settings"], Float[Tensor, "runs settings"]]:
    """Mean loss, and share of errors, of every run under every setting."""

    as_floats(inputs=inputs)
    points, inputs = as_floats(finite=False, points=points, inputs=inputs)

    def of_one(point: Tensor) -> tuple[Tensor, Tensor]:
        outputs = call(point, inputs)
        wrong = (outputs.argmax(dim=1) != labels).to(outputs.dtype).mean()
        return functional.cross_entropy(outputs, labels), wrong

    at_once = max(2**18 // len(inputs), 1)  # settings, for the memory
    losses, errors = zip(*(vmap(of_one, chunk_size=at_once)(run) for run in points), strict=True)
    losses, errors = torch.stack(losses), torch.stack(errors)
    return losses, torch.where(losses.isfinite(), errors, 1.0)
