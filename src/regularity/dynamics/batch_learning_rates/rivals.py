"""Training with stochastic gradients, many runs side by side, at any rate and schedule."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad, vmap

from regularity.dynamics.batch_learning_rates.method import SampledLoss
from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.optimisers import Update


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


def train_runs(
    sampled: SampledLoss,
    points: Float[Tensor, "runs settings d"],
    update: Update,
    *,
    batch_size: int,
    n_epochs: int,
    generator: torch.Generator,
    schedule: Callable[[float], float] = lambda share: 1.0,
) -> Float[Tensor, "runs settings d"]:
    """Train every run under every setting; the settings of a run share its batches.

    `schedule` maps the share of epochs done to a factor of the rate.
    """
    (points,) = as_floats(points=points)

    def loss(point: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        return sampled.loss(sampled.call(point, inputs), labels)

    gradients = vmap(vmap(grad(loss), in_dims=(0, None, None)))
    n_each = len(sampled) // batch_size
    batches = epochs_of_batches(len(sampled), batch_size, n_epochs, len(points), generator)
    for step, batch in enumerate(batches):
        batch = batch.to(points.device)
        change = update(gradients(points, sampled.inputs[batch], sampled.labels[batch]))
        points = points + schedule(step // n_each / n_epochs) * change
    return points


def flat_then_linear(share: int | float) -> float:
    """The schedule of the authors' scripts: constant for half of the training, then linear to 1 % at nine tenths."""
    return 1 - 0.99 * min(max(share - 0.5, 0.0) / 0.4, 1.0)


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": lambda share: 1.0, "decayed": flat_then_linear}


def evaluate(
    sampled: SampledLoss, points: Float[Tensor, "runs settings d"]
) -> tuple[Float[Tensor, "runs settings"], Float[Tensor, "runs settings"]]:
    """Mean loss, and share of errors, of every run under every setting; all are errors where a run is broken."""
    (points,) = as_floats(finite=False, points=points)

    def of_one(point: Tensor) -> tuple[Tensor, Tensor]:
        outputs = sampled.call(point, sampled.inputs)
        wrong = (outputs.argmax(dim=1) != sampled.labels).to(outputs.dtype).mean()
        return sampled.loss(outputs, sampled.labels), wrong

    at_once = max(2**18 // len(sampled), 1)  # settings, for the memory
    found = zip(*(vmap(of_one, chunk_size=at_once)(run) for run in points), strict=True)
    losses, errors = map(torch.stack, found)
    return losses, torch.where(losses.isfinite(), errors, 1.0)
