"""The chapter's runs: kernels at the start and in training, networks beside the flow, digits with wrong labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from regularity.data import load_digits, load_mnist
from regularity.foundations.choices import choose
from regularity.foundations.kernels import Activation, gaussian_kernel, wide_network_kernels
from regularity.foundations.randomness import Stream
from regularity.theory.neural_tangent_kernel.method import (
    KernelFlow,
    Networks,
    conditional_covariance,
    draw_networks,
    empirical_kernel,
    kernel_flow,
    network_outputs,
    train,
)
from regularity.theory.neural_tangent_kernel.problems import to_sphere
from regularity.theory.neural_tangent_kernel.rivals import kernel_ridge


@dataclass(frozen=True)
class Shape:
    """Shape of the networks of an experiment: depth L, weight β of the biases, inputs and outputs, and where."""

    depth: int
    bias_std: float
    n_inputs: int = 2
    n_outputs: int = 1
    device: torch.device | str = "cpu"

    def draw(self, width: int, n_runs: int, generator: Generator, dtype: torch.dtype) -> Networks:
        """Draw networks of one width."""
        widths = [self.n_inputs, *[width] * (self.depth - 1), self.n_outputs]
        options = {"bias_std": self.bias_std, "dtype": dtype, "device": self.device}
        return draw_networks(widths, n_runs=n_runs, generator=generator, **options)

    def batches(self, width: int, n_runs: int, stream: Stream) -> Iterator[Networks]:
        """The same networks in batches that fit into a cache, or where they must, one at a time."""
        size = max(1, min(n_runs, 2**21 // (self.depth * width**2)))
        for first in range(0, n_runs, size):
            generator = stream("networks", width, first)
            yield self.draw(width, min(size, n_runs - first), generator, torch.float32)

    def limit(self, inputs: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Σ and Θ of infinite width."""
        return wide_network_kernels(inputs, others, depth=self.depth, bias_std=self.bias_std)

    def tangent_kernel(self, inputs: Tensor, others: Tensor | None = None) -> Tensor:
        """Θ alone."""
        return self.limit(inputs, others)[1]


def _relative(found: Float[Tensor, "r n m"], reference: Tensor) -> Float[Tensor, " r"]:
    """Distance in Frobenius' norm, in units of the reference."""
    return (found - reference).flatten(1).norm(dim=1) / reference.flatten(-2).norm(dim=-1)


def log_slopes(widths: list[int], values: Float[Tensor, "r w"]) -> Float[Tensor, " r"]:
    """Slope of each row's logarithm on that of the width, by least squares."""
    x = torch.tensor(widths, dtype=torch.float64).log()
    x = x - x.mean()
    return values.double().cpu().log() @ x / x.square().sum()


# --- The kernel ---------------------------------------------------------------------------------------------------


def errors_at_start(
    points: Tensor, shape: Shape, widths: list[int], n_runs: int, stream: Stream
) -> dict[str, Float[Tensor, "r w"]]:
    """Relative distance of each network's conditional covariance, and of its tangent kernel, to the limits."""
    nngp, ntk = shape.limit(points)
    found = {"covariance": [], "tangent kernel": []}
    for width in widths:
        covariances, kernels = [], []
        for batch in shape.batches(width, n_runs, stream):
            covariances.append(_relative(conditional_covariance(batch, points), nngp))
            kernels.append(_relative(empirical_kernel(batch, points), ntk))
        found["covariance"].append(torch.cat(covariances))
        found["tangent kernel"].append(torch.cat(kernels))
    return {name: torch.stack(parts, dim=1) for name, parts in found.items()}


def departure_from_kernel_gradient(
    points: Tensor, targets: Tensor, elsewhere: Tensor, networks: Networks, rate: float = 1e-5
) -> Float[Tensor, " r"]:
    """Relative distance of the move of the outputs elsewhere, over the rate, to −Θ(x, X)(f(X) − y)/n."""
    trained = train(networks, points, targets, learning_rate=rate, n_steps=1).networks
    moved = (network_outputs(trained, elsewhere) - network_outputs(networks, elsewhere)) / rate
    error = network_outputs(networks, points) - targets.to(moved)
    return _relative(moved, -empirical_kernel(networks, elsewhere, points) @ error / len(points))


@dataclass(frozen=True)
class Drift:
    """How far training moved the kernel, relative to where it was; the trace's growth; the loss that is left."""

    change: Float[Tensor, "r w"]
    growth: Float[Tensor, "r w"]
    loss: Float[Tensor, "r w"]


