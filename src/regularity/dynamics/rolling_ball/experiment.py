"""The chapter's runs: settings and repetitions of an optimiser side by side, tuning, and what a ball sees."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from regularity.data import load_cifar, load_mnist
from regularity.dynamics.rolling_ball.method import (
    Gradient,
    largest_radius,
    offset_surface,
    roll,
    rolled_surface,
    rolling_ball_step,
)
from regularity.dynamics.rolling_ball.problems import build_network
from regularity.dynamics.rolling_ball.rivals import entropy_sgd_step, sgd_step, sharpness_aware
from regularity.foundations.checks import check_at_least
from regularity.foundations.choices import choose
from regularity.foundations.curvature import flat_parameters

Settings = Mapping[str, Tensor]  # one number a run
Stream = Callable[..., torch.Generator]

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
    bunch = load_digits()
    inputs, labels = torch.as_tensor(bunch.data).float() / 16, torch.as_tensor(bunch.target)
    order = torch.randperm(len(labels), generator=generator)
    test, pool = order[:n_test], order[n_test:]
    return Images(inputs[pool], labels[pool], inputs[test], labels[test], (1, 8, 8))


def _official(load: Callable, shape: tuple[int, ...], n_test: int, generator: torch.Generator) -> Images:
    (pool, labels), (test, test_labels) = load("train"), load("test")
    kept = torch.randperm(len(test), generator=generator)[:n_test]
    return Images(pool.flatten(1), labels, test[kept].flatten(1), test_labels[kept], shape)


DATASETS: dict[str, Callable[[int, torch.Generator], Images]] = {
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

    The k-th repetitions of all shares have their split, first weights and batches in common.

    Attributes
    ----------
    inputs, call
        The pool of images, and the network as a function of (point, inputs).
    train, validation
        Places in the pool, with labels of which a share is wrong, in training as in validation.
    starts
        First weights.
    n_shares
        Number of shares of wrong labels.
    order
        Source of the batches of the k-th repetition: `order(k)`.
    """

    inputs: Tensor
    call: Callable[[Tensor, Tensor], Tensor]
    train: Int[Tensor, "repetitions n"]
    train_labels: Int[Tensor, "repetitions n"]
    validation: Int[Tensor, "repetitions m"]
    validation_labels: Int[Tensor, "repetitions m"]
    test: Tensor
    test_labels: Tensor
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
    all_places = torch.stack(places * len(shares)).to(device)
    all_labels = torch.stack(labels).to(device)
    return Repetitions(
        images.pool.to(device),
        call,
        all_places[:, :n_train],
        all_labels[:, :n_train],
        all_places[:, n_train:],
        all_labels[:, n_train:],
        images.test.to(device),
        images.test_labels.to(device),
        torch.stack(starts * len(shares)),
        len(shares),
        lambda k: stream("order", k),
    )


# --- Optimisers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimiser:
    """A step, its price, and the settings among which it is tuned.

    Attributes
    ----------
    step
        Takes the gradient of a batch, points, what was remembered of earlier steps, and settings; gives the next
        points and memory.
    grid
        Values of each setting.
    n_gradients
        Gradients that a step costs.
    is_fresh
        Whether each gradient is of another batch.
    """

    step: Callable[..., tuple[Tensor, Tensor]]
    grid: Mapping[str, Sequence[float]]
    n_gradients: int = 1
    is_fresh: bool = False

    def all_settings(self) -> dict[str, Tensor]:
        """Every combination, one tensor a setting."""
        combinations = torch.tensor(list(product(*self.grid.values())))
        return dict(zip(self.grid, combinations.unbind(dim=1), strict=True))


def _sam_step(
    gradient: Gradient, points: Tensor, memory: Tensor, **settings: Tensor
) -> tuple[Tensor, Tensor]:
    neighbourhood = settings.pop("neighbourhood")
    return sgd_step(sharpness_aware(gradient, neighbourhood), points, memory, **settings)


