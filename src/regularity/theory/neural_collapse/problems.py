"""Networks that are trained side by side, each with weight decays of its own for its feature layers and its head."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, one_hot

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_not_negative,
    check_positive,
    check_squares,
)
from regularity.foundations.choices import choose


@dataclass(frozen=True)
class Networks:
    """Fully connected ReLU networks of one shape, r of them; the head, the last of the weights, has no bias."""

    weights: tuple[Float[Tensor, "r _ _"], ...]
    biases: tuple[Float[Tensor, "r _"], ...]


def draw_networks(
    widths: list[int], *, n_runs: int, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Networks:
    """Draw weights and biases uniformly within ±1/√(inputs of the layer), as torch's own linear layers do.

    Raises
    ------
    ValueError
        If there are fewer than three widths (no hidden layer), or one is below 1.
    """
    check_at_least("the number of widths", len(widths), 3)
    check_at_least("the smallest of widths", min(widths), 1)
    check_at_least("n_runs", n_runs, 1)

    def draw(n_in: int, *shape: int) -> Tensor:
        uniform = torch.rand(n_runs, *shape, generator=generator)
        return ((2 * uniform - 1) / n_in**0.5).to(device)

    pairs = list(pairwise(widths))
    weights = tuple(draw(n_in, n_in, n_out) for n_in, n_out in pairs)
    return Networks(weights, tuple(draw(n_in, n_out) for n_in, n_out in pairs[:-1]))


def features_of(networks: Networks, inputs: Float[Tensor, "*r n d"]) -> Float[Tensor, "r n m"]:
    """Activations of the last hidden layer, which the head reads."""
    (inputs,) = as_floats(inputs=inputs)
    weights = networks.weights[0]
    if inputs.ndim < 2 or inputs.shape[-1] != weights.shape[1]:
        raise ValueError(f"inputs must have {weights.shape[1]} columns; got shape {tuple(inputs.shape)}")
    inputs = inputs.to(weights)
    check_squares("inputs", inputs)
    return _features(networks, inputs.expand(len(weights), *inputs.shape[-2:]))


def _features(networks: Networks, hidden: Tensor) -> Tensor:
    for weights, biases in zip(networks.weights, networks.biases, strict=False):
        hidden = torch.baddbmm(biases[:, None, :], hidden, weights).relu()
    return hidden


def _squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return 0.5 * (outputs - one_hot(labels, outputs.shape[-1])).square().sum(dim=-1)


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(outputs.mT, labels, reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"squares": _squares, "cross_entropy": _cross_entropy}


def train_networks(
    networks: Networks,
    inputs: Float[Tensor, "r n d"],
    labels: Int[Tensor, "r n"],
    *,
    feature_decay: Float[Tensor, " r"],
    head_decay: Float[Tensor, " r"],
    learning_rate: float,
    n_steps: int,
    batch_size: int | None = None,
    loss: str = "squares",
    generator: Generator | None = None,
) -> Networks:
    """Train by gradient descent with momentum 0.9, each network on images and with weight decays of its own.

    Parameters
    ----------
    networks
        Where to start; they stay as they are.
    inputs, labels
        Images and classes of each network.
    feature_decay, head_decay
        Weight decays of the hidden layers (their biases too) and of the head: added to the gradient, as in the
        paper, which makes them prices λ/2 of squared weights.
    learning_rate
        Until 60 % of the steps; a tenth until 85 %, then a hundredth.
    n_steps, batch_size
        Steps, and images in each, the same places for all networks; None: all images.
    loss
        "squares" (half the squared distance from the one-hot target) or "cross_entropy", averaged over images.
    generator
        Source of the batches.

    Returns
    -------
    The trained networks.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or one is out of range.
    FloatingPointError
        If the training diverges.
    """
    check_positive("learning_rate", learning_rate)
    check_at_least("n_steps", n_steps, 1)
    loss_of = choose("loss", loss, LOSSES)
    weights = [part.clone().requires_grad_() for part in (*networks.weights, *networks.biases)]
    n_layers, r = len(networks.weights), len(weights[0])
    inputs, feature_decay, head_decay = as_floats(
        inputs=inputs, feature_decay=feature_decay, head_decay=head_decay
    )
    if inputs.shape[:1] != (r,) or inputs.ndim != 3 or inputs.shape[2] != weights[0].shape[1]:
        raise ValueError(f"inputs must be ({r}, n, {weights[0].shape[1]}); got {tuple(inputs.shape)}")
    if labels.shape != inputs.shape[:2]:
        raise ValueError(f"labels must be {tuple(inputs.shape[:2])}; got {tuple(labels.shape)}")
    for name, decay in {"feature_decay": feature_decay, "head_decay": head_decay}.items():
        check_not_negative(name, decay)
        if decay.shape != (r,):
            raise ValueError(f"{name} must be one number a network, {r}; got shape {tuple(decay.shape)}")
    check_squares("inputs", inputs.to(weights[0]))
    inputs, labels = inputs.to(weights[0]), labels.long()
    decays = [head_decay if layer == n_layers - 1 else feature_decay for layer in range(len(weights))]
    decays = [d.to(w).reshape(r, *[1] * (w.ndim - 1)) for d, w in zip(decays, weights, strict=True)]
    momenta = [torch.zeros_like(part) for part in weights]
    n = inputs.shape[1]
    batch_size, order = min(batch_size or n, n), torch.arange(n)
    check_at_least("batch_size", batch_size, 1)
    for step in range(n_steps):
        rate = learning_rate * (1.0 if step < 0.6 * n_steps else 0.1 if step < 0.85 * n_steps else 0.01)
        first = step * batch_size % (n // batch_size * batch_size)
        if batch_size < n and first == 0:
            order = torch.randperm(n, generator=generator).to(inputs.device)
        batch = slice(None) if batch_size == n else order[first : first + batch_size]
        hidden = _features(Networks(tuple(weights[:n_layers]), tuple(weights[n_layers:])), inputs[:, batch])
        value = loss_of(hidden @ weights[n_layers - 1], labels[:, batch]).mean(dim=1).sum()
        gradients = torch.autograd.grad(value, weights)
        with torch.no_grad():
            for part, gradient, momentum, decay in zip(weights, gradients, momenta, decays, strict=True):
                momentum.mul_(0.9).add_(gradient).addcmul_(part, decay)
                part.sub_(momentum, alpha=rate)
    if not bool(torch.isfinite(value)):
        raise FloatingPointError(f"training diverged; learning_rate must be smaller than {learning_rate}")
    trained = [part.detach() for part in weights]
    return Networks(tuple(trained[:n_layers]), tuple(trained[n_layers:]))
