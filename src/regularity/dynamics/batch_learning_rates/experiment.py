"""The chapter's runs: the laws on random matrices and on networks, largest stable rates, and the learner's rivals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from torch import Tensor

from regularity.data import load_mnist
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
from regularity.dynamics.batch_learning_rates.rivals import (
    SCHEDULES,
    adam,
    epochs_of_batches,
    evaluate,
    gradients_of,
    heavy_ball,
    train_runs,
)
from regularity.foundations.choices import choose
from regularity.foundations.curvature import TraceEstimate, hutchinson_trace

Stream = Callable[..., torch.Generator]

# --- Images ------------------------------------------------------------------------------------------------------


def digits() -> tuple[Float[Tensor, "1797 64"], Int[Tensor, " 1797"]]:
    """Scikit-learn's handwritten digits of 8 × 8 pixels, in [0, 1], the mean image taken out."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    return images - images.mean(dim=0), torch.tensor(labels)


def mnist() -> tuple[Float[Tensor, "60000 784"], Int[Tensor, " 60000"]]:
    """The training images of MNIST, flat, the mean image taken out."""
    images, labels = load_mnist("train")
    return images.flatten(1) - images.flatten(1).mean(dim=0), labels


IMAGES = {"digits": digits, "mnist": mnist}


def split_images(
    dataset: str, sizes: Sequence[int], generator: torch.Generator
) -> list[tuple[Float[Tensor, "_ d"], Int[Tensor, " _"]]]:
    """Deal the images of "digits" or "mnist" into disjoint sets of these sizes."""
    images, labels = choose("dataset", dataset, IMAGES)()
    if sum(sizes) > len(images):
        raise ValueError(f"sizes must sum to at most {len(images)} images; got {sum(sizes)}")
    order = torch.randperm(len(images), generator=generator)[: sum(sizes)]
    return [(images[part], labels[part]) for part in order.split(list(sizes))]


# --- Random matrices with the laws' own noise --------------------------------------------------------------------


@dataclass(frozen=True)
class Simulated:
    """Ends of spectra in which the noise is what a law assumes: one row a batch size, one column a repetition."""

    predicted: Float[Tensor, " sizes"]
    measured: Float[Tensor, "sizes repetitions"]

    def farthest(self) -> tuple[float, float]:
        """How far the mean is from the law, relative, at the size where it is farthest; and its standard error."""
        relative = self.measured / self.predicted[:, None] - 1
        row = relative[relative.mean(dim=1).abs().argmax()]
        return row.mean().abs().item(), row.std().item() / len(row) ** 0.5


def simulate_laws(
    dimension: int,
    sizes: Sequence[int],
    n_repetitions: int,
    stream: Stream,
    *,
    spikes: tuple[float, float] = (1.0, -0.5),
    noise: float = 16.0,
) -> dict[str, Simulated]:
    """Spikes under additive noise, both ends, and one under multiplicative noise of the same strength `noise`.

    Sample covariances are repeated four times as often: their spike has a noise of its own, √(2/size) of it.
    """
    top, bottom = spikes
    two = torch.zeros(dimension, dtype=torch.float64)
    two[0], two[1] = top, bottom
    one = torch.full_like(two, noise / (dimension - 1))
    one[0] = top
    laws = {
        "top": lambda size: additive_extreme(top, noise, size),
        "bottom": lambda size: additive_extreme(bottom, noise, size),
        "sample covariance": lambda size: multiplicative_extreme(top, noise, dimension, size),
    }
    ends: dict[str, list] = {name: [] for name in laws}
    for size in sizes:
        spectra = [
            additive_spectrum(two, noise, size, stream("additive", size, k)) for k in range(n_repetitions)
        ]
        ends["top"].append(torch.stack([spectrum[-1] for spectrum in spectra]))
        ends["bottom"].append(torch.stack([spectrum[0] for spectrum in spectra]))
        drawn = [stream("multiplicative", size, k) for k in range(4 * n_repetitions)]
        tops = [multiplicative_spectrum(one, size, generator)[-1] for generator in drawn]
        ends["sample covariance"].append(torch.stack(tops))
    return {
        name: Simulated(torch.tensor([law(size) for size in sizes]).double(), torch.stack(ends[name]))
        for name, law in laws.items()
    }


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

    def share(self, law: str, first: int = 0) -> float:
        """What a law predicts of the excess of λ₁, over what is measured: mean over the sizes from `first` on."""
        predicted = (self.predicted(law) - self.top) * self.sizes
        return (predicted[first:].mean() / (self.excess * self.sizes)[first:].mean()).item()


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

OPTIMISERS = {"SGD": heavy_ball, "Adam": adam}


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
    """Final training loss at every learning rate of one grid and every batch size; all runs see the same batches."""
    losses = []
    for size in batch_sizes:
        first = points[:, None].expand(-1, len(learning_rates), -1)
        update = OPTIMISERS[optimiser](learning_rates[:, None])
        trained = train_runs(
            *(sampled.call, first, update, sampled.inputs, sampled.labels),
            batch_size=size,
            n_epochs=n_epochs,
            generator=stream("batches", size),
        )
        losses.append(evaluate(sampled.call, trained, sampled.inputs, sampled.labels)[0])
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
    gradients, points = gradients_of(sampled.call), points[:, None]
    velocity, history, shuffle = torch.zeros_like(points), [], stream("batches", batch_size)
    for epoch in range(n_epochs):
        chosen = []
        for run, (point,) in enumerate(points):
            generator = stream("learner", epoch, run)
            drawn = (torch.randperm(len(sampled), generator=generator)[:batch_size] for _ in range(n_batches))
            products = [sampled.product(point, "hessian", batch.to(point.device)) for batch in drawn]
            chosen.append(
                learn_steps(
                    products, point, momentum=momentum, safety=safety, n_steps=n_steps, generator=generator
                )
            )
        history.append(chosen)
        rates, momenta = (
            points.new_tensor([getattr(steps, name) for steps in chosen])[:, None, None]
            for name in ("learning_rate", "momentum")
        )
        for batch in epochs_of_batches(len(sampled), batch_size, 1, len(points), shuffle):
            batch = batch.to(points.device)
            velocity = momenta * velocity + gradients(points, sampled.inputs[batch], sampled.labels[batch])
            points = points - rates * velocity
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
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
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
    for name, schedule in SCHEDULES.items():
        for momentum in (0.0, 0.9):
            found = []
            for who, first, images in (("tuning", tuning_points, validation), ("judged", points, test)):
                trained = train_runs(
                    *(sampled.call, first[:, None].expand(-1, len(learning_rates), -1)),
                    *(heavy_ball(learning_rates[:, None], momentum), sampled.inputs, sampled.labels),
                    batch_size=batch_size,
                    n_epochs=n_epochs,
                    generator=stream(who, "batches", batch_size),
                    schedule=schedule,
                )
                found.append(evaluate(sampled.call, trained, *images)[1])
            lowest, best = found[0].mean(dim=0).min(dim=0)
            rivals[name, momentum] = Tuned(
                learning_rates[best].item(), lowest.item(), found[1][:, best], found[1]
            )
    return rivals
