"""The algorithm: layers whose weights answer to the hyperparameters, and the two steps that train and tune them."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regularity.foundations.checks import as_floats, check_at_least, check_floating, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.training import SCHEDULES, Best, Schedule, train

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
        if not self.high >= self.low or (self.high == self.low and not self.discrete):
            raise ValueError(f"high of {self.name} must be above its low, {self.low:g}; got {self.high:g}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"low of {self.name} must be positive; got {self.low:g}")
        self.unconstrain(self.start)

    def constrain(self, unconstrained: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map free numbers λ to values η(λ) between the bounds."""
        share = torch.sigmoid(unconstrained)
        if self.discrete:
            return (self.low + (self.high + 1 - self.low) * share).floor().clamp(max=self.high)
        if self.logarithmic:
            return torch.exp(math.log(self.low) + math.log(self.high / self.low) * share)
        return self.low + (self.high - self.low) * share

    def unconstrain(self, value: int | float) -> float:
        """Map a value to the λ that stands for it; an integer to the middle of its interval."""
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
    """Map vectors λ of free numbers to values η by their names."""
    check_floating("unconstrained", unconstrained)
    if unconstrained.shape[-1] != len(hyperparameters):
        raise ValueError(
            f"unconstrained must have {len(hyperparameters)} entries, one a hyperparameter; "
            f"got {unconstrained.shape[-1]}"
        )
    return {each.name: each.constrain(unconstrained[..., i]) for i, each in enumerate(hyperparameters)}


def starting_point(hyperparameters: Sequence[Hyperparameter], n_runs: int = 1) -> Float[Tensor, "runs h"]:
    """Collect the free numbers of all starts, the same for each run."""
    return torch.tensor([each.unconstrain(each.start) for each in hyperparameters]).repeat(n_runs, 1)


# --- Layers whose weights respond to the hyperparameters ----------------------------------------------------------


class HyperLayer(nn.Module):
    """Weights W(λ) = sW_e + (Vλ) ⊙_row W_h and biases b(λ) = sb_e + (Cλ) ⊙ b_h, for several runs at once.

    `weight` holds W_e above W_h, `bias` b_e before b_h, `scalars` V above C; `scale` is s, or None where it is 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_hyperparameters: int,
        n_runs: int,
        generator: torch.Generator | None,
        scaled: bool,
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
        drawn = torch.randn(n_runs, 2 * n_out, n_hyperparameters, generator=generator)
        self.scalars = nn.Parameter(0.01 * drawn)
        scaled = scaled and n_hyperparameters > 0
        self.register_parameter("scale", nn.Parameter(torch.ones(n_runs, 1)) if scaled else None)

    def _gates(self, unconstrained: Tensor) -> tuple[Tensor, Tensor]:
        """Vλ and Cλ, one each for a row of the weights, for every example."""
        if unconstrained.shape[-1] != self.n_hyperparameters:
            raise ValueError(
                f"unconstrained must have {self.n_hyperparameters} entries; got {unconstrained.shape[-1]}"
            )
        return (unconstrained @ self.scalars.mT).chunk(2, dim=-1)

    def respond(
        self,
        products: Float[Tensor, "runs batch *places"],
        unconstrained: Float[Tensor, "runs batch h"],
        rows: int = -1,
    ) -> Float[Tensor, "runs batch *places_out"]:
        """Turn the products of both weights with x into s(W_e x + b_e) + (Vλ) ⊙ (W_h x) + (Cλ) ⊙ b_h.

        The rows of the weights stand in the axis `rows`; an example has one λ at all its places.
        """
        shape = [1] * products.ndim
        shape[0], shape[1], shape[rows] = len(products), -1, self.weight.shape[1]

        def spread(values: Tensor) -> Tensor:
            shape[rows] = values.shape[-1]
            return values.view(shape)

        bias = self.bias[:, None]
        if not self.n_hyperparameters:
            return products + spread(bias)
        gate, bias_gate = self._gates(unconstrained)
        elementary, response = products.chunk(2, dim=rows)
        bias, bias_response = bias.chunk(2, dim=-1)
        if self.scale is not None:
            scale = self.scale[:, None]
            elementary, bias = spread(scale) * elementary, scale * bias
        return torch.addcmul(elementary, spread(gate), response) + spread(bias + bias_gate * bias_response)

    def squared_norm(self, unconstrained: Float[Tensor, "runs batch h"]) -> Float[Tensor, "runs batch"]:
        """Compute |W(λ)|² for every example, by three products a row and without any example's weights."""
        rows = self.weight.flatten(2)
        if not self.n_hyperparameters:
            return (rows * rows).sum(dim=(1, 2))[:, None].expand(unconstrained.shape[:2])
        elementary, response = rows.chunk(2, dim=1)
        if self.scale is not None:
            elementary = self.scale[..., None] * elementary
        gate, _ = self._gates(unconstrained)
        cross = (elementary * response).sum(dim=-1)[:, None]
        curved = (response * response).sum(dim=-1)[:, None]
        constant = (elementary * elementary).sum(dim=(1, 2))[:, None]
        return constant + (gate * (2 * cross + gate * curved)).sum(dim=-1)


