"""The chapter's runs: real images in the model, inputs near collapse, networks by depth and by weight decay."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from regularity.data import load_cifar, load_digits, load_mnist
from regularity.foundations.choices import choose
from regularity.foundations.randomness import Stream
from regularity.theory.neural_collapse.method import (
    Collapse,
    FeatureModel,
    collapsed_minimiser,
    first_order,
    minimise,
    near_collapse_response,
    neural_collapse_metrics,
    one_hot_targets,
    perturbation_operator,
)
from regularity.theory.neural_collapse.problems import Networks, draw_networks, features_of, train_networks

# --- Images -------------------------------------------------------------------------------------------------------


SETS = {
    "digits": load_digits,
    "mnist": lambda: load_mnist("train"),
    "cifar10": lambda: load_cifar(10, "train"),
}


def draw_images(
    name: str, per_class: int, generator: Generator, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """Draw equally many images of each class of a set, class after class, less their mean; and their classes."""
    images, labels = choose("images", name, SETS)()
    images = images.flatten(1)
    order = torch.randperm(len(labels), generator=generator)
    classes = [order[labels[order] == label][:per_class] for label in range(10)]
    fewest = min(map(len, classes))
    if fewest < per_class:
        raise ValueError(f"per_class must be at most {fewest} for {name}; got {per_class}")
    chosen = torch.cat(classes)
    return (images[chosen] - images[chosen].mean(dim=0)).to(device), labels[chosen].to(device)


def draw_sets(
    name: str, n_sets: int, per_class: int, stream: Stream, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "r n d"], Int[Tensor, "r n"]]:
    """Draw images for each of several networks."""
    sets = [draw_images(name, per_class, stream("images", number), device) for number in range(n_sets)]
    return torch.stack([images for images, _ in sets]), torch.stack([labels for _, labels in sets])


def random_features(images: Float[Tensor, "n d"], generator: Generator) -> Float[Tensor, "n d"]:
    """A layer of as many ReLUs as pixels, with Gaussian weights of variance 2/d, in double precision."""
    d = images.shape[1]
    weights = torch.randn(d, d, generator=generator, dtype=torch.float64) * (2 / d) ** 0.5
    return (images.double() @ weights.to(images.device)).relu()


# --- The model ----------------------------------------------------------------------------------------------------


def ratios_of_minimisers(
    inputs: Tensor, labels: Tensor, model: FeatureModel, betas: list[float]
) -> Float[Tensor, " b"]:
    """Scatter ratio of the features that minimise the model, for each price of leaving the inputs."""
    found = [minimise(inputs, labels, replace(model, beta=beta)).features for beta in betas]
    return neural_collapse_metrics(torch.stack(found), labels).nc1_trace


def ratios_of_layers(
    inputs: Tensor, labels: Tensor, model: FeatureModel, n_layers: int
) -> Float[Tensor, " l"]:
    """Scatter ratio when the minimiser of one layer is the input of the next; the first is that of the inputs."""
    layers = [inputs]
    for _ in range(n_layers):
        layers.append(minimise(layers[-1], labels, model).features)
    return neural_collapse_metrics(torch.stack(layers), labels).nc1_trace


@dataclass(frozen=True)
class Scatters:
    """Along a path: the scatter ratio, and both traces with the shrinking by λ_H taken out."""

    ratio: Float[Tensor, " t"]
    within: Float[Tensor, " t"]
    between: Float[Tensor, " t"]

    def worst_step(self) -> float:
        """Largest step, in logarithms, of what must fall, and of what must rise with the sign turned."""
        steps = (part.log().diff() for part in (self.ratio, self.within, 1 / self.between))
        return max(step.max().item() for step in steps)

    def ratio_share(self) -> float:
        """Last ratio over the first."""
        return (self.ratio[-1] / self.ratio[0]).item()


def scatters(
    path: Float[Tensor, "t n d"], labels: Int[Tensor, " n"], lambda_h: float, times: Float[Tensor, " t"]
) -> Scatters:
    """Measure a central path; exp(2 λ_H t) is taken out of both traces."""
    ratio = neural_collapse_metrics(path, labels).nc1_trace
    targets = one_hot_targets(labels, len(labels)).to(path)
    means = targets.T @ path * (targets.shape[1] / len(labels))
    between = (means - means.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2)) / targets.shape[1]
    growth = torch.exp(2 * lambda_h * times.to(path))
    return Scatters(ratio, growth * ratio * between, growth * between)


def doubling_effects(
    inputs: Callable[[FeatureModel], Tensor], labels: Tensor, model: FeatureModel
) -> dict[str, float]:
    """What doubling each price adds to log(scatter ratio out/scatter ratio in), by numerical minimisers."""

    def fall(changed: FeatureModel) -> float:
        start = inputs(changed)
        both = torch.stack([start, minimise(start, labels, changed, tolerance=1e-13).features])
        before, after = neural_collapse_metrics(both, labels).nc1_trace
        return (after / before).log().item()

    base = fall(model)
    doubled = {
        "λ_H": replace(model, lambda_h=2 * model.lambda_h),
        "λ_W": replace(model, lambda_w=2 * model.lambda_w),
    }
    return {name: fall(changed) - base for name, changed in doubled.items()}


class NearCollapse:
    """Collapsed inputs with a small Gaussian change: k classes of `per_class` samples in d dimensions."""

    def __init__(self, k: int, d: int, per_class: int, generator: Generator) -> None:
        self.labels = torch.arange(k).repeat_interleave(per_class)
        normal = torch.randn(d, k, generator=generator, dtype=torch.float64)
        self.basis = torch.linalg.qr(normal)[0].T.contiguous()
        self.change = torch.randn(k * per_class, d, generator=generator, dtype=torch.float64)

    def inputs(self, model: FeatureModel, size: float) -> Tensor:
        """The collapsed minimiser, changed by `size` times the root of its own mean square."""
        base = collapsed_minimiser(self.basis, self.labels, model).features
        return base + size * base.square().mean().sqrt() * self.change

    def first_order_blocks(self, model: FeatureModel) -> Float[Tensor, "k k m m"]:
        """Operator of Theorem 4.1 at the collapsed minimiser, to first order in 1/β, in blocks of classes."""
        base = collapsed_minimiser(self.basis, self.labels, model)
        operator = first_order(perturbation_operator(base.features, base.head, self.labels, model))
        k = len(self.basis)
        m = len(operator) // k
        return operator.reshape(k, m, k, m).permute(0, 2, 1, 3)

    def error_of_response(self, model: FeatureModel, size: float) -> float:
        """Relative error of the closed form, for changes of this size, against the minimiser found by turns."""
        base = collapsed_minimiser(self.basis, self.labels, model).features
        change = self.inputs(model, size) - base
        found = minimise(base + change, self.labels, model, tolerance=1e-14).features - base
        return (
            (found - near_collapse_response(change, self.basis, self.labels, model)).norm() / found.norm()
        ).item()


# --- Networks -----------------------------------------------------------------------------------------------------


def collapse_of(features: Float[Tensor, "r n d"], labels: Int[Tensor, "r n"]) -> Collapse:
    """Measures of several networks, whose images have their classes in the same places."""
    if not bool((labels == labels[0]).all()):
        raise ValueError("labels must be the same for all networks; got others")
    return neural_collapse_metrics(features, labels[0])


def layerwise_collapse(
    images: Float[Tensor, "r n d"],
    labels: Int[Tensor, "r n"],
    *,
    width: int,
    n_layers: int,
    decay: float,
    stream: Stream,
    **training: float | int | str | None,
) -> dict[str, Collapse]:
    """Train a layer with a head, freeze it, train the next on its features; beside it layers that are not trained.

    Returns
    -------
    For "trained" and "random" layers, the measures (layers + 1, r) from the images on.
    """
    r = len(images)
    decays = {"feature_decay": torch.full((r,), decay), "head_decay": torch.full((r,), decay)}
    found: dict[str, list[Tensor]] = {"trained": [images], "random": [images]}
    for layer in range(n_layers):
        for name, hidden in found.items():
            widths = [hidden[-1].shape[2], width, 10]
            drawn = draw_networks(widths, n_runs=r, generator=stream("layer", layer), device=images.device)
            if name == "trained":
                source = stream("batches", layer)
                drawn = train_networks(drawn, hidden[-1], labels, generator=source, **decays, **training)
            hidden.append(features_of(drawn, hidden[-1]))
    measures = {name: [collapse_of(h, labels) for h in hidden] for name, hidden in found.items()}
    return {name: Collapse(*_stacked(layers)) for name, layers in measures.items()}


def _stacked(found: list[Collapse]) -> list[Tensor]:
    names = ("nc1_trace", "nc1", "nc2")
    return [torch.stack([getattr(part, name) for part in found]).cpu() for name in names]


DECAYS: Mapping[str, tuple[float, float]] = {
    "equal": (1.0, 1.0),
    "double features": (2.0, 1.0),
    "double head": (1.0, 2.0),
    "zero features": (0.0, 1.0),
    "zero head": (1.0, 0.0),
}


def collapse_by_decay(
    images: Float[Tensor, "r n d"],
    labels: Int[Tensor, "r n"],
    *,
    hidden: list[int],
    decay: float,
    settings: list[str],
    generator: Generator,
    **training: float | int | str | None,
) -> tuple[Collapse, Float[Tensor, "s r"]]:
    """Train the same networks on the same images with several pairs of weight decays, all side by side.

    Returns
    -------
    The measures (settings, r) on the training images, and the share of these that each network gets right.
    """
    r, s = len(images), len(settings)
    start = draw_networks([images.shape[2], *hidden, 10], n_runs=r, generator=generator, device=images.device)
    copies = Networks(
        *(tuple(p.repeat(s, *[1] * (p.ndim - 1)) for p in kind) for kind in vars(start).values())
    )
    factors = decay * torch.tensor([choose("settings", name, DECAYS) for name in settings])
    feature_decay, head_decay = factors.repeat_interleave(r, dim=0).T
    inputs, classes = images.repeat(s, 1, 1), labels.repeat(s, 1)
    trained = train_networks(
        copies, inputs, classes, feature_decay=feature_decay, head_decay=head_decay, **training
    )
    features = features_of(trained, inputs)
    right = ((features @ trained.weights[-1]).argmax(dim=2) == classes).double().mean(dim=1)
    found = collapse_of(features, classes)
    measures = (getattr(found, name).reshape(s, r).cpu() for name in ("nc1_trace", "nc1", "nc2"))
    return Collapse(*measures), right.reshape(s, r).cpu()
