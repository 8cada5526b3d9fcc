"""The chapter's runs: the laws on random matrices and on networks, largest stable rates, and the learner's rivals."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regularity.data import load_digits, load_mnist
from regularity.dynamics.batch_learning_rates.method import (
    Kind,
    SampledLoss,
    Steps,
    additive_extreme,
    batch_extremes,
    curvature_noise,
    effective_batch_size,
    learn_steps,
    multiplicative_extreme,
    second_order_shift,
)
from regularity.dynamics.batch_learning_rates.problems import additive_spectrum, multiplicative_spectrum
from regularity.dynamics.batch_learning_rates.rivals import SCHEDULES, evaluate, train_runs
from regularity.foundations.choices import choose
from regularity.foundations.curvature import TraceEstimate, hutchinson_trace
from regularity.foundations.optimisers import adam, heavy_ball
from regularity.foundations.randomness import Stream

IMAGES = {"digits": load_digits, "mnist": lambda: load_mnist("train")}
OPTIMISERS = {"SGD": heavy_ball, "Adam": adam}


def split_images(
    dataset: str, sizes: Sequence[int], generator: torch.Generator
) -> list[tuple[Float[Tensor, "_ d"], Int[Tensor, " _"]]]:
    """Deal "digits" or "mnist" into disjoint sets of these sizes: flat, the mean image of all taken out."""
    images, labels = choose("dataset", dataset, IMAGES)()
    images = images.flatten(1) - images.flatten(1).mean(dim=0)
    if sum(sizes) > len(images):
        raise ValueError(f"sizes must sum to at most {len(images)} images; got {sum(sizes)}")
    order = torch.randperm(len(images), generator=generator)[: sum(sizes)]
    return [(images[part], labels[part]) for part in order.split(list(sizes))]


# --- Random matrices with the laws' own noise --------------------------------------------------------------------

SPIKES, NOISE = (1.0, -0.5), 16.0  # of the additive law; the sample covariance has the first


def laws_at_home(dimension: int) -> dict[str, Callable[[float], float]]:
    """Where the laws put the ends of such matrices' spectra, for every effective batch size."""
    top, bottom = SPIKES
    return {
        "top": lambda size: additive_extreme(top, NOISE, size),
        "bottom": lambda size: additive_extreme(bottom, NOISE, size),
        "sample covariance": lambda size: multiplicative_extreme(top, NOISE, dimension, size),
    }


def simulate_laws(
    dimension: int, sizes: Sequence[int], n_repetitions: int, stream: Stream
) -> dict[str, Float[Tensor, "sizes _"]]:
    """The ends of spectra in which the noise is what `laws_at_home` assume: a row a size, a column a repetition.

    Sample covariances are repeated four times as often: their spike has a noise of its own, √(2/size) of it.
    """
    spiked = torch.zeros(dimension, dtype=torch.float64)
    spiked[:2] = torch.tensor(SPIKES)
    covariance = torch.full_like(spiked, NOISE / (dimension - 1))
    covariance[0] = SPIKES[0]
    additive, multiplicative = [], []
    for size in sizes:
        drawn = [stream("additive", size, k) for k in range(n_repetitions)]
        additive.append([additive_spectrum(spiked, NOISE, size, one)[[-1, 0]] for one in drawn])
        drawn = [stream("multiplicative", size, k) for k in range(4 * n_repetitions)]
        multiplicative.append([multiplicative_spectrum(covariance, size, one)[-1] for one in drawn])
    top, bottom = torch.stack([torch.stack(row) for row in additive]).unbind(dim=2)
    tops = torch.stack([torch.stack(row) for row in multiplicative])
    return {"top": top, "bottom": bottom, "sample covariance": tops}


def farthest(
    drawn: Float[Tensor, "sizes repetitions"], law: Callable[[float], float], sizes: Sequence[int]
) -> tuple[float, float]:
    """How far the mean is from its law, relative, at the size where it is farthest; and its standard error."""
    relative = drawn / torch.tensor([law(size) for size in sizes])[:, None].to(drawn) - 1
    row = relative[relative.mean(dim=1).abs().argmax()]
    return row.mean().abs().item(), row.std().item() / len(row) ** 0.5