def drift_in_training(
    points: Tensor,
    targets: Tensor,
    shape: Shape,
    widths: list[int],
    n_runs: int,
    stream: Stream,
    *,
    learning_rate: float,
    n_steps: int,
    target_power: float = 0.0,
) -> Drift:
    """Kernels after training beside those before; targets grow with (width/narrowest)^target_power."""
    found = []
    for width in widths:
        wanted = targets * (width / widths[0]) ** target_power
        parts = []
        for batch in shape.batches(width, n_runs, stream):
            before = empirical_kernel(batch, points)
            run = train(batch, points, wanted, learning_rate=learning_rate, n_steps=n_steps)
            after = empirical_kernel(run.networks, points)
            growth = after.diagonal(dim1=1, dim2=2).sum(dim=1) / before.diagonal(dim1=1, dim2=2).sum(dim=1)
            losses = (run.outputs[:, [0, -1]] - wanted.to(before)).square().mean(dim=(2, 3))
            parts.append(torch.stack([_relative(after, before), growth, losses[:, 1] / losses[:, 0]]))
        found.append(torch.cat(parts, dim=1))
    return Drift(*torch.stack(found, dim=2))


def kernels_from_one_point(
    points: Tensor,
    targets: Tensor,
    origin: Tensor,
    grid: Tensor,
    batches: Iterator[Networks],
    *,
    learning_rate: float,
    n_steps: int,
) -> tuple[Float[Tensor, "r m"], Float[Tensor, "r m"]]:
    """Θ(origin, grid) of each network before training on the points, and after."""
    before, after = [], []
    for batch in batches:
        run = train(batch, points, targets, learning_rate=learning_rate, n_steps=n_steps)
        before.append(empirical_kernel(batch, origin, grid)[:, 0])
        after.append(empirical_kernel(run.networks, origin, grid)[:, 0])
    return torch.cat(before), torch.cat(after)


def smallest_eigenvalue(
    points: Tensor, *, depth: int, bias_std: float, activation: Activation = "relu"
) -> float:
    """Of the limit on these points, in units of the mean eigenvalue."""
    kernel = wide_network_kernels(points, depth=depth, bias_std=bias_std, activation=activation).ntk
    values = torch.linalg.eigvalsh(kernel)
    return (values[0] / values.mean()).item()


def error_left(
    points: Tensor,
    targets: Tensor,
    shape: Shape,
    width: int,
    n_runs: int,
    stream: Stream,
    *,
    learning_rate: float,
    n_steps: int,
) -> Float[Tensor, " r"]:
    """Share of the root mean squared error along the targets that gradient descent leaves, for each network."""
    direction = targets / targets.norm()
    left = []
    for batch in shape.batches(width, n_runs, stream):
        wanted = network_outputs(batch, points) + targets.to(batch.weights[0])
        run = train(batch, points, wanted, learning_rate=learning_rate, n_steps=n_steps)
        error = wanted - run.outputs[:, -1]
        left.append((error * direction.to(error)).sum(dim=(1, 2)) / targets.norm())
    return torch.cat(left)


# --- Networks beside the flow -------------------------------------------------------------------------------------


def networks_beside_flow(
    flow: KernelFlow,
    points: Tensor,
    targets: Tensor,
    grid: Tensor,
    cross: Tensor,
    batches: Iterator[Networks],
    *,
    learning_rate: float,
    n_steps: int,
) -> tuple[Float[Tensor, "r m"], Float[Tensor, "r m"]]:
    """Trained networks on a grid, and where the flow takes each of them from its own start."""
    times = torch.tensor([learning_rate * n_steps], dtype=torch.float64)
    trained, predicted = [], []
    for batch in batches:
        run = train(batch, points, targets, learning_rate=learning_rate, n_steps=n_steps)
        trained.append(network_outputs(run.networks, grid)[..., 0].double())
        wanted = (targets.to(run.outputs) - run.outputs[:, 0])[..., 0].double()
        moved = flow.change(wanted.T, times, cross)[0].T
        predicted.append(network_outputs(batch, grid)[..., 0].double() + moved)
    return torch.cat(trained), torch.cat(predicted)


def share_in_central_interval(
    trained: Float[Tensor, "r m"], mean: Float[Tensor, " m"], covariance: Float[Tensor, "m m"], least: float
) -> Float[Tensor, " r"]:
    """Share of each network's values between the law's 10th and 90th percentiles, where its deviation is `least`."""
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    z = ((trained - mean) / deviation)[:, deviation >= least]
    return (z.abs() < 1.2815515655446004).double().mean(dim=1)


@dataclass(frozen=True)
class Modes:
    """Errors along principal components: those of the flow, and those of each network, as shares of the start."""

    times: Float[Tensor, " t"]
    flow: Float[Tensor, "t k"]
    networks: Float[Tensor, "r t k"]
    eigenvalues: Float[Tensor, " k"]

    def rates(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "r k"]]:
        """−log(share)/t of flow and networks, at the time when the flow has left 1/e, or at the last."""
        reached = (self.flow > torch.e**-1).sum(dim=0).clamp_max(len(self.times) - 1)
        time = self.times[reached]
        kept = self.flow.gather(0, reached[None])[0]
        theirs = self.networks.gather(1, reached.expand(len(self.networks), 1, -1))[:, 0]
        return -kept.log() / time, -theirs.clamp_min(1e-6).log() / time