class HyperLinear(HyperLayer):
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
    scaled
        Whether the elementary part has a trainable factor s, as in the authors' networks for images.

    References
    ----------
    MacKay et al. (2019), Self-tuning networks; the scale s is in their code alone.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
        scaled: bool = True,
    ) -> None:
        super().__init__((out_features, in_features), n_hyperparameters, n_runs, generator, scaled)

    def forward(
        self, inputs: Float[Tensor, "runs batch *places m"], unconstrained: Float[Tensor, "runs batch h"]
    ) -> Float[Tensor, "runs batch *places n"]:
        """Apply to each example the layer of its own hyperparameters."""
        products = inputs.flatten(1, -2) @ self.weight.mT
        return self.respond(products.unflatten(1, inputs.shape[1:-1]), unconstrained)

    def embed(
        self, symbols: Int[Tensor, "runs batch t"], unconstrained: Float[Tensor, "runs batch h"]
    ) -> Float[Tensor, "runs batch t n"]:
        """The same for inputs that are one-hot: look the column of each symbol up."""
        columns = self.weight.mT.flatten(0, 1)
        firsts = torch.arange(len(symbols), device=symbols.device)[:, None, None] * self.weight.shape[-1]
        return self.respond(functional.embedding(firsts + symbols, columns), unconstrained)


class HyperConv2d(HyperLayer):
    """A convolution that keeps the images' size, with one gate an output channel; the rest as for `HyperLinear`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        n_hyperparameters: int,
        *,
        n_runs: int = 1,
        generator: torch.Generator | None = None,
        scaled: bool = True,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd; got {kernel_size}")
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        super().__init__(shape, n_hyperparameters, n_runs, generator, scaled)

    def forward(
        self, images: Float[Tensor, "runs batch c h w"], unconstrained: Float[Tensor, "runs batch k"]
    ) -> Float[Tensor, "runs batch n h w"]:
        """Apply to each image the convolution of its own hyperparameters."""
        n_runs, padding = len(images), self.weight.shape[-1] // 2
        # One group a run: a single convolution serves all runs.
        products = functional.conv2d(
            images.transpose(0, 1).flatten(1, 2), self.weight.flatten(0, 1), padding=padding, groups=n_runs
        )
        return self.respond(products.unflatten(1, (n_runs, -1)).transpose(0, 1), unconstrained, rows=2)


class HyperLSTMCell(nn.Module):
    """A long short-term memory cell all of whose gates respond to the hyperparameters; no scale, as in their code."""

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
        options = {"n_runs": n_runs, "generator": generator, "scaled": False}
        self.from_input = HyperLinear(in_features, 4 * n_hidden, n_hyperparameters, **options)
        self.from_hidden = HyperLinear(n_hidden, 4 * n_hidden, n_hyperparameters, **options)

    def forward(
        self,
        driven: Float[Tensor, "runs batch gates"],
        state: tuple[Float[Tensor, "runs batch n"], Float[Tensor, "runs batch n"]],
        unconstrained: Float[Tensor, "runs batch h"],
    ) -> tuple[Float[Tensor, "runs batch n"], Float[Tensor, "runs batch n"]]:
        """Take one step; `driven` is `from_input` of the input, all steps' in one product."""
        hidden, memory = state
        gates = driven + self.from_hidden(hidden, unconstrained)
        enters, stays, candidate, leaves = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(stays) * memory + torch.sigmoid(enters) * torch.tanh(candidate)
        return torch.sigmoid(leaves) * torch.tanh(memory), memory


# --- The algorithm -----------------------------------------------------------------------------------------------


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
    evaluation: Callable[[Float[Tensor, "runs h"]], Float[Tensor, " runs"]]


def perturb(
    centre: Float[Tensor, "runs h"],
    perturbation_std: Float[Tensor, "runs h"],
    batch_size: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "runs batch h"]:
    """Draw λ + ε, one for each example; differentiable in both arguments."""
    check_floating("centre", centre)
    check_floating("perturbation_std", perturbation_std)
    shape = (len(centre), batch_size, centre.shape[1])
    drawn = torch.randn(shape, generator=generator, dtype=centre.dtype, device=centre.device)
    return centre[:, None] + perturbation_std[:, None] * drawn


