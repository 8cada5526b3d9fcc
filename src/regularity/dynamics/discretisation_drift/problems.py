"""What is minimised, played and learned: a loss in the plane, three games, and networks on bundled data."""

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, one_hot

from regularity.data import load_digits
from regularity.dynamics.discretisation_drift.method import Game, Loss, game_of
from regularity.foundations.checks import as_floats, check_at_least, check_finite, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.curvature import flat_parameters

# --- In the plane ------------------------------------------------------------------------------------------------


def banana(point: Float[Tensor, " 2"]) -> Float[Tensor, ""]:
    """A bent valley, 0.1 (1 − x)² + 0.5 (y − x²)²; the point may be complex."""
    if point.shape[-1:] != (2,):
        raise ValueError(f"point must have two coordinates; got shape {tuple(point.shape)}")
    x, y = point.unbind(-1)
    return 0.1 * ((1 - x) ** 2 + 5 * (y - x**2) ** 2)


def spiral(damping: float) -> Game:
    """Two players on a circle: f = ψ − εφ and q = −φ − εψ, drawn to the origin by ε alone."""
    return lambda first, second: (second - damping * first, -first - damping * second)


def polynomial_game(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """A game with a sum that is not zero, and with curvature."""
    return -(0.7 * first + 1.1 * second + 0.3 * second**2), -(0.5 * second - 0.9 * first + 0.3 * first**2)


def dirac_gan() -> Game:
    """The smallest GAN: a generator at φ, data at 0, a discriminator of slope ψ; the value is log σ(φψ).

    Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge?
    """
    return game_of(lambda a, b: logsigmoid(a * b).sum(), lambda a, b: -logsigmoid(a * b).sum())


# --- Data ----------------------------------------------------------------------------------------------------------


def tumours(n_rows: int, n_features: int) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Wisconsin's breast tumours: leading principal components of the standardised features, and who is benign."""
    check_at_least("n_rows", n_rows, n_features)
    features, labels = load_breast_cancer(return_X_y=True)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    components = PCA(n_features, svd_solver="full").fit_transform(standard)
    return torch.as_tensor(components[:n_rows].copy()), torch.as_tensor(labels[:n_rows]).double()


def digits(generator: torch.Generator) -> tuple[Float[Tensor, "n 64"], Int[Tensor, " n"]]:
    """The bundled digits, one a row, in random order."""
    images, labels = load_digits()
    order = torch.randperm(len(labels), generator=generator)
    return images.flatten(1)[order], labels[order]


# --- Networks as functions of a flat point --------------------------------------------------------------------------

FITS = {
    "logistic": lambda outputs, labels: binary_cross_entropy_with_logits(outputs[..., 0], labels),
    "squares": lambda outputs, labels: (
        (outputs - one_hot(labels, outputs.shape[-1])).square().sum(dim=-1).mean() / 2
    ),
    "cross-entropy": cross_entropy,
}


def perceptron(
    sizes: Sequence[int], activation: type[nn.Module] = nn.Tanh
) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
    """Number of weights of a multilayer perceptron, and ``call(point, inputs)``."""
    layers = [part for two in itertools.pairwise(sizes) for part in (nn.Linear(*two), activation())]
    point, call = flat_parameters(nn.Sequential(*layers[:-1]))
    return len(point), call


def network_loss(call: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, labels: Tensor, fit: str) -> Loss:
    """Mean loss over the rows, "logistic", "squares" or "cross-entropy", as a function of the point."""
    judge = choose("fit", fit, FITS)
    (inputs,) = as_floats(inputs=inputs)
    check_finite("labels", labels)
    return lambda point: judge(call(point, inputs), labels)


def draw_points(
    sizes: Sequence[int], n_runs: int, generator: torch.Generator, gain: float = 1.0
) -> Float[Tensor, "runs d"]:
    """Initial weights of `perceptron`, normal with variance gain²/inputs; biases zero."""
    check_positive("gain", gain)
    pieces = []
    for before, after in itertools.pairwise(sizes):
        weights = torch.randn(n_runs, before * after, generator=generator) * gain / before**0.5
        pieces += [weights, torch.zeros(n_runs, after)]
    return torch.cat(pieces, dim=1)
