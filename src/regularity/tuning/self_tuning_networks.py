"""Self-tuning networks: learn the regularisation's strengths while the network trains, in one run.

Matthew MacKay, Paul Vicol, Jonathan Lorraine, David Duvenaud and Roger Grosse, "Self-Tuning Networks: Bilevel
Optimization of Hyperparameters using Structured Best-Response Functions", ICLR 2019, arXiv 1903.03088.

`HyperLinear`, `HyperConv2d` and `HyperLSTMCell` have weights that are affine in the hyperparameters; `training_step`
fits them around the present hyperparameters, `validation_step` moves the hyperparameters through them, and
`train_self_tuning` alternates the two. `train_fixed` is the baseline. Every tensor has a leading axis of independent
runs, which are computed at once. `gated_best_response` and `affine_best_response` are the exact cases.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regularity.foundations.checks import check_at_least, check_positive

Loss = Callable[[Float[Tensor, "runs batch h"]], Float[Tensor, " runs"]]

# --- Hyperparameters ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hyperparameter:
    """A number between bounds, seen by the optimiser as a free number: η = low + (high − low)·sigmoid(λ).

    Attributes
    ----------
    name
        What a network or an augmentation looks it up by, such as "dropout 1" or "decay".
    low, high
        The bounds, in its own unit; a discrete one takes both.
    start
        Where the tuning starts, strictly between the bounds (a discrete one may start on them).
    discrete
        Whether it is an integer: the stretched sigmoid is rounded down.
    logarithmic
        Whether its logarithm is what the sigmoid stretches.

    Raises
    ------
    ValueError
        If the bounds are not in order, the start is not between them, or a logarithmic one reaches zero.

    Examples
    --------
    >>> rate = Hyperparameter("dropout 1", 0.0, 0.9, start=0.05)
    >>> round(rate.constrain(torch.tensor(rate.unconstrain(0.3))).item(), 6)
    0.3
    """

    name: str
    low: int | float
    high: int | float
    start: int | float
    discrete: bool = False
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if self.high < self.low or (self.high == self.low and not self.discrete):
            raise ValueError(f"high of {self.name} must be above its low, {self.low:g}; got {self.high:g}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"low of {self.name} must be positive; got {self.low:g}")
        self.unconstrain(self.start)

    def constrain(self, unconstrained: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map free numbers to values between the bounds.

        Parameters
        ----------
        unconstrained
            λ, any numbers.

        Returns
        -------
        η(λ), in the hyperparameter's own unit.
        """
        share = torch.sigmoid(unconstrained)
        if self.discrete:
            return (self.low + (self.high + 1 - self.low) * share).floor().clamp(max=self.high)
        if self.logarithmic:
            return torch.exp(math.log(self.low) + math.log(self.high / self.low) * share)
        return self.low + (self.high - self.low) * share

    def unconstrain(self, value: int | float) -> float:
        """Map a value to the free number that stands for it; an integer to the middle of its interval.

        Parameters
        ----------
        value
            η, between the bounds.

        Returns
        -------
        λ.

        Raises
        ------
        ValueError
            If the value is not strictly between the bounds: λ would be infinite.
        """
        if self.discrete:
            share = (value + 0.5 - self.low) / (self.high + 1 - self.low)
        elif self.logarithmic and value > 0:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        if not 0 < share < 1:
            bounds = f"{self.low:g}, {self.high:g}"
            where = f"in [{bounds}]" if self.discrete else f"strictly in ({bounds})"
            raise ValueError(f"{self.name} must lie {where}; got {value:g}")
        return math.log(share / (1 - share))


def constrain(
    hyperparameters: Sequence[Hyperparameter], unconstrained: Float[Tensor, "*shape h"]
) -> dict[str, Float[Tensor, "*shape"]]:
    """Map vectors λ of free numbers to named values η.

    Parameters
    ----------
    hyperparameters
        One for each entry of λ.
    unconstrained
        λ in the last axis.

    Returns
    -------
    The values by name.

    Raises
    ------
    ValueError
        If λ has another length than the list.
    """
    if unconstrained.shape[-1] != len(hyperparameters):
        raise ValueError(
            f"unconstrained must have {len(hyperparameters)} entries, one a hyperparameter; "
            f"got {unconstrained.shape[-1]}"
        )
    return {each.name: each.constrain(unconstrained[..., i]) for i, each in enumerate(hyperparameters)}


def starting_point(hyperparameters: Sequence[Hyperparameter], n_runs: int = 1) -> Float[Tensor, "runs h"]:
    """Collect the free numbers of all starts, the same for each run.

    Parameters
    ----------
    hyperparameters
        What is tuned.
    n_runs
        Number of independent runs.

    Returns
    -------
    λ at the start.
    """
    return torch.tensor([each.unconstrain(each.start) for each in hyperparameters]).repeat(n_runs, 1)


# --- Layers whose weights respond to the hyperparameters ----------------------------------------------------------