def gaussian_entropy(perturbation_std: Float[Tensor, "runs h"]) -> Float[Tensor, " runs"]:
    """Entropy of independent normal variables in nats: the sum of ln(σ√(2πe))."""
    check_floating("perturbation_std", perturbation_std)
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
    MacKay et al. (2019), Self-tuning networks: the training step of their code.
    """
    check_floating("perturbed", perturbed)
    optimiser.zero_grad(set_to_none=True)
    loss = training_loss(perturbed.detach())
    loss.sum().backward()  # the runs share no weights: the gradient of the sum is each run's own
    if largest_gradient < math.inf:
        _cut_gradients(optimiser, largest_gradient)
    optimiser.step()
    return loss.detach()


def _weights_of(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [weights for group in optimiser.param_groups for weights in group["params"]]


def _cut_gradients(optimiser: torch.optim.Optimizer, largest: float) -> None:
    """Cut the gradient of each run to a norm of its own."""
    gradients = [weights.grad for weights in _weights_of(optimiser) if weights.grad is not None]
    norms = torch.stack([each.flatten(1).square().sum(dim=1) for each in gradients]).sum(dim=0).sqrt()
    factors = (largest / norms).clamp(max=1)
    for gradient in gradients:
        gradient *= factors.view(-1, *(1,) * (gradient.ndim - 1))


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
    MacKay et al. (2019), Self-tuning networks: the validation step of their code.
    """
    check_floating("centre", centre)
    check_floating("raw_std", raw_std)
    if not (centre.requires_grad and raw_std.requires_grad):
        raise ValueError("centre and raw_std must require gradients: they are what the step moves")
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
        """Give each run's lowest validation loss, where its weights are taken from, and λ there."""
        last = (
            len(self.steps) - 1 - self.validation.flip(0).argmin(dim=0)
        )  # of equals the later, as `Best` keeps
        runs = torch.arange(self.validation.shape[1])
        return self.validation[last, runs], self.unconstrained[last, runs]


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
    entropy_weight: float = 1e-5,
    schedule: Schedule = "constant",
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
    schedule
        Of the weights' learning rate, as in `regularity.foundations.training.fit`.
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
    MacKay et al. (2019), Self-tuning networks. The defaults of `n_train`, `perturbation_std`, the two rates and
    `entropy_weight` are those of the authors' code for images, whose README asks for an entropy weight of 0.001.
    """
    (start,) = as_floats(start=start)
    check_positive("perturbation_std", perturbation_std)
    check_at_least("n_train", n_train, 1)
    check_at_least("warm_up", warm_up, 0)
    if warm_up >= n_steps:
        warnings.warn(
            f"warm_up ({warm_up}) is as long as the training: the hyperparameters never move", stacklevel=2
        )
    centre = start.clone().requires_grad_()
    raw_std = torch.full_like(start, math.log(math.expm1(perturbation_std))).requires_grad_()
    groups = [{"params": [centre], "lr": tuning_rate}, {"params": [raw_std], "lr": std_rate}]
    tuner = torch.optim.Adam(groups, fused=True)

    def update(step: int) -> Tensor:
        perturbed = perturb(centre.detach(), functional.softplus(raw_std.detach()), batch_size, generator)
        loss = training_step(losses.training, optimiser, perturbed, largest_gradient=largest_gradient)
        if step >= warm_up and (step - warm_up) % n_train == n_train - 1:
            options = {"batch_size": batch_size, "entropy_weight": entropy_weight, "generator": generator}
            validation_step(losses.validation, tuner, centre, raw_std, **options)
        return loss

    def present() -> tuple[Tensor, Tensor]:
        return centre.detach().clone(), functional.softplus(raw_std.detach())

    return follow(update, present, losses, optimiser, n_steps, schedule, evaluate_every, steps)


def follow(
    update: Callable[[int], Float[Tensor, " runs"]],
    present: Callable[[], tuple[Float[Tensor, "runs h"], Float[Tensor, "runs h"]]],
    losses: Losses,
    optimiser: torch.optim.Optimizer,
    n_steps: int,
    schedule: Schedule,
    evaluate_every: int,
    steps: Callable[[Iterable[int]], Iterable[int]],
) -> History:
    """Update, evaluate now and then at the `present` λ and σ, and end with each run's best weights."""
    check_at_least("evaluate_every", evaluate_every, 1)
    rate = choose("schedule", schedule, SCHEDULES)(optimiser, n_steps)
    best, records = Best(_weights_of(optimiser), len(present()[0])), []

    def step_both(step: int) -> Tensor:
        loss = update(step)
        rate.step()
        return loss

    def observe(so_far: Tensor) -> None:
        centre, std = present()
        with torch.no_grad():
            value = losses.evaluation(centre)
        best.keep(value)
        records.append((torch.tensor(len(so_far)), centre.cpu(), std.cpu(), value.cpu()))

    train(step_both, n_steps=n_steps, observe=observe, every=evaluate_every, steps=steps)
    best.restore()
    return History(*map(torch.stack, zip(*records, strict=True)))