def _replay_step(
    gradient: Gradient, points: Tensor, memory: Tensor, *, n_replays: int, **settings: Tensor
) -> tuple[Tensor, Tensor]:
    """Descend several times on one batch."""
    for _ in range(n_replays):
        points, memory = sgd_step(gradient, points, memory, **settings)
    return points, memory


def _without_memory(step: Callable[..., Tensor], **fixed: object) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda gradient, points, memory, **settings: (step(gradient, points, **fixed, **settings), memory)


def optimisers(
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    n_inner: int,
    projection_rate: float,
    generator: torch.Generator,
) -> dict[str, Optimiser]:
    """The five optimisers, and Entropy-SGD once more with a fresh batch for each gradient."""
    ball = _without_memory(rolling_ball_step, projection_rate=projection_rate, n_projections=n_inner)
    entropy = _without_memory(entropy_sgd_step, n_langevin=n_inner, generator=generator)
    chain = grids["Entropy-SGD"]
    return {
        "SGD": Optimiser(sgd_step, grids["SGD"]),
        "SAM": Optimiser(_sam_step, grids["SAM"], 2),
        "Entropy-SGD": Optimiser(entropy, chain, n_inner),
        "Entropy-SGD, fresh": Optimiser(entropy, chain, n_inner, is_fresh=True),
        "replayed SGD": Optimiser(partial(_replay_step, n_replays=n_inner), grids["SGD"], n_inner),
        "ball": Optimiser(ball, grids["ball"], n_inner),
    }


# --- Training ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """What was seen of each run, at equal intervals of its training; the end stands last."""

    n_gradients: list[int]
    train_loss: Float[Tensor, "looks runs"]
    train_accuracy: Float[Tensor, "looks runs"]
    validation_accuracy: Float[Tensor, "looks runs"]
    test_accuracy: Float[Tensor, "looks runs"]
    points: Float[Tensor, "runs d"]