class _HyperLayer(nn.Module):
    """Weights W(λ) = W_e + (Vλ) ⊙_row W_h and biases b(λ) = b_e + (Cλ) ⊙ b_h, stacked in this order."""

    def __init__(
        self,
        shape: Sequence[int],
        n_hyperparameters: int,
        n_runs: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        check_at_least("n_runs", n_runs, 1)
        check_at_least("every size", min(shape), 1)
        check_at_least("n_hyperparameters", n_hyperparameters, 0)
        self.n_hyperparameters, n_out = n_hyperparameters, shape[0]
        n_stacked = 2 * n_out if n_hyperparameters else n_out
        bound = 1 / math.sqrt(math.prod(shape[1:]))

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        self.weight = uniform(n_runs, n_stacked, *shape[1:])
        self.bias = uniform(n_runs, n_stacked)
        self.scalars = nn.Parameter(  # V above C
            0.01 * torch.randn(n_runs, 2 * n_out, n_hyperparameters, generator=generator)
        )

    def _scales(self, unconstrained: Tensor) -> tuple[Tensor, Tensor]:
        """Vλ and Cλ, one each for a row of the weights, for every example."""
        if unconstrained.shape[-1] != self.n_hyperparameters:
            raise ValueError(
                f"unconstrained must have {self.n_hyperparameters} entries; got {unconstrained.shape[-1]}"
            )
        return (unconstrained @ self.scalars.mT).chunk(2, dim=-1)

    def _respond(self, products: Tensor, unconstrained: Tensor) -> Tensor:
        """W_e x + b_e + (Vλ) ⊙ (W_h x) + (Cλ) ⊙ b_h, out of the products of both weights with x."""
        everywhere = (..., *(None,) * (products.ndim - 3))
        if not self.n_hyperparameters:
            return products + self.bias[:, None][everywhere]
        weight_scale, bias_scale = self._scales(unconstrained)
        elementary, response = products.chunk(2, dim=2)
        bias, bias_response = self.bias[:, None].chunk(2, dim=-1)
        bias = bias + bias_scale * bias_response
        return torch.addcmul(elementary, weight_scale[everywhere], response) + bias[everywhere]

    def squared_norm(self, unconstrained: Float[Tensor, "runs batch h"]) -> Float[Tensor, "runs batch"]:
        """Compute |W(λ)|² for every example, by three products a row and without any example's weights.

        Parameters
        ----------
        unconstrained
            λ of each example.

        Returns
        -------
        The sum over rows of |W_e|² + 2s⟨W_e, W_h⟩ + s²|W_h|², with s = Vλ.
        """
        rows = self.weight.flatten(2)
        if not self.n_hyperparameters:
            return rows.square().sum(dim=(1, 2))[:, None].expand(unconstrained.shape[:2])
        elementary, response = rows.chunk(2, dim=1)
        scale, _ = self._scales(unconstrained)
        cross = (elementary * response).sum(dim=-1)[:, None]
        curved = response.square().sum(dim=-1)[:, None]
        return elementary.square().sum(dim=(1, 2))[:, None] + (scale * (2 * cross + scale * curved)).sum(
            dim=-1
        )


class HyperLinear(_HyperLayer):
    """A linear layer whose weights are affine in the hyperparameters: two matrix products for any mix of λ.

    Parameters
    ----------
    in_features, out_features
        Sizes of the layer.
    n_hyperparameters
        Length of λ; with 0 it is a plain linear layer.
    n_runs
        Number of independent layers.
    generator
        Source of the initial weights.

    Raises
    ------
    ValueError
        If a size is not positive.

    References
    ----------
    MacKay et al. (2019), Self-tuning networks, Section 3.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__((out_features, in_features), n_hyperparameters, n_runs, generator)

    def forward(
        self, inputs: Float[Tensor, "runs batch m"], unconstrained: Float[Tensor, "runs batch h"]
    ) -> Float[Tensor, "runs batch n"]:
        """Apply to each example the layer of its own hyperparameters.

        Parameters
        ----------
        inputs
            One row an example.
        unconstrained
            λ of each example.

        Returns
        -------
        W(λ)x + b(λ).
        """
        return self._respond(inputs @ self.weight.mT, unconstrained)


class HyperConv2d(_HyperLayer):
    """A convolution that keeps the images' size, with one scalar an output channel; the rest as for `HyperLinear`.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the images.
    kernel_size
        Side of the kernel, odd.
    n_hyperparameters, n_runs, generator
        As for `HyperLinear`.

    Raises
    ------
    ValueError
        If a size is not positive, or the kernel's is even.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd; got {kernel_size}")
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        super().__init__(shape, n_hyperparameters, n_runs, generator)

    def forward(
        self, images: Float[Tensor, "runs batch c h w"], unconstrained: Float[Tensor, "runs batch k"]
    ) -> Float[Tensor, "runs batch n h w"]:
        """Apply to each image the convolution of its own hyperparameters.

        Parameters
        ----------
        images
            Images of one size.
        unconstrained
            λ of each image.

        Returns
        -------
        Images of the same size.
        """
        n_runs, padding = len(images), self.weight.shape[-1] // 2
        # One group a run: a single convolution serves all runs.
        products = functional.conv2d(
            images.transpose(0, 1).flatten(1, 2), self.weight.flatten(0, 1), padding=padding, groups=n_runs
        )
        return self._respond(products.unflatten(1, (n_runs, -1)).transpose(0, 1), unconstrained)


class HyperLSTMCell(nn.Module):
    """A long short-term memory cell all of whose gates respond to the hyperparameters.

    Parameters
    ----------
    in_features, n_hidden
        Sizes of the input and of the state.
    n_hyperparameters, n_runs, generator
        As for `HyperLinear`.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Long short-term memory; Gers et al. (2000), Learning to forget.
    """

    def __init__(
        self,
        in_features: int,
        n_hidden: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        options = {"n_runs": n_runs, "generator": generator}
        self.from_input = HyperLinear(in_features, 4 * n_hidden, n_hyperparameters, **options)
        self.from_hidden = HyperLinear(n_hidden, 4 * n_hidden, n_hyperparameters, **options)

    def forward(
        self,
        driven: Float[Tensor, "runs batch gates"],
        state: tuple[Float[Tensor, "runs batch n"], Float[Tensor, "runs batch n"]],
        unconstrained: Float[Tensor, "runs batch h"],
    ) -> tuple[Float[Tensor, "runs batch n"], Float[Tensor, "runs batch n"]]:
        """Take one step.

        Parameters
        ----------
        driven
            The input's part of the four gates, `from_input` of the input: all steps' in one product.
        state
            Hidden state and memory.
        unconstrained
            λ of each example.

        Returns
        -------
        The new hidden state and memory.
        """
        hidden, memory = state
        gates = driven + self.from_hidden(hidden, unconstrained)
        enters, stays, candidate, leaves = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(stays) * memory + torch.sigmoid(enters) * torch.tanh(candidate)
        return torch.sigmoid(leaves) * torch.tanh(memory), memory


# --- Networks, and what regularises them --------------------------------------------------------------------------


def dropout(
    inputs: Float[Tensor, "runs batch *shape"],
    rate: Float[Tensor, "runs batch"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "runs batch *shape"]:
    """Set entries to zero, at each example's own rate, and scale the others up.

    Parameters
    ----------
    inputs
        Anything, an example each in the second axis.
    rate
        Probability of being set to zero, in [0, 1).
    generator
        Source of randomness.

    Returns
    -------
    The inputs with gaps, the same on average.
    """
    keep = 1 - rate[(..., *(None,) * (inputs.ndim - 2))]
    drawn = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
    return inputs * (drawn < keep) / keep


def augment(
    images: Float[Tensor, "runs batch side width"],
    values: Mapping[str, Float[Tensor, "runs batch"]],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "runs batch side width"]:
    """Shift images and add noise, each by its own amount; what `values` does not name is left out.

    Parameters
    ----------
    images
        Images of one channel.
    values
        "shift": the largest displacement along each axis, in whole pixels; zeros come in at the border.
        "noise": the standard deviation of Gaussian noise, in units of intensity.
    generator
        Source of randomness.

    Returns
    -------
    The changed images.
    """
    if "shift" in values:
        for axis in (2, 3):
            largest, n = values["shift"], images.shape[axis]
            drawn = torch.rand(largest.shape, generator=generator, device=images.device)
            displacement = (drawn * (2 * largest + 1)).floor() - largest
            source = torch.arange(n, device=images.device) - displacement[..., None].long()
            inside = ((source >= 0) & (source < n)).unsqueeze(5 - axis)
            source = source.clamp(0, n - 1).unsqueeze(5 - axis).expand_as(images)
            images = images.gather(axis, source) * inside
    if "noise" in values:
        drawn = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=images.device)
        images = images + values["noise"][..., None, None] * drawn
    return images


class _HyperNetwork(nn.Module):
    """What the networks share: dropout by name, and the squared norm of all weights."""

    n_hyperparameters: int

    def _drop(
        self, inputs: Tensor, index: int, values: Mapping[str, Tensor], generator: torch.Generator | None
    ) -> Tensor:
        rate = values.get(f"dropout {index}")
        return inputs if rate is None else dropout(inputs, rate, generator)

    def squared_norm(self, unconstrained: Float[Tensor, "runs batch h"]) -> Float[Tensor, "runs batch"]:
        """Sum |W(λ)|² over all layers.

        Parameters
        ----------
        unconstrained
            λ of each example.

        Returns
        -------
        One number an example.
        """
        return sum(
            layer.squared_norm(unconstrained) for layer in self.modules() if isinstance(layer, _HyperLayer)
        )


class HyperMLP(_HyperNetwork):
    """Linear layers with rectifiers between them; "dropout i" stands before layer i.

    Parameters
    ----------
    sizes
        Features of the input, of each hidden layer, and of the output.
    n_hyperparameters, n_runs, generator
        As for `HyperLinear`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_hyperparameters = n_hyperparameters
        self.layers = nn.ModuleList(
            HyperLinear(m, n, n_hyperparameters, n_runs=n_runs, generator=generator)
            for m, n in itertools.pairwise(sizes)
        )

    def forward(
        self,
        inputs: Float[Tensor, "runs batch *shape"],
        unconstrained: Float[Tensor, "runs batch h"],
        values: Mapping[str, Float[Tensor, "runs batch"]] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "runs batch n"]:
        """Classify.

        Parameters
        ----------
        inputs
            One example in each entry of the second axis.
        unconstrained
            λ of each example.
        values
            Rates of dropout by name; what is not named is not dropped.
        generator
            Source of its randomness.

        Returns
        -------
        Logits.
        """
        features = inputs.flatten(2)
        for index, layer in enumerate(self.layers):
            features = torch.relu(features) if index else features
            features = layer(self._drop(features, index, values or {}, generator), unconstrained)
        return features


class HyperCNN(_HyperNetwork):
    """Convolutions of side 3, each with a rectifier and a pooling by 2, then a linear layer.

    Parameters
    ----------
    side
        Height and width of the images.
    channels
        Output channels of each convolution.
    n_classes
        Number of logits.
    n_hyperparameters, n_runs, generator
        As for `HyperLinear`.
    """

    def __init__(
        self,
        side: int,
        channels: Sequence[int],
        n_classes: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_hyperparameters = n_hyperparameters
        options = {"n_runs": n_runs, "generator": generator}
        self.convolutions = nn.ModuleList(
            HyperConv2d(m, n, 3, n_hyperparameters, **options)
            for m, n in zip([1, *channels[:-1]], channels, strict=True)
        )
        n_features = channels[-1] * (side // 2 ** len(channels)) ** 2
        self.head = HyperLinear(n_features, n_classes, n_hyperparameters, **options)

    def forward(
        self,
        inputs: Float[Tensor, "runs batch side side"],
        unconstrained: Float[Tensor, "runs batch h"],
        values: Mapping[str, Float[Tensor, "runs batch"]] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "runs batch n"]:
        """Classify; the rest as for `HyperMLP.forward`.

        Parameters
        ----------
        inputs
            Images of one channel.
        unconstrained, values, generator
            As there.

        Returns
        -------
        Logits.
        """
        features = inputs[:, :, None]
        for index, layer in enumerate(self.convolutions):
            features = layer(self._drop(features, index, values or {}, generator), unconstrained)
            features = functional.max_pool2d(torch.relu(features).flatten(0, 1), 2).unflatten(
                0, inputs.shape[:2]
            )
        features = self._drop(features.flatten(2), len(self.convolutions), values or {}, generator)
        return self.head(features, unconstrained)


class HyperLSTM(_HyperNetwork):
    """Predict each symbol from those before it; "dropout 1" stands before the output layer.

    Parameters
    ----------
    n_symbols
        Size of the alphabet.
    n_hidden
        Size of the state.
    n_hyperparameters, n_runs, generator
        As for `HyperLinear`.
    """

    def __init__(
        self,
        n_symbols: int,
        n_hidden: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        options = {"n_runs": n_runs, "generator": generator}
        self.n_hyperparameters = n_hyperparameters
        self.n_symbols, self.n_hidden = n_symbols, n_hidden
        self.cell = HyperLSTMCell(n_symbols, n_hidden, n_hyperparameters, **options)
        self.head = HyperLinear(n_hidden, n_symbols, n_hyperparameters, **options)

    def forward(
        self,
        inputs: Int[Tensor, "runs batch t"],
        unconstrained: Float[Tensor, "runs batch h"],
        values: Mapping[str, Float[Tensor, "runs batch"]] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "runs batch t n"]:
        """Predict the next symbol at each place; the rest as for `HyperMLP.forward`.

        Parameters
        ----------
        inputs
            Symbols, one sequence an example.
        unconstrained, values, generator
            As there.

        Returns
        -------
        Logits of the symbol after each one.
        """
        n_places = inputs.shape[2]
        repeated = unconstrained.repeat_interleave(n_places, dim=1)
        one_hot = functional.one_hot(inputs.flatten(1), self.n_symbols).to(self.head.weight.dtype)
        driven = self.cell.from_input(one_hot, repeated).unflatten(1, (-1, n_places))
        state = (driven.new_zeros(*inputs.shape[:2], self.n_hidden),) * 2
        hidden = []
        for place in range(n_places):
            state = self.cell(driven[:, :, place], state, unconstrained)
            hidden.append(state[0])
        features = self._drop(torch.stack(hidden, dim=2), 1, values or {}, generator)
        return self.head(features.flatten(1, 2), repeated).unflatten(1, (-1, n_places))


# --- Losses ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Losses:
    """What the two levels minimise: functions of one λ an example, each a mean over a batch of that size.

    Attributes
    ----------
    training
        Loss of the weights ŵ(λ) on training examples, with the regularisation that λ stands for.
    validation
        Loss of ŵ(λ) on validation examples, without regularisation: λ acts through ŵ alone.
    evaluation
        The validation loss on the whole set, a function of one λ a run.
    """

    training: Loss
    validation: Loss
    evaluation: Loss


def minibatches(
    n: int, batch_size: int, n_runs: int, generator: torch.Generator | None = None
) -> Iterator[Int[Tensor, "runs batch"]]:
    """Draw batches without end: each epoch a new permutation, of each run its own; what is left over is dropped.

    Parameters
    ----------
    n
        Number of examples.
    batch_size
        Examples a batch.
    n_runs
        Number of independent runs.
    generator
        Source of randomness; the batches come on its device.

    Returns
    -------
    An iterator over indices of examples.

    Raises
    ------
    ValueError
        If a batch is empty or larger than the set.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be between 1 and the number of examples, {n}; got {batch_size}")

    def permutations() -> Iterator[Tensor]:
        device = generator.device if generator is not None else None
        while True:
            order = torch.rand(n_runs, n, generator=generator, device=device).argsort(dim=1)
            yield from order.split(batch_size, dim=1)[: n // batch_size]

    return permutations()


def _mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each example, over its places."""
    each = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return each.view(*labels.shape[:2], -1).mean(dim=-1)


def evaluate(
    network: nn.Module,
    data: tuple[Tensor, Int[Tensor, "runs n *places"]],
    unconstrained: Float[Tensor, "runs h"],
) -> Float[Tensor, " runs"]:
    """Cross-entropy of the network with the weights ŵ(λ), without regularisation, on all data.

    Parameters
    ----------
    network
        Of hyper-layers.
    data
        Inputs and labels, a set each run.
    unconstrained
        One λ a run.

    Returns
    -------
    The loss of each run, in nats.
    """
    inputs, labels = data
    here = unconstrained[:, None, : network.n_hyperparameters]
    with torch.no_grad():
        losses = [
            _mean_cross_entropy(network(some, here.expand(-1, some.shape[1], -1)), their_labels)
            for some, their_labels in zip(inputs.split(1000, dim=1), labels.split(1000, dim=1), strict=True)
        ]
    return torch.cat(losses, dim=1).mean(dim=1)


def classification_losses(
    network: nn.Module,
    hyperparameters: Sequence[Hyperparameter],
    training: tuple[Tensor, Int[Tensor, "runs n *places"]],
    validation: tuple[Tensor, Int[Tensor, "runs m *places"]],
    *,
    batch_size: int,
    augmentation: Callable[[Tensor, Mapping[str, Tensor], torch.Generator | None], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Losses:
    """Cross-entropies of a network, with dropout, augmentation and weight decay in training only.

    Parameters
    ----------
    network
        Of hyper-layers. With `n_hyperparameters` of 0 it is a plain one: λ then acts as regularisation alone.
    hyperparameters
        What λ stands for. Half of the one named "decay", times |W(λ)|², is added to the training loss.
    training, validation
        Inputs and labels, a set each run.
    batch_size
        Examples a batch of either set.
    augmentation
        Changes training inputs, such as `augment`.
    generator
        Source of the batches and of all noise.

    Returns
    -------
    The losses, in nats.

    Raises
    ------
    ValueError
        If a set has fewer examples than a batch.
    """
    n_runs = len(training[1])
    each_run = torch.arange(n_runs, device=training[1].device)[:, None]
    training_batches, validation_batches = (
        minibatches(labels.shape[1], batch_size, n_runs, generator) for _, labels in (training, validation)
    )

    def training_loss(unconstrained: Tensor) -> Tensor:
        inputs, labels = (each[each_run, index] for index in [next(training_batches)] for each in training)
        values = constrain(hyperparameters, unconstrained)
        if augmentation is not None:
            inputs = augmentation(inputs, values, generator)
        seen = unconstrained[..., : network.n_hyperparameters]
        loss = _mean_cross_entropy(network(inputs, seen, values, generator), labels)
        if "decay" in values:
            loss = loss + values["decay"] / 2 * network.squared_norm(seen)
        return loss.mean(dim=1)

    def validation_loss(unconstrained: Tensor) -> Tensor:
        inputs, labels = (
            each[each_run, index] for index in [next(validation_batches)] for each in validation
        )
        return _mean_cross_entropy(network(inputs, unconstrained), labels).mean(dim=1)

    return Losses(training_loss, validation_loss, partial(evaluate, network, validation))


# --- The algorithm -----------------------------------------------------------------------------------------------


def perturb(
    centre: Float[Tensor, "runs h"],
    perturbation_std: Float[Tensor, "runs h"],
    batch_size: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "runs batch h"]:
    """Draw λ + ε, one for each example.

    Parameters
    ----------
    centre
        λ.
    perturbation_std
        Standard deviations of ε.
    batch_size
        Examples a batch.
    generator
        Source of randomness.

    Returns
    -------
    Perturbed hyperparameters, differentiable in `centre` and `perturbation_std`.
    """
    shape = (len(centre), batch_size, centre.shape[1])
    drawn = torch.randn(shape, generator=generator, dtype=centre.dtype, device=centre.device)
    return centre[:, None] + perturbation_std[:, None] * drawn


def gaussian_entropy(perturbation_std: Float[Tensor, "runs h"]) -> Float[Tensor, " runs"]:
    """Entropy of independent normal variables: the sum of ln(σ√(2πe)).

    Parameters
    ----------
    perturbation_std
        Standard deviations σ.

    Returns
    -------
    The entropy of each run, in nats.
    """
    return (perturbation_std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=-1)


def training_step(
    training_loss: Loss,
    optimiser: torch.optim.Optimizer,
    perturbed: Float[Tensor, "runs batch h"],
    *,
    largest_gradient: float = math.inf,
) -> Float[Tensor, " runs"]:
    """Update the weights φ: descend the training loss of ŵ_φ(λ + ε), regularised as λ + ε says; λ stays.

    Parameters
    ----------
    training_loss
        As in `Losses`.
    optimiser
        Of the weights, all of which have a leading axis of runs.
    perturbed
        λ + ε, one for each example.
    largest_gradient
        Norm to which each run's gradient is cut.

    Returns
    -------
    The loss of each run before the update.

    References
    ----------
    MacKay et al. (2019), Algorithm 1, the first loop.
    """
    optimiser.zero_grad(set_to_none=True)
    loss = training_loss(perturbed.detach())
    loss.sum().backward()  # the runs share no weights: the gradient of the sum is each run's own
    if largest_gradient < math.inf:
        gradients = [
            w.grad for group in optimiser.param_groups for w in group["params"] if w.grad is not None
        ]
        norms = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
        factors = (largest_gradient / norms).clamp(max=1)
        for gradient in gradients:
            gradient *= factors.view(-1, *(1,) * (gradient.ndim - 1))
    optimiser.step()
    return loss.detach()


def validation_step(
    validation_loss: Loss,
    optimiser: torch.optim.Optimizer,
    centre: Float[Tensor, "runs h"],
    raw_std: Float[Tensor, "runs h"],
    *,
    batch_size: int,
    entropy_weight: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " runs"]:
    """Update λ and σ: descend the validation loss of ŵ_φ(λ + ε) less the weighted entropy of ε; φ stays.

    Parameters
    ----------
    validation_loss
        As in `Losses`.
    optimiser
        Of `centre` and `raw_std`.
    centre
        λ.
    raw_std
        ρ, with σ = softplus(ρ).
    batch_size
        Examples a batch.
    entropy_weight
        τ. The larger it is, the wider the perturbations stay.
    generator
        Source of ε.

    Returns
    -------
    The objective of each run before the update.

    References
    ----------
    MacKay et al. (2019), Algorithm 1, the second loop, and Equation 15.
    """
    std = functional.softplus(raw_std)
    loss = validation_loss(perturb(centre, std, batch_size, generator))
    objective = loss - entropy_weight * gaussian_entropy(std)
    # Gradients in these two alone: the weights keep theirs, and are not touched.
    centre.grad, raw_std.grad = torch.autograd.grad(objective.sum(), (centre, raw_std))
    optimiser.step()
    return objective.detach()


@dataclass(frozen=True)
class History:
    """How a training went, at its evaluations.

    Attributes
    ----------
    steps
        Training steps taken.
    unconstrained
        λ.
    std
        σ; zero where nothing is perturbed.
    validation
        Validation loss of ŵ(λ).
    """

    steps: Int[Tensor, " t"]
    unconstrained: Float[Tensor, "t runs h"]
    std: Float[Tensor, "t runs h"]
    validation: Float[Tensor, "t runs"]

    def best(self) -> tuple[Float[Tensor, " runs"], Float[Tensor, "runs h"]]:
        """Find each run's lowest validation loss, where its weights are taken from.

        Returns
        -------
        The loss, and λ at that evaluation.
        """
        lowest = self.validation.min(dim=0)
        return lowest.values, self.unconstrained[lowest.indices, torch.arange(self.validation.shape[1])]


def train_self_tuning(
    losses: Losses,
    optimiser: torch.optim.Optimizer,
    start: Float[Tensor, "runs h"],
    *,
    n_steps: int,
    batch_size: int,
    warm_up: int,
    n_train: int = 2,
    perturbation_std: float = 0.5,
    tuning_rate: float = 0.003,
    std_rate: float = 0.003,
    entropy_weight: float = 0.001,
    cosine: bool = False,
    largest_gradient: float = math.inf,
    evaluate_every: int = 50,
    generator: torch.Generator | None = None,
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> History:
    """Train weights and hyperparameters together, and end with the weights of each run's best evaluation.

    Parameters
    ----------
    losses
        The two levels.
    optimiser
        Of the weights, all of which have a leading axis of runs.
    start
        λ at the start.
    n_steps
        Training steps; after every `n_train` of them comes a validation step, which is not counted.
    batch_size
        Examples a batch, each with its own perturbation.
    warm_up
        Training steps before the first validation step.
    n_train
        Training steps a validation step.
    perturbation_std
        σ at the start.
    tuning_rate, std_rate
        Adam's learning rates of λ and of ρ, where σ = softplus(ρ).
    entropy_weight
        τ, in nats of loss a nat of entropy.
    cosine
        Whether the learning rate of the weights falls to zero as half a cosine.
    largest_gradient
        Norm to which each run's gradient of the weights is cut.
    evaluate_every
        Training steps between evaluations.
    generator
        Source of ε.
    steps
        Wraps the steps: a progress bar.

    Returns
    -------
    The history.

    Raises
    ------
    ValueError
        If a number is out of its range, or a weight lacks the axis of runs.
    FloatingPointError
        If a training loss stops being finite.

    Warns
    -----
    UserWarning
        If the warm-up takes the whole training: the hyperparameters never move.

    References
    ----------
    MacKay et al. (2019), Algorithm 1; the defaults are those of the authors' code for convolutional networks.
    """
    check_positive("perturbation_std", perturbation_std)
    check_at_least("n_train", n_train, 1)
    check_at_least("warm_up", warm_up, 0)
    if warm_up >= n_steps:
        warnings.warn(
            f"warm_up ({warm_up}) is as long as the training: the hyperparameters never move", stacklevel=2
        )
    centre = start.clone().requires_grad_()
    raw_std = torch.full_like(start, math.log(math.expm1(perturbation_std))).requires_grad_()
    tuner = torch.optim.Adam([{"params": [centre], "lr": tuning_rate}, {"params": [raw_std], "lr": std_rate}])

    def update(step: int) -> Tensor:
        perturbed = perturb(centre.detach(), functional.softplus(raw_std.detach()), batch_size, generator)
        loss = training_step(losses.training, optimiser, perturbed, largest_gradient=largest_gradient)
        if step >= warm_up and (step - warm_up) % n_train == n_train - 1:
            options = {"batch_size": batch_size, "entropy_weight": entropy_weight, "generator": generator}
            validation_step(losses.validation, tuner, centre, raw_std, **options)
        return loss

    def present() -> tuple[Tensor, Tensor]:
        return centre.detach().clone(), functional.softplus(raw_std.detach())

    return _train(update, present, losses.evaluation, optimiser, n_steps, cosine, evaluate_every, steps)


def train_fixed(
    losses: Losses,
    optimiser: torch.optim.Optimizer,
    schedule: Float[Tensor, "t runs h"],
    *,
    n_steps: int,
    batch_size: int,
    perturbation_std: float = 0.0,
    cosine: bool = False,
    largest_gradient: float = math.inf,
    evaluate_every: int = 50,
    generator: torch.Generator | None = None,
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> History:
    """Train the weights with hyperparameters that are given: fixed, perturbed, or replayed from a history.

    Parameters
    ----------
    losses
        Only the training loss and the evaluation are used.
    optimiser, n_steps, batch_size, cosine, largest_gradient, evaluate_every, generator, steps
        As for `train_self_tuning`.
    schedule
        λ, in equal parts of the training; one entry is a constant.
    perturbation_std
        Standard deviation of a perturbation of each example's λ.

    Returns
    -------
    The history; the weights end as those of each run's best evaluation.

    Raises
    ------
    ValueError
        If a number is out of its range, or a weight lacks the axis of runs.
    FloatingPointError
        If a training loss stops being finite.
    """
    if perturbation_std < 0:
        raise ValueError(f"perturbation_std must not be negative; got {perturbation_std}")
    now, spread = schedule[0], torch.full_like(schedule[0], perturbation_std)

    def update(step: int) -> Tensor:
        nonlocal now
        now = schedule[step * len(schedule) // n_steps]
        perturbed = perturb(now, spread, batch_size, generator)
        return training_step(losses.training, optimiser, perturbed, largest_gradient=largest_gradient)

    return _train(
        update, lambda: (now, spread), losses.evaluation, optimiser, n_steps, cosine, evaluate_every, steps
    )


def _train(
    update: Callable[[int], Tensor],
    present: Callable[[], tuple[Tensor, Tensor]],
    evaluation: Loss,
    optimiser: torch.optim.Optimizer,
    n_steps: int,
    cosine: bool,
    evaluate_every: int,
    steps: Callable[[Iterable[int]], Iterable[int]],
) -> History:
    """Update, evaluate now and then, keep each run's best weights, and put them back at the end."""
    check_at_least("n_steps", n_steps, 1)
    check_at_least("evaluate_every", evaluate_every, 1)
    weights = [w for group in optimiser.param_groups for w in group["params"]]
    n_runs = len(present()[0])
    if any(len(w) != n_runs for w in weights):
        raise ValueError(f"every weight must have a leading axis of {n_runs} runs")
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: (1 + math.cos(math.pi * step / n_steps)) / 2 if cosine else 1.0
    )
    lowest, kept, records = (
        torch.full((n_runs,), math.inf, device=weights[0].device),
        [w.detach().clone() for w in weights],
        [],
    )
    for step in steps(range(n_steps)):
        loss = update(step)
        rates.step()
        done = step + 1
        if done % evaluate_every and done < n_steps:
            continue
        if not bool(loss.isfinite().all()):
            run = int((~loss.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"run {run} diverged by step {done}: lower the learning rate, cut the gradient, or cap dropout"
            )
        with torch.no_grad():
            centre, spread = present()
            value = evaluation(centre)
            better = value < lowest
            lowest = torch.where(better, value, lowest)
            for old, new in zip(kept, weights, strict=True):
                old[better] = new[better]
        records.append((torch.tensor(done), centre.cpu(), spread.cpu(), value.cpu()))
    with torch.no_grad():
        for old, new in zip(kept, weights, strict=True):
            new.copy_(old)
    return History(*map(torch.stack, zip(*records, strict=True)))


# --- Exact best responses ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GatedNetwork:
    """The shallow linear network f(x) = sᵀ(g ⊙ Qx) whose gates g = sigmoid(vλ + c) answer to the log penalty λ.

    Attributes
    ----------
    basis
        Q: the right singular vectors of the data, a row each.
    coefficients
        s: the unregularised solution in that basis.
    slopes, offsets
        v and c of each gate.
    """

    basis: Float[Tensor, "r p"]
    coefficients: Float[Tensor, " r"]
    slopes: Float[Tensor, " r"]
    offsets: Float[Tensor, " r"]

    def gates(self, log_penalty: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape r"]:
        """Open or close the hidden units.

        Parameters
        ----------
        log_penalty
            λ.

        Returns
        -------
        Numbers between 0 and 1.
        """
        return torch.sigmoid(log_penalty[..., None] * self.slopes + self.offsets)

    def weights(self, log_penalty: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape p"]:
        """Multiply the layers out.

        Parameters
        ----------
        log_penalty
            λ.

        Returns
        -------
        w(λ) = Qᵀ(g ⊙ s).
        """
        return (self.gates(log_penalty) * self.coefficients) @ self.basis


def gated_best_response(design: Float[Tensor, "n p"], targets: Float[Tensor, " n"]) -> GatedNetwork:
    """Best response of a shallow linear network to its penalty: argmin ½|Xw − y|² + ½e^λ|w|², for every λ at once.

    Parameters
    ----------
    design
        X. Directions whose singular value is below 1e-10 of the largest are left out.
    targets
        y.

    Returns
    -------
    The network with v = −1 and c = 2 ln d, where d are the singular values of X.

    Raises
    ------
    ValueError
        If the design is zero.

    References
    ----------
    MacKay et al. (2019), Theorem 2.
    """
    left, singular, right = torch.linalg.svd(design, full_matrices=False)
    if not singular[0] > 0:
        raise ValueError("design must not be zero")
    kept = singular > 1e-10 * singular[0]
    left, singular, right = left[:, kept], singular[kept], right[kept]
    return GatedNetwork(right, left.T @ targets / singular, -torch.ones_like(singular), 2 * singular.log())


def affine_best_response(
    loss: Callable[[Float[Tensor, " h"], Float[Tensor, " p"]], Float[Tensor, ""]],
    centre: Float[Tensor, " h"],
    perturbation_std: float,
    n_weights: int,
    *,
    n_nodes: int = 21,
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p h"]]:
    """Fit ŵ(λ + ε) = w₀ + Jε to the mean of a training loss over ε ~ N(0, σ²I): what training steps converge to.

    Parameters
    ----------
    loss
        f(λ, w), quadratic and convex in w; any function of λ.
    centre
        λ.
    perturbation_std
        σ.
    n_weights
        Length of w.
    n_nodes
        Nodes of Gauss-Hermite quadrature along each hyperparameter.

    Returns
    -------
    w₀, J
        The best of all affine functions. The mean is quadratic in them, so one Newton step finds it.

    Raises
    ------
    ValueError
        If `perturbation_std` is not positive: then J cannot be told.
    """
    check_positive("perturbation_std", perturbation_std)
    nodes, probabilities = np.polynomial.hermite_e.hermegauss(n_nodes)
    n_hyperparameters = len(centre)

    def grid(values: np.ndarray) -> Tensor:
        return torch.cartesian_prod(*[torch.as_tensor(values).to(centre)] * n_hyperparameters).view(
            -1, n_hyperparameters
        )

    offsets, weights = grid(nodes), grid(probabilities / probabilities.sum()).prod(dim=1)

    def mean_loss(parameters: Tensor) -> Tensor:
        base, slope = parameters[:n_weights], parameters[n_weights:].view(n_weights, n_hyperparameters)
        # σJ is the unknown here, so that the problem is as well conditioned at every σ.
        return weights @ torch.vmap(loss)(centre + perturbation_std * offsets, base + offsets @ slope.T)

    zero = centre.new_zeros(n_weights * (1 + n_hyperparameters))
    solution = torch.linalg.solve(torch.func.hessian(mean_loss)(zero), -torch.func.grad(mean_loss)(zero))
    return solution[:n_weights], solution[n_weights:].view(n_weights, n_hyperparameters) / perturbation_std
