"""The chapter's runs: real images in the model, inputs near collapse, networks by depth and by weight decay."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from torch import Generator, Tensor

from regularity.data import load_cifar, load_mnist
from regularity.foundations.choices import choose
from regularity.theory.neural_collapse.method import (
    Collapse,
    FeatureModel,
    collapsed_minimiser,
    minimise,
    neural_collapse_metrics,
    perturbation_operator,
)
from regularity.theory.neural_collapse.problems import Networks, draw_networks, features_of, train_networks

Stream = Callable[..., Generator]

# --- Images -------------------------------------------------------------------------------------------------------


def _digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.as_tensor(images).float() / 16, torch.as_tensor(labels)


SETS = {"digits": _digits, "mnist": lambda: load_mnist("train"), "cifar10": lambda: load_cifar(10, "train")}


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


def random_features(images: Float[Tensor, "n d"], generator: Generator) -> Float[Tensor, "n d"]:
    """A layer of as many ReLUs as pixels, with Gaussian weights of variance 2/d, in double precision."""
    d = images.shape[1]
    weights = torch.randn(d, d, generator=generator, dtype=torch.float64) * (2 / d) ** 0.5
    return (images.double() @ weights.to(images.device)).relu()


# --- The model ----------------------------------------------------------------------------------------------------


def nc1_of_minimisers(
    inputs: Tensor, labels: Tensor, model: FeatureModel, betas: list[float]
) -> Float[Tensor, " b"]:
    """NC1 (by traces) of the features that minimise the model, for each price of leaving the inputs."""
    found = [
        minimise(inputs, labels, FeatureModel(model.lambda_w, model.lambda_h, beta)).features
        for beta in betas
    ]
    return neural_collapse_metrics(torch.stack(found), labels).nc1_trace


def nc1_of_layers(inputs: Tensor, labels: Tensor, model: FeatureModel, n_layers: int) -> Float[Tensor, " l"]:
    """NC1 (by traces) when the minimiser of one layer is the input of the next; the first is that of the inputs."""
    layers = [inputs]
    for _ in range(n_layers):
        layers.append(minimise(layers[-1], labels, model).features)
    return neural_collapse_metrics(torch.stack(layers), labels).nc1_trace


def doubling_effects(
    inputs: Callable[[FeatureModel], Tensor], labels: Tensor, model: FeatureModel
) -> dict[str, float]:
    """β times what doubling each price adds to log(NC1 out/NC1 in), by numerical minimisers."""

    def fall(lambda_w: float, lambda_h: float) -> float:
        changed = FeatureModel(lambda_w, lambda_h, model.beta)
        start = inputs(changed)
        both = torch.stack([start, minimise(start, labels, changed, tolerance=1e-13).features])
        before, after = neural_collapse_metrics(both, labels).nc1_trace
        return (after / before).log().item()

    base = fall(model.lambda_w, model.lambda_h)
    doubled = {
        "λ_H": fall(model.lambda_w, 2 * model.lambda_h),
        "λ_W": fall(2 * model.lambda_w, model.lambda_h),
    }
    return {name: model.beta * (value - base) for name, value in doubled.items()}


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

    def blocks(self, model: FeatureModel) -> Float[Tensor, "k k m m"]:
        """Theorem 4.1's operator at the collapsed minimiser, cut into blocks of classes."""
        base = collapsed_minimiser(self.basis, self.labels, model)
        operator = perturbation_operator(base.features, base.head, self.labels, model)
        k = len(self.basis)
        m = len(operator) // k
        return operator.reshape(k, m, k, m).permute(0, 2, 1, 3)


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
