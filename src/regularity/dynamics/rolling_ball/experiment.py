"""The chapter's runs: settings and repetitions of an optimiser side by side, tuning, and what a ball sees."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from regularity.data import load_cifar, load_digits, load_mnist
from regularity.dynamics.rolling_ball.method import (
    Gradient,
    largest_radius,
    offset_surface,
    roll,
    rolled_surface,
    rolling_ball_step,
)
from regularity.dynamics.rolling_ball.problems import build_network
from regularity.dynamics.rolling_ball.rivals import entropy_sgd_step, sharpness_aware
from regularity.foundations.checks import check_at_least
from regularity.foundations.choices import choose
from regularity.foundations.curvature import flat_parameters
from regularity.foundations.optimisers import heavy_ball
from regularity.foundations.randomness import Stream

Step = Callable[[Gradient, Tensor], Tensor]  # of one training, whose earlier steps it may remember

# --- Data --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """Flat images to train and validate on, others to test on, and the shape of one."""

    pool: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    test: Float[Tensor, "m d"]
    test_labels: Int[Tensor, " m"]
    shape: tuple[int, ...]

    @property
    def n_classes(self) -> int:
        """Number of classes, all of which occur in the pool."""
        return int(self.labels.max()) + 1


def _digits(n_test: int, generator: torch.Generator) -> Images:
    images, labels = load_digits()
    test, pool = torch.randperm(len(labels), generator=generator).tensor_split([n_test])
    inputs = images.flatten(1)
    return Images(inputs[pool], labels[pool], inputs[test], labels[test], (1, 8, 8))


def _official(load: Callable, shape: tuple[int, ...], n_test: int, generator: torch.Generator) -> Images:
    (pool, labels), (test, test_labels) = load("train"), load("test")
    kept = torch.randperm(len(test), generator=generator)[:n_test]
    return Images(pool.flatten(1), labels, test[kept].flatten(1), test_labels[kept], shape)


DATASETS = {
    "digits": _digits,
    "mnist": partial(_official, load_mnist, (1, 28, 28)),
    "cifar10": partial(_official, partial(load_cifar, 10), (3, 32, 32)),
    "cifar100": partial(_official, partial(load_cifar, 100), (3, 32, 32)),
}


def load_images(dataset: str, n_test: int, generator: torch.Generator) -> Images:
    """Load scikit-learn's digits and draw a test set from them, or another set with (a part of) its own test set."""
    return choose("dataset", dataset, DATASETS)(n_test, generator)


@dataclass(frozen=True)
class Repetitions:
    """Independent repetitions of a training, at each share of wrong labels: all of one share first.

    The k-th repetitions of all shares have their split, first weights and batches in common; a share of the labels is
    wrong in training as in validation. `train`, `validation` and `test` are places in `inputs`, which holds all
    images, and `order(k)` is the source of the k-th repetition's batches.
    """

    inputs: Tensor
    call: Callable[[Tensor, Tensor], Tensor]
    train: Int[Tensor, "repetitions n"]
    train_labels: Int[Tensor, "repetitions n"]
    validation: Int[Tensor, "repetitions m"]
    validation_labels: Int[Tensor, "repetitions m"]
    test: Int[Tensor, "repetitions k"]
    test_labels: Int[Tensor, "repetitions k"]
    starts: Float[Tensor, "repetitions d"]
    n_shares: int
    order: Callable[[int], torch.Generator]


def repeat(
    images: Images,
    stream: Stream,
    *,
    network: str,
    width: int,
    n_train: int,
    n_validation: int,
    shares: Sequence[float],
    n_repetitions: int,
    device: torch.device | str = "cpu",
) -> Repetitions:
    """Draw the repetitions: splits, wrong labels, first weights."""
    check_at_least("the images to train and validate on", len(images.labels), n_train + n_validation)
    places, labels, starts = [], [], []
    for k in range(n_repetitions):
        order = torch.randperm(len(images.labels), generator=stream("split", k))
        places.append(order[: n_train + n_validation])
        module = build_network(
            network, images.shape, images.n_classes, width=width, generator=stream("weights", k)
        )
        start, call = flat_parameters(module.to(device))
        starts.append(start)
    for share, k in product(shares, range(n_repetitions)):
        true, generator = images.labels[places[k]], stream("wrong labels", k)
        wrong = torch.rand(len(true), generator=generator) < share
        shift = torch.randint(1, images.n_classes, true.shape, generator=generator)
        labels.append(torch.where(wrong, (true + shift) % images.n_classes, true))
    places, labels = torch.stack(places * len(shares)).to(device), torch.stack(labels).to(device)
    n_pool, n_runs = len(images.pool), len(labels)
    test = torch.arange(n_pool, n_pool + len(images.test), device=device)
    return Repetitions(
        torch.cat([images.pool, images.test]).to(device),
        call,
        *(places[:, :n_train], labels[:, :n_train], places[:, n_train:], labels[:, n_train:]),
        *(test.expand(n_runs, -1), images.test_labels.to(device).expand(n_runs, -1)),
        torch.stack(starts * len(shares)),
        len(shares),
        lambda k: stream("order", k),
    )