def train(
    repetitions: Repetitions,
    optimiser: Optimiser,
    settings: Settings,
    runs: Int[Tensor, " runs"],
    *,
    n_epochs: int,
    batch_size: int,
    n_looks: int = 1,
) -> History:
    """Train runs side by side, each in its repetition with its settings, for a number of passes over the batches."""
    points = repetitions.starts[runs]
    memory, drawn = torch.zeros_like(points), _batches(repetitions, runs, batch_size)
    settings = {name: values.to(points) for name, values in settings.items()}
    n_batches = n_epochs * (repetitions.train.shape[1] // batch_size)
    n_steps = n_batches // (optimiser.n_gradients if optimiser.is_fresh else 1)
    looks = {round(n_steps * (look + 1) / n_looks): look for look in range(n_looks)}
    seen, n_gradients = [], []
    for step in range(1, n_steps + 1):
        if optimiser.is_fresh:
            gradient = lambda at: gradient_of(repetitions, *next(drawn))(at)  # noqa: E731
        else:
            gradient = gradient_of(repetitions, *next(drawn))
        points, memory = optimiser.step(gradient, points, memory, **settings)
        if step in looks:
            n_gradients.append(step * optimiser.n_gradients)
            seen.append(_look(repetitions, points, runs))
    return History(n_gradients, *map(torch.stack, zip(*seen, strict=True)), points)


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
def _look(repetitions: Repetitions, points: Tensor, runs: Tensor) -> tuple[Tensor, ...]:
    """Training loss and the accuracies on the training, validation and test images; none for what has diverged."""
    test = torch.arange(len(repetitions.test), device=runs.device).expand(len(runs), -1)
    sets = (
        (repetitions.inputs, repetitions.train[runs], repetitions.train_labels[runs]),
        (repetitions.inputs, repetitions.validation[runs], repetitions.validation_labels[runs]),
        (repetitions.test, test, repetitions.test_labels.expand(len(runs), -1)),
    )
    scores = [_score(repetitions.call, points, *part) for part in sets]
    finite = points.isfinite().all(dim=-1)
    loss = scores[0][0].where(finite, torch.inf)
    return loss, *(accuracy.where(finite, 0.0) for _, accuracy in scores)


def _score(
    call: Callable, points: Tensor, inputs: Tensor, places: Tensor, labels: Tensor, n_at_a_time: int = 2000
) -> tuple[Tensor, Tensor]:
    """Mean loss and accuracy of each run, a part of the images at a time."""
    losses, hits = points.new_zeros(len(points)), points.new_zeros(len(points))
    for first in range(0, places.shape[1], n_at_a_time):
        part = slice(first, first + n_at_a_time)
        outputs = torch.func.vmap(call)(points, inputs[places[:, part]])
        true = labels[:, part]
        losses += _cross_entropies(outputs, true).sum(dim=-1)
        hits += (outputs.argmax(dim=-1) == true).sum(dim=-1)
    return losses / places.shape[1], hits / places.shape[1]


def tune(repetitions: Repetitions, optimiser: Optimiser, **lengths: int) -> list[dict[str, float]]:
    """Train every combination of settings; of each share of wrong labels, give that of best validation accuracy."""
    settings = optimiser.all_settings()
    n_settings, n_runs = len(next(iter(settings.values()))), len(repetitions.starts)
    repeated = {name: values.repeat_interleave(n_runs) for name, values in settings.items()}
    runs = torch.arange(n_runs, device=repetitions.starts.device).repeat(n_settings)
    history = train(repetitions, optimiser, repeated, runs, **lengths)
    accuracy = history.validation_accuracy[-1].reshape(n_settings, repetitions.n_shares, -1).mean(dim=-1)
    return [
        {name: values[best].item() for name, values in settings.items()} for best in accuracy.argmax(dim=0)
    ]


def judge(
    repetitions: Repetitions, optimiser: Optimiser, chosen: Sequence[Mapping[str, float]], **lengths: int
) -> History:
    """Train all repetitions, each with the settings that were chosen for its share of wrong labels."""
    runs = torch.arange(len(repetitions.starts), device=repetitions.starts.device)
    n_own = len(runs) // repetitions.n_shares
    settings = {
        name: torch.tensor([one[name] for one in chosen]).repeat_interleave(n_own) for name in chosen[0]
    }
    return train(repetitions, optimiser, settings, runs, **lengths)


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


def largest_contact_error(
    function: Callable[[Tensor], Tensor], places: Float[Tensor, " n"], learning_rate: float, radius: float
) -> float:
    """Distance of the contacts that are solved for from those that a fine grid finds, 10⁻⁶ apart."""
    errors, around = [], torch.arange(-150_000, 150_001, dtype=torch.float64) * 1e-6
    for place in places:
        value, slope = function(place), torch.func.grad(function)(place)
        steepness = (1 + slope.square()).sqrt()
        x = place - radius * slope / steepness - learning_rate * slope
        y = value + radius / steepness - learning_rate * slope.square()
        grid = place + around
        nearest = grid[((grid - x).square() + (function(grid) - y).square()).argmin()]
        found = roll(lambda at: function(at[0]), place[None], learning_rate=learning_rate, radius=radius)
        errors.append((found.point[0] - nearest).abs().item())
    return max(errors)


# --- What the ball sees ------------------------------------------------------------------------------------------


def count_minima(values: Float[Tensor, " n"]) -> int:
    """Number of the grid's points that are lower than both neighbours."""
    return int(((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])).sum())


def reached(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, " n"], radius: float
) -> tuple[Float[Tensor, " inner"], Tensor]:
    """The inner points of a grid, and whether a ball touches the function there: its lower face is no higher.

    Up to spacing²/radius, by which the face may be off between the grid's points.
    """
    spacing, values = (x[1] - x[0]).item(), function(x)
    rolled = rolled_surface(values, spacing=spacing, radius=radius)
    reach = (len(x) - len(rolled)) // 2
    inner = slice(reach, len(x) - reach)
    return x[inner], rolled - values[inner] <= spacing**2 / radius


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
        fits.append(
            largest_radius(loss, point, n_steps=n_steps) if bool(point.isfinite().all()) else math.nan
        )
    return torch.tensor(fits)