# --- Networks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Curvature of one network at one point, of the whole set and of batches; `sizes` are effective ones."""

    top: float
    bottom: float
    trace: TraceEstimate
    noise: TraceEstimate
    second_order: TraceEstimate
    dimension: int
    sizes: Float[Tensor, " sizes"]
    largest: Float[Tensor, " sizes"]
    smallest: Float[Tensor, " sizes"]
    excess: Float[Tensor, " sizes"]

    def predicted(self, law: str, sizes: Float[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        """λ₁ of batches by a law: "additive", "multiplicative" or "second order"."""
        laws = {
            "additive": lambda b: additive_extreme(self.top, max(self.noise.value, 0.0), b),
            "multiplicative": lambda b: multiplicative_extreme(
                self.top, max(self.trace.value - self.top, 0.0), self.dimension, b
            ),
            "second order": lambda b: self.top + self.second_order.value / b,
        }
        return torch.tensor([laws[law](b) for b in (self.sizes if sizes is None else sizes).tolist()])


def measure(
    sampled: SampledLoss,
    point: Tensor,
    kind: Kind,
    batch_sizes: Sequence[int],
    stream: Stream,
    *,
    n_draws: int,
    n_steps: int,
) -> Measured:
    """Everything that the laws need and predict, at one point."""
    ends, shift = second_order_shift(
        sampled, point, kind, n_steps=n_steps, n_draws=12, generator=stream("second order")
    )
    noise = curvature_noise(sampled, point, kind, generator=stream("noise"))
    trace = hutchinson_trace(sampled.product(point, kind), point, n_draws=50, generator=stream("trace"))
    found = [
        batch_extremes(
            *(sampled, point, ends.largest_vector, kind),
            batch_size=size,
            n_draws=n_draws,
            n_steps=n_steps,
            generator=stream("batches", size),
        )
        for size in batch_sizes
    ]
    return Measured(
        *(ends.largest, ends.smallest, trace, noise, shift, len(point)),
        sizes=torch.tensor([effective_batch_size(size, len(sampled)) for size in batch_sizes]),
        largest=torch.stack([batch.largest.mean() for batch in found]),
        smallest=torch.stack([batch.smallest.mean() for batch in found]),
        excess=torch.stack([(batch.largest - batch.along).mean() for batch in found]),
    )


# --- Largest stable learning rates -------------------------------------------------------------------------------


def sweep(
    sampled: SampledLoss,
    points: Float[Tensor, "runs d"],
    learning_rates: Float[Tensor, " rates"],
    batch_sizes: Sequence[int],
    optimiser: str,
    stream: Stream,
    *,
    n_epochs: int,
) -> Float[Tensor, "runs sizes rates"]:
    """Final training loss at every learning rate of one grid and every batch size; all rates see the same batches."""
    losses = []
    for size in batch_sizes:
        trained = train_runs(
            *(sampled, points[:, None].expand(-1, len(learning_rates), -1)),
            OPTIMISERS[optimiser](learning_rates[:, None]),
            batch_size=size,
            n_epochs=n_epochs,
            generator=stream("batches", size),
        )
        losses.append(evaluate(sampled, trained)[0])
    return torch.stack(losses, dim=1)


# --- The learner and its rivals ----------------------------------------------------------------------------------


def train_learned(
    sampled: SampledLoss,
    points: Float[Tensor, "runs d"],
    stream: Stream,
    *,
    momentum: str,
    safety: float,
    batch_size: int,
    n_epochs: int,
    n_batches: int,
    n_steps: int,
) -> tuple[Float[Tensor, "runs 1 d"], list[list[Steps]]]:
    """Train with rate and momentum learned anew before each epoch; also what was chosen, one list an epoch."""
    points, history, shuffle = points[:, None], [], stream("batches", batch_size)
    velocity, rates, momenta = torch.zeros_like(points), None, None

    def update(gradients: Tensor) -> Tensor:
        nonlocal velocity
        velocity = momenta * velocity + gradients
        return -rates * velocity

    for epoch in range(n_epochs):
        chosen = []
        for run, (point,) in enumerate(points):
            generator = stream("learner", epoch, run)
            drawn = (torch.randperm(len(sampled), generator=generator)[:batch_size] for _ in range(n_batches))
            products = [sampled.product(point, "hessian", batch.to(point.device)) for batch in drawn]
            looked = {"momentum": momentum, "safety": safety, "n_steps": n_steps, "generator": generator}
            chosen.append(learn_steps(products, point, **looked))
        history.append(chosen)
        pairs = [(steps.learning_rate, steps.momentum) for steps in chosen]
        rates, momenta = points.new_tensor(pairs).T[..., None, None]
        points = train_runs(sampled, points, update, batch_size=batch_size, n_epochs=1, generator=shuffle)
    return points, history


@dataclass(frozen=True)
class Tuned:
    """A rival: its best rate on validation images and other runs, and every rate's test errors on the judged runs."""

    learning_rate: float
    validation: float
    errors: Float[Tensor, " runs"]
    all_errors: Float[Tensor, "runs rates"]


def tune_rivals(
    sampled: SampledLoss,
    validation: SampledLoss,
    test: SampledLoss,
    tuning_points: Float[Tensor, "tuning d"],
    points: Float[Tensor, "runs d"],
    learning_rates: Float[Tensor, " rates"],
    stream: Stream,
    *,
    batch_size: int,
    n_epochs: int,
) -> dict[tuple[str, float], Tuned]:
    """Both schedules, without and with momentum 0.9, each at every rate; the rate is chosen by validation error."""
    rivals = {}
    for name, momentum in itertools.product(SCHEDULES, (0.0, 0.9)):
        found = []
        for who, first, images in (("tuning", tuning_points, validation), ("judged", points, test)):
            trained = train_runs(
                *(sampled, first[:, None].expand(-1, len(learning_rates), -1)),
                heavy_ball(learning_rates[:, None], momentum),
                batch_size=batch_size,
                n_epochs=n_epochs,
                generator=stream(who, "batches", batch_size),
                schedule=SCHEDULES[name],
            )
            found.append(evaluate(images, trained)[1])
        (lowest, best), errors = found[0].mean(dim=0).min(dim=0), found[1]
        rivals[name, momentum] = Tuned(learning_rates[best].item(), lowest.item(), errors[:, best], errors)
    return rivals