# --- Optimisers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimiser:
    """Its steps, their price in gradients, and values of the settings among which it is tuned.

    `begin` takes settings, one number a run, and gives the step of a training, which takes the gradient of a batch
    and points, and gives the next points. Where `is_fresh`, each gradient is of another batch.
    """

    begin: Callable[..., Step]
    grid: Mapping[str, Sequence[float]]
    n_gradients: int = 1
    is_fresh: bool = False

    def all_settings(self) -> dict[str, Tensor]:
        """Every combination, one tensor a setting."""
        combinations = torch.tensor(list(product(*self.grid.values())))
        return dict(zip(self.grid, combinations.unbind(dim=1), strict=True))


def descend(learning_rate: Tensor, momentum: Tensor, n_replays: int = 1) -> Step:
    """Begin gradient descent, one step a batch or several."""
    update = heavy_ball(learning_rate[:, None], momentum[:, None])

    def step(gradient: Gradient, points: Tensor) -> Tensor:
        for _ in range(n_replays):
            points = points + update(gradient(points)[1])
        return points

    return step


def _sharpness_aware(neighbourhood: Tensor, **settings: Tensor) -> Step:
    step = descend(**settings)
    return lambda gradient, points: step(sharpness_aware(gradient, neighbourhood), points)


def optimisers(
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    n_inner: int,
    projection_rate: float,
    generator: torch.Generator,
) -> dict[str, Optimiser]:
    """The five optimisers, and Entropy-SGD once more with a fresh batch for each gradient.

    Replayed SGD has no momentum.
    """
    fixed = {"projection_rate": projection_rate, "n_projections": n_inner}
    ball = lambda **settings: partial(rolling_ball_step, **fixed, **settings)  # noqa: E731
    chain = {"n_langevin": n_inner, "generator": generator}
    plain = grids["SGD"] | {"momentum": [0.0]}
    entropy = lambda **settings: partial(entropy_sgd_step, **chain, **settings)  # noqa: E731
    return {
        "SGD": Optimiser(descend, grids["SGD"]),
        "SAM": Optimiser(_sharpness_aware, grids["SAM"], 2),
        "Entropy-SGD": Optimiser(entropy, grids["Entropy-SGD"], n_inner),
        "Entropy-SGD, fresh": Optimiser(entropy, grids["Entropy-SGD"], n_inner, is_fresh=True),
        "replayed SGD": Optimiser(partial(descend, n_replays=n_inner), plain, n_inner),
        "ball": Optimiser(ball, grids["ball"], n_inner),
    }


# --- Training ----------------------------------------------------------------------------------------------------