def decay_of_modes(
    images: Tensor,
    shape: Shape,
    modes: list[int],
    width: int,
    n_runs: int,
    stream: Stream,
    *,
    amplitude: float,
    learning_rate: float,
    n_steps: int,
) -> Modes:
    """Train towards f_0 plus some principal components, counted from 1, of mean square amplitude² each."""
    flow = kernel_flow(shape.limit(images)[1], learning_rate)
    chosen = torch.tensor(modes, device=images.device) - 1
    components = flow.components[:, chosen]
    size = amplitude * len(images) ** 0.5
    wanted = size * components.sum(dim=1, keepdim=True)
    shares = []
    for batch in shape.batches(width, n_runs, stream):
        targets = network_outputs(batch, images) + wanted.to(batch.weights[0])
        run = train(batch, images, targets, learning_rate=learning_rate, n_steps=n_steps)
        error = (targets[:, None] - run.outputs)[..., 0].double()
        shares.append(error @ components / size)
    times = learning_rate * torch.arange(n_steps + 1, dtype=torch.float64, device=images.device)
    found = torch.cat(shares), flow.eigenvalues[chosen]
    return Modes(times, flow.kept(times)[:, chosen], *found)


# --- Digits with wrong labels -------------------------------------------------------------------------------------


SETS = {"digits": load_digits, "mnist": lambda: load_mnist("train")}


def draw_images(name: str, n: int, generator: Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Some images of a set, on the sphere, and their classes."""
    images, labels = choose("images", name, SETS)()
    chosen = torch.randperm(len(images), generator=generator)[:n]
    return to_sphere(images[chosen].flatten(1).double()).to(device), labels[chosen].to(device)


@dataclass(frozen=True)
class Split:
    """Images to train on, to choose by, and to judge by; the classes of the first two are partly wrong."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def targets(self) -> Tensor:
        """One column a class: 0.9 for the class, −0.1 for the others."""
        return one_hot(self.train[1], 10).double() - 0.1


def split_with_wrong_labels(
    images: Tensor, labels: Tensor, sizes: tuple[int, int], wrong: float, generator: Generator
) -> Split:
    """Train on the first, choose by the next, judge by the rest; a share of labels is drawn anew in the first two."""
    n_seen = sum(sizes)
    drawn = torch.randint(10, (n_seen,), generator=generator).to(labels)
    spoilt = (torch.rand(n_seen, generator=generator) < wrong).to(labels.device)
    noisy = torch.cat([torch.where(spoilt, drawn, labels[:n_seen]), labels[n_seen:]])
    parts = [sizes[0], sizes[1], len(images) - n_seen]
    return Split(*zip(images.split(parts), noisy.split(parts), strict=True))


def accuracies(predictions: Float[Tensor, "p m k"], labels: Int[Tensor, " m"]) -> Float[Tensor, " p"]:
    """Share of right classes at each setting."""
    return (predictions.argmax(dim=2) == labels).double().mean(dim=1)


@dataclass(frozen=True)
class Path:
    """Accuracies along one parameter of strength: on the partly wrong validation labels, and on the test."""

    validation: Float[Tensor, " p"]
    test: Float[Tensor, " p"]

    @property
    def chosen(self) -> Tensor:
        """Test accuracy where the validation's is best, the first of equals."""
        return self.test[self.validation.argmax()]


def _path(split: Split, predict: Callable[[Tensor], Tensor]) -> Path:
    both = (split.validation, split.test)
    return Path(*(accuracies(predict(images), labels) for images, labels in both))


def stopping_path(split: Split, shape: Shape, times: Tensor) -> Path:
    """Infinitely wide networks in training, their mean, at each time."""
    flow = kernel_flow(shape.limit(split.train[0])[1])
    return _path(
        split, lambda images: flow.change(split.targets, times, shape.tangent_kernel(images, split.train[0]))
    )


def ridge_path(split: Split, kernel: Callable[[Tensor, Tensor], Tensor], penalties: Tensor) -> Path:
    """Kernel ridge regression at each penalty."""
    inputs = split.train[0]
    own = kernel(inputs, inputs)
    return _path(split, lambda images: kernel_ridge(own, kernel(images, inputs), split.targets, penalties))


def gaussian_paths(split: Split, lengthscales: list[float], penalties: Tensor) -> Path:
    """The same with Gaussian kernels of several widths, in units of √d, one after the other."""
    scale = split.train[0].shape[1] ** 0.5
    paths = [
        ridge_path(split, lambda x, z, s=s: gaussian_kernel(x, z, lengthscale=s * scale), penalties)
        for s in lengthscales
    ]
    return Path(torch.cat([p.validation for p in paths]), torch.cat([p.test for p in paths]))


def stopped_networks(
    split: Split, networks: Networks, learning_rate: float, checkpoints: list[int]
) -> Float[Tensor, "r checkpoints"]:
    """Test accuracy of finite networks after so many steps, less their outputs at the start."""
    images, labels = split.test
    start = network_outputs(networks, images)
    targets = network_outputs(networks, split.train[0]) + split.targets.to(start)
    found, done = [], 0
    for step in checkpoints:
        run = train(networks, split.train[0], targets, learning_rate=learning_rate, n_steps=step - done)
        networks, done = run.networks, step
        found.append(accuracies(network_outputs(networks, images) - start, labels))
    return torch.stack(found, dim=1)