def train(
    repetitions: Repetitions,
    optimiser: Optimiser,
    settings: Mapping[str, Tensor],
    runs: Int[Tensor, " runs"],
    *,
    n_epochs: int,
    batch_size: int,
    n_looks: int = 1,
) -> list[tuple[int, Float[Tensor, "runs d"]]]:
    """Train runs side by side, each in its repetition with its settings, for a number of passes over the batches.

    Gives the gradients that a run has spent, and the points, at equal intervals; the end stands last.
    """
    points, drawn = repetitions.starts[runs], _batches(repetitions, runs, batch_size)
    step = optimiser.begin(**{name: values.to(points) for name, values in settings.items()})
    n_batches = n_epochs * (repetitions.train.shape[1] // batch_size)
    n_steps = n_batches // (optimiser.n_gradients if optimiser.is_fresh else 1)
    looks = {round(n_steps * (look + 1) / n_looks) for look in range(n_looks)}
    seen = []
    for k in range(1, n_steps + 1):
        if optimiser.is_fresh:
            gradient = lambda at: gradient_of(repetitions, *next(drawn))(at)  # noqa: E731
        else:
            gradient = gradient_of(repetitions, *next(drawn))
        points = step(gradient, points)
        if k in looks:
            seen.append((k * optimiser.n_gradients, points))
    return seen


def _batches(repetitions: Repetitions, runs: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Places and labels of one batch a run, without end; each pass in a new order."""
    n_own, n_train = len(repetitions.starts) // repetitions.n_shares, repetitions.train.shape[1]
    orders = [repetitions.order(k) for k in range(n_own)]
    own, rows = runs % n_own, runs[:, None]
    while True:
        drawn = torch.stack([torch.randperm(n_train, generator=order) for order in orders]).to(rows.device)
        for first in range(0, n_train - batch_size + 1, batch_size):
            chosen = drawn[own, first : first + batch_size]
            yield repetitions.train[rows, chosen], repetitions.train_labels[rows, chosen]


def gradient_of(repetitions: Repetitions, places: Tensor, labels: Tensor) -> Gradient:
    """The mean cross-entropy of one batch a run, and its gradient."""
    inputs, outputs_at = repetitions.inputs[places], torch.func.vmap(repetitions.call)

    def value_and_gradient(points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        losses = _cross_entropies(outputs_at(points, inputs), labels).mean(dim=-1)
        (gradients,) = torch.autograd.grad(losses.sum(), points)
        return losses.detach(), gradients

    return value_and_gradient


def _cross_entropies(outputs: Tensor, labels: Tensor) -> Tensor:
    """One an image, of all runs; as one long batch, for which torch has a fast kernel."""
    flat = functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view(labels.shape)


@torch.no_grad()
def score(
    repetitions: Repetitions, points: Tensor, images: Tensor, labels: Tensor
) -> tuple[Float[Tensor, " runs"], Float[Tensor, " runs"]]:
    """Mean loss and accuracy of each run on its images, a part of them at a time; none where it has diverged."""
    losses, hits = points.new_zeros(2, len(points))
    for part, true in zip(images.split(2000, dim=1), labels.split(2000, dim=1), strict=True):
        outputs = torch.func.vmap(repetitions.call)(points, repetitions.inputs[part])
        losses += _cross_entropies(outputs, true).sum(dim=-1)
        hits += (outputs.argmax(dim=-1) == true).sum(dim=-1)
    finite, n_images = points.isfinite().all(dim=-1), labels.shape[1]
    return (losses / n_images).where(finite, torch.inf), (hits / n_images).where(finite, 0.0)


def tune(repetitions: Repetitions, optimiser: Optimiser, **lengths: int) -> list[dict[str, float]]:
    """Train every combination of settings; of each share of wrong labels, give that of best validation accuracy."""
    settings = optimiser.all_settings()
    n_settings, n_runs = len(next(iter(settings.values()))), len(repetitions.starts)
    repeated = {name: values.repeat_interleave(n_runs) for name, values in settings.items()}
    runs = torch.arange(n_runs, device=repetitions.starts.device).repeat(n_settings)
    _, points = train(repetitions, optimiser, repeated, runs, **lengths)[-1]
    own = repetitions.validation[runs], repetitions.validation_labels[runs]
    _, accuracies = score(repetitions, points, *own)
    accuracy = accuracies.reshape(n_settings, repetitions.n_shares, -1).mean(dim=-1)
    return [
        {name: values[best].item() for name, values in settings.items()} for best in accuracy.argmax(dim=0)
    ]


@dataclass(frozen=True)
class History:
    """What was seen of each run, at equal intervals of its training; the end stands last."""

    n_gradients: list[int]
    train_loss: Float[Tensor, "looks runs"]
    train_accuracy: Float[Tensor, "looks runs"]
    test_accuracy: Float[Tensor, "looks runs"]
    points: Float[Tensor, "runs d"]


def judge(
    repetitions: Repetitions, optimiser: Optimiser, chosen: Sequence[Mapping[str, float]], **lengths: int
) -> History:
    """Train all repetitions, each with the settings that were chosen for its share of wrong labels."""
    runs = torch.arange(len(repetitions.starts), device=repetitions.starts.device)
    n_own = len(runs) // repetitions.n_shares
    settings = {
        name: torch.tensor([one[name] for one in chosen]).repeat_interleave(n_own) for name in chosen[0]
    }
    seen = train(repetitions, optimiser, settings, runs, **lengths)
    own = repetitions.train, repetitions.train_labels
    training = [score(repetitions, points, *own) for _, points in seen]
    losses, accuracies = (torch.stack(found) for found in zip(*training, strict=True))
    tests = [score(repetitions, points, repetitions.test, repetitions.test_labels)[1] for _, points in seen]
    return History([n for n, _ in seen], losses, accuracies, torch.stack(tests), seen[-1][1])


# --- The ball and descent ----------------------------------------------------------------------------------------


def hills(x: Float[Tensor, " 2"]) -> Float[Tensor, ""]:
    """A loss of two variables that bends both ways."""
    return torch.sin(1.3 * x[0]) * torch.cos(x[1]) + 0.2 * x[0] * x[1] + 0.1 * x.square().sum()


def gap_to_descent(
    points: Float[Tensor, "n 2"], scale: float, n_projections: int | None, rate: float
) -> float:
    """Distance of a step at η = ρ = scale from −η∇f, relative; the contact solved for, or K projection steps."""
    pair = torch.func.vmap(torch.func.grad_and_value(hills))
    gradients, _ = pair(points)
    if n_projections is None:
        settings = {"learning_rate": scale, "radius": scale, "tolerance": 1e-13}
        moved = torch.stack([roll(hills, point, **settings).point for point in points])
    else:
        settings = {"projection_rate": rate, "n_projections": n_projections}
        moved = rolling_ball_step(
            lambda at: pair(at)[::-1], points, learning_rate=scale, radius=scale, **settings
        )
    gaps = ((moved - points) / scale + gradients).norm(dim=-1) / gradients.norm(dim=-1)
    return gaps.mean().item()


# --- What the ball sees ------------------------------------------------------------------------------------------


def is_minimum(values: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether a point of the grid is lower than both neighbours."""
    steps = values.diff()
    return functional.pad((steps[:-1] < 0) & (steps[1:] > 0), (1, 1))


def reached(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, " n"], radius: float
) -> Bool[Tensor, " n"]:
    """Whether a ball touches the function at the points of a grid: its lower face is no higher there.

    Up to spacing²/radius, by which the face may be off between the grid's points; nowhere within 2ρ of the ends.
    """
    spacing, values = (x[1] - x[0]).item(), function(x)
    rolled = rolled_surface(values, spacing=spacing, radius=radius)
    margin = (len(x) - len(rolled)) // 2
    touched = rolled - values[margin : len(x) - margin] <= spacing**2 / radius
    return functional.pad(touched, (margin, margin))


def curvature(function: Callable[[Tensor], Tensor], x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Signed curvature of a function's graph, positive in a valley."""
    slope = torch.func.grad(lambda at: function(at).sum())
    slopes, bends = slope(x), torch.func.grad(lambda at: slope(at).sum())(x)
    return bends / (1 + slopes.square()) ** 1.5


def oscillation(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, " n"], radius: float, slope: float
) -> float:
    """Largest less smallest height of the offset surface over a line of the given slope."""
    offset = offset_surface(function(x), spacing=(x[1] - x[0]).item(), radius=radius)
    reach = (len(x) - len(offset)) // 2
    flat = offset - slope * x[reach : len(x) - reach]
    return (flat.max() - flat.min()).item()


def agreement(
    repetitions: Repetitions,
    step: Callable[[Gradient, Tensor], Tensor],
    points: Tensor,
    n_pairs: int,
    size: int,
) -> Float[Tensor, " repetitions"]:
    """Cosine of the steps on two batches that have no image in common, mean over pairs; one a repetition."""
    runs = torch.arange(len(points), device=points.device)
    drawn, cosines = _batches(repetitions, runs, size), []
    for _ in range(n_pairs):
        first, second = (step(gradient_of(repetitions, *next(drawn)), points) - points for _ in range(2))
        cosines.append(functional.cosine_similarity(first, second, dim=-1))
    return torch.stack(cosines).mean(dim=0)


def radius_that_fits(
    repetitions: Repetitions, points: Tensor, n_steps: int = 30
) -> Float[Tensor, " repetitions"]:
    """Radius of the largest ball that fits on the graph of each repetition's training loss at its point."""
    fits = []
    for k, point in enumerate(points):
        x, y = repetitions.inputs[repetitions.train[k]], repetitions.train_labels[k]
        loss = lambda at, x=x, y=y: functional.cross_entropy(repetitions.call(at, x), y)  # noqa: E731
        fits.append(largest_radius(loss, point, n_steps=n_steps) if point.isfinite().all() else math.nan)
    return torch.tensor(fits)
