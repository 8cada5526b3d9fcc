"""The chapter's runs: what is trained on which data, in batches of runs, and what came out of it."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from sklearn import datasets
from sklearn.preprocessing import PolynomialFeatures
from torch import Tensor, nn

from regularity.data import load_digits, load_mnist, load_tiny_shakespeare
from regularity.foundations.randomness import stream
from regularity.foundations.training import SCHEDULES, train
from regularity.tuning.self_tuning_networks.method import (
    History,
    Hyperparameter,
    constrain,
    perturb,
    starting_point,
    train_self_tuning,
    training_step,
)
from regularity.tuning.self_tuning_networks.problems import (
    Augmentation,
    GatedNetwork,
    Ridge,
    Split,
    affine_best_response,
    classification_losses,
    evaluate,
    gated_best_response,
)
from regularity.tuning.self_tuning_networks.rivals import (
    successive_halving,
    train_fixed,
    tree_parzen_search,
)

Optimiser = Callable[[Iterator[nn.Parameter], bool], torch.optim.Optimizer]
NONE = -30.0  # λ at which a rate, and with it its regulariser, is zero to the last digit

# --- Data --------------------------------------------------------------------------------------------------------


def draw_splits(
    inputs: Tensor, labels: Tensor, sizes: Sequence[int], n_splits: int, seed: int, device: torch.device
) -> Split:
    """Training, validation and test set, from a permutation of each split's own."""
    if sum(sizes) > len(labels):
        raise ValueError(f"sizes must add up to at most {len(labels)} examples; got {list(sizes)}")
    orders = torch.stack(
        [torch.randperm(len(labels), generator=stream(seed, "split", i)) for i in range(n_splits)]
    )
    parts = orders[:, : sum(sizes)].split(list(sizes), dim=1)
    return Split(*((inputs[part].to(device), labels[part].to(device)) for part in parts))


def _bundled_text() -> str:
    loaders = (datasets.load_diabetes, datasets.load_wine, datasets.load_digits, datasets.load_breast_cancer)
    return "".join(load().DESCR for load in loaders).lower()


DIGITS = {"small": load_digits, "mnist": lambda: load_mnist("train")}
TEXTS = {"bundled": _bundled_text, "shakespeare": load_tiny_shakespeare}


def cut_into_sequences(written: str, length: int) -> tuple[Int[Tensor, "n t"], int]:
    """Number a text's symbols, and cut it into pieces that overlap by one symbol; also the size of the alphabet."""
    alphabet = sorted(set(written))
    symbols = torch.tensor([alphabet.index(symbol) for symbol in written])
    return symbols.unfold(0, length + 1, length), len(alphabet)


def ridge_problem(n_splits: int, seed: int) -> Ridge:
    """Degree-2 features of 100 diabetes patients to train on, 100 to tune on, standardised on the former."""
    inputs, targets = (torch.as_tensor(each) for each in datasets.load_diabetes(return_X_y=True))
    squared = torch.as_tensor(PolynomialFeatures(2, include_bias=False).fit_transform(inputs))
    parts = []
    for i in range(n_splits):
        order = torch.randperm(len(squared), generator=stream(seed, "ridge", "split", i))[:200]
        design, answers = (standardise(each[order], 100) for each in (squared, targets))
        parts.append((design[:100], answers[:100], design[100:], answers[100:]))
    return Ridge(*map(torch.stack, zip(*parts, strict=True)))


def standardise(columns: Tensor, n: int) -> Tensor:
    """Give the first n rows zero mean and unit variance, and the others the same treatment."""
    return (columns - columns[:n].mean(dim=0)) / columns[:n].std(dim=0, correction=0)


# --- What is tuned -----------------------------------------------------------------------------------------------


def tuned_digits(start: float) -> list[Hyperparameter]:
    """Dropout before each of three layers, noise on the images, and weight decay; one start for all rates."""
    rates = [Hyperparameter(f"dropout {i}", 0.0, 0.9, start) for i in range(3)]
    noise = Hyperparameter("noise", 0.0, 1.0, start)
    return [*rates, noise, Hyperparameter("decay", 1e-6, 0.1, 1e-4, logarithmic=True)]


def searched_digits() -> list[Hyperparameter]:
    """The same five in the box that a practitioner would search: no rate that hardly lets a network train."""
    rates = [Hyperparameter(f"dropout {i}", 0.0, 0.5, 0.05) for i in range(3)]
    noise = Hyperparameter("noise", 0.0, 0.5, 0.05)
    return [*rates, noise, Hyperparameter("decay", 1e-6, 0.01, 1e-4, logarithmic=True)]


def tuned_images(start: float, shift: int, n_layers: int) -> list[Hyperparameter]:
    """Of a convolutional network: dropout, decay, and the largest shift in whole pixels."""
    rates = [Hyperparameter(f"dropout {i}", 0.0, 0.9, start) for i in range(1, n_layers + 1)]
    decay = Hyperparameter("decay", 1e-6, 0.1, 1e-4, logarithmic=True)
    return [*rates, decay, Hyperparameter("shift", 0, 3, shift, discrete=True)]


def tuned_text(start: float) -> list[Hyperparameter]:
    """Of a recurrent network: dropout of its output, and decay."""
    decay = Hyperparameter("decay", 1e-6, 0.1, 1e-5, logarithmic=True)
    return [Hyperparameter("dropout 1", 0.0, 0.9, start), decay]


def sgd(plain_rate: float, responding_rate: float) -> Optimiser:
    """Momentum of 0.9, and a learning rate for each kind of weights."""
    rates = {False: plain_rate, True: responding_rate}
    return lambda weights, responds: torch.optim.SGD(weights, lr=rates[responds], momentum=0.9)


def adam(plain_rate: float, responding_rate: float) -> Optimiser:
    """The same with Adam."""
    rates = {False: plain_rate, True: responding_rate}
    return lambda weights, responds: torch.optim.Adam(weights, lr=rates[responds], fused=True)


# --- Runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What the runs of an experiment share: a network, its data, and how its weights are trained.

    Attributes
    ----------
    name, seed
        Of the random streams.
    make
        Makes the network, from a number of hyperparameters, `n_runs` and a `generator`.
    data
        A set each split.
    optimiser
        Of the weights, and whether they respond: each kind has a learning rate of its own.
    n_steps, batch_size
        Training steps, and examples a batch.
    augmentation
        Of the training inputs.
    tuning_rate, entropy_weight
        As for `train_self_tuning`.
    """

    name: str
    seed: int
    make: Callable[..., nn.Module]
    data: Split
    optimiser: Optimiser
    n_steps: int
    batch_size: int
    augmentation: Augmentation | None
    tuning_rate: float = 0.05
    entropy_weight: float = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What came out of several settings on each split: losses of each run's best evaluation, and what it cost.

    Attributes
    ----------
    history
        Of all runs: those of the first setting on each split, then the second's.
    validation, test
        Losses in nats.
    seconds
        Of one run, in a batch of so many.
    cost
        Products with a network's weights that one run takes: two an update where the weights respond.
    """

    history: History
    validation: Float[Tensor, "settings splits"]
    test: Float[Tensor, "settings splits"]
    seconds: float
    cost: int

    def pick(self) -> tuple[Float[Tensor, " splits"], Float[Tensor, " splits"]]:
        """Validation and test loss of the setting that each split's validation loss picks."""
        best = self.validation.argmin(dim=0, keepdim=True)
        return self.validation.gather(0, best)[0], self.test.gather(0, best)[0]


def total_cost(outcomes: Sequence[Outcome]) -> int:
    """Cost of all runs on a split."""
    return sum(each.cost * len(each.validation) for each in outcomes)


def best_so_far(outcomes: Sequence[Outcome]) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """Cost, and the lowest validation loss up to then, averaged over splits; settings come one after the other."""
    spent, losses, begun = [], [], 0.0
    for each in outcomes:
        steps, n_splits = each.history.steps, each.validation.shape[1]
        for setting in each.history.validation.split(n_splits, dim=1):
            spent.append(begun + each.cost * steps / steps[-1])
            losses.append(setting)
            begun += each.cost
    return torch.cat(spent), torch.cat(losses).cummin(dim=0).values.mean(dim=1)


def values_along(
    outcome: Outcome, hyperparameters: Sequence[Hyperparameter], name: str
) -> Float[Tensor, "t runs"]:
    """Values of one hyperparameter along the runs."""
    return constrain(hyperparameters, outcome.history.unconstrained)[name]


def tune(task: Task, choices: Sequence[Sequence[Hyperparameter]]) -> Outcome:
    """Self-tuning runs from the starts of every choice, on every split."""
    n_splits, device = task.data.n_splits, task.data.training[1].device
    start = torch.cat([starting_point(each, n_splits) for each in choices]).to(device)
    warm_up = task.n_steps // 20

    def fit(losses, weights, **options):
        return train_self_tuning(
            losses,
            weights,
            start,
            warm_up=warm_up,
            tuning_rate=task.tuning_rate,
            entropy_weight=task.entropy_weight,
            **options,
        )

    n_updates = task.n_steps + (task.n_steps - warm_up) // 2
    return _run(task, choices[0], len(start), fit, "responding", task.n_steps, n_updates)


def fix(
    task: Task,
    hyperparameters: Sequence[Hyperparameter],
    unconstrained: Float[Tensor, "t runs h"],
    *,
    responds: bool = False,
    perturbation_std: float = 0.0,
    n_steps: int | None = None,
) -> Outcome:
    """Networks whose regularisation is given: plain ones, or self-tuning ones that are not tuned."""
    n_steps = n_steps or task.n_steps
    unconstrained = unconstrained.to(task.data.training[1].device)

    def fit(losses, weights, **options):
        return train_fixed(losses, weights, unconstrained, perturbation_std=perturbation_std, **options)

    kind = "responding" if responds else "plain"
    return _run(task, hyperparameters, unconstrained.shape[1], fit, kind, n_steps, n_steps)


def _run(
    task: Task,
    hyperparameters: Sequence[Hyperparameter],
    n_runs: int,
    fit: Callable[..., History],
    kind: str,
    n_steps: int,
    n_updates: int,
) -> Outcome:
    device, n_splits = task.data.training[1].device, task.data.n_splits
    responds = kind == "responding"
    network = task.make(
        len(hyperparameters) if responds else 0,
        n_runs=n_runs,
        generator=stream(task.seed, task.name, kind, "weights"),
    ).to(device)
    data = task.data.repeat(n_runs // n_splits)
    losses = classification_losses(
        network,
        hyperparameters,
        data,
        batch_size=task.batch_size,
        augmentation=task.augmentation,
        generator=stream(task.seed, task.name, kind, "batches", device=device),
    )
    began = time.perf_counter()
    history = fit(
        losses,
        task.optimiser(network.parameters(), responds),
        n_steps=n_steps,
        batch_size=task.batch_size,
        schedule="cosine",
        largest_gradient=5.0,
        evaluate_every=max(1, n_steps // 40),
        generator=stream(task.seed, task.name, kind, "perturbations", device=device),
    )
    seconds = (time.perf_counter() - began) / n_runs
    validation, best = history.best()
    tested = evaluate(network, data.test, best.to(device)).cpu()
    shape = (-1, n_splits)
    return Outcome(history, validation.view(shape), tested.view(shape), seconds, n_updates * (1 + responds))


# --- The experiments ---------------------------------------------------------------------------------------------


def fixed_dropout(rate: float, n_splits: int) -> Float[Tensor, "splits h"]:
    """Dropout of a rate before each layer, half of it on the input, and no other regularisation."""
    values = torch.full((n_splits, 5), NONE)
    if rate > 0:
        values[:, 0] = Hyperparameter("rate", 0.0, 0.9, rate / 2).unconstrain(rate / 2)
        values[:, 1:3] = Hyperparameter("rate", 0.0, 0.9, rate).unconstrain(rate)
    return values


def self_tuning_runs(task: Task, starts: Sequence[float]) -> dict[str, Outcome]:
    """Tune from every start, and take the method apart: controls of the first two starts."""
    n_splits = task.data.n_splits
    learnt = tune(task, [tuned_digits(start) for start in starts])
    path = learnt.history.unconstrained[:, : 2 * n_splits]
    held = torch.cat([starting_point(tuned_digits(start), n_splits) for start in starts[:2]])
    return {
        "self-tuning": learnt,
        "replayed schedule": fix(task, tuned_digits(0.05), path),
        "final values": fix(task, tuned_digits(0.05), path[-1:]),
        "responding, not tuned": fix(
            task, tuned_digits(0.05), held[None], responds=True, perturbation_std=0.5
        ),
    }


def grid_search(task: Task, rates: Sequence[float]) -> Outcome:
    """Plain networks under fixed dropout."""
    values = torch.cat([fixed_dropout(rate, task.data.n_splits) for rate in rates])
    return fix(task, tuned_digits(0.05), values[None])


def _trainer(task: Task) -> Callable[[Tensor, int], Outcome]:
    """Train plain networks at settings in the practitioner's box."""

    def train_plain(settings: Tensor, n_steps: int) -> Outcome:
        return fix(task, searched_digits(), settings.flatten(0, 1)[None], n_steps=n_steps)

    return train_plain


def halving(task: Task, n_candidates: int) -> list[Outcome]:
    """Successive halving of random candidates; the first is where the self-tuning runs start."""
    n_splits = task.data.n_splits
    shares = torch.rand(n_candidates, n_splits, 5, generator=stream(task.seed, "candidates"))
    candidates = torch.logit(shares, eps=1e-6)
    candidates[0] = starting_point(searched_digits(), n_splits)
    return successive_halving(_trainer(task), candidates, task.n_steps)


def bayesian(task: Task, n_rounds: int, n_at_once: int) -> list[Outcome]:
    """Tree-structured Parzen estimator on trainings of a third of the steps, then the best of them in full."""
    settings, outcomes = tree_parzen_search(
        _trainer(task),
        starting_point(searched_digits())[0],
        task.n_steps // 3,
        n_splits=task.data.n_splits,
        n_rounds=n_rounds,
        n_at_once=n_at_once,
        seed=task.seed,
    )
    best = torch.cat([each.validation for each in outcomes]).argmin(dim=0)
    chosen = settings[best, torch.arange(task.data.n_splits)]
    return [*outcomes, _trainer(task)(chosen[None], task.n_steps)]


def image_runs(task: Task, start: float, shift: int, n_layers: int) -> dict[str, Outcome]:
    """Convolutional networks: self-tuning, not tuned at the start, and without regularisation."""
    choice = tuned_images(start, shift, n_layers)
    held = starting_point(choice, task.data.n_splits)[None]
    return {
        "self-tuning": tune(task, [choice]),
        "responding, not tuned": fix(task, choice, held, responds=True, perturbation_std=0.5),
        "no regularisation": fix(task, choice, torch.full_like(held, NONE)),
    }


def text_runs(task: Task, start: float) -> dict[str, Outcome]:
    """Recurrent networks: self-tuning, replayed, at the final values, and without regularisation."""
    choice = tuned_text(start)
    learnt = tune(task, [choice])
    path = learnt.history.unconstrained
    return {
        "self-tuning": learnt,
        "replayed schedule": fix(task, choice, path),
        "final values": fix(task, choice, path[-1:]),
        "no regularisation": fix(task, choice, torch.full_like(path[-1:], NONE)),
    }


def tune_ridge(problem: Ridge, starts: Sequence[float], n_steps: int, seed: int) -> History:
    """Self-tuning ridge regression from every start, on every split."""
    n_splits, n_features = problem.design.shape[0], problem.design.shape[-1]
    start = torch.tensor(starts).double().repeat_interleave(n_splits)[:, None]
    base, slope = (
        torch.zeros(len(start), n_features, dtype=start.dtype, requires_grad=True) for _ in range(2)
    )
    return train_self_tuning(
        problem.losses(base, slope),
        torch.optim.Adam([base, slope], lr=0.02, fused=True),
        start,
        n_steps=n_steps,
        batch_size=problem.design.shape[1],
        warm_up=n_steps // 10,
        tuning_rate=0.01,
        std_rate=0.02,
        entropy_weight=0.001,
        evaluate_every=50,
        generator=stream(seed, "ridge", "perturbations"),
    )


def gate_losses(
    design: Float[Tensor, "n p"],
    targets: Float[Tensor, " n"],
    network: GatedNetwork,
    slopes: Float[Tensor, "runs r"],
    offsets: Float[Tensor, "runs r"],
) -> Callable[[Float[Tensor, "runs batch 1"]], Float[Tensor, " runs"]]:
    """Training loss ½|Xw − y|² + ½e^λ|w|² of a gated network, with the gates sigmoid(λ·slopes + offsets).

    Only the basis and the coefficients of `network` are used: the unregularised solution. Each example's loss is
    divided by |y|² + e^λ|w₀|², so that no λ outweighs the others; that moves no minimum.
    """
    gram, moment, energy = design.T @ design, design.T @ targets, targets.square().sum()
    whole = network.coefficients.square().sum()

    def loss(unconstrained: Tensor) -> Tensor:
        gates = torch.sigmoid(unconstrained * slopes[:, None] + offsets[:, None])
        weights = (gates * network.coefficients) @ network.basis
        squared = ((weights @ gram) * weights).sum(dim=-1) - 2 * weights @ moment + energy
        penalty = unconstrained[..., 0].exp()
        each = 0.5 * squared + 0.5 * penalty * weights.square().sum(dim=-1)
        return (each / (energy + penalty * whole)).mean(dim=1)

    return loss


def learn_gates(
    design: Float[Tensor, "n p"],
    targets: Float[Tensor, " n"],
    network: GatedNetwork,
    laws: Sequence[tuple[float, float]],
    *,
    n_steps: int,
    n_repeats: int,
    seed: int,
) -> GatedNetwork:
    """Train gates from nothing on the training loss under sampled λ ~ N(centre, std²); runs are laws × repeats."""
    given = torch.tensor(laws, dtype=design.dtype).repeat_interleave(n_repeats, dim=0)
    centre, std = given[:, :1], given[:, 1:]
    slopes, offsets = (
        torch.zeros(len(given), len(network.slopes), dtype=design.dtype, requires_grad=True) for _ in range(2)
    )
    loss = gate_losses(design, targets, network, slopes, offsets)
    optimiser = torch.optim.Adam([slopes, offsets], lr=0.1, fused=True)
    rate, generator = SCHEDULES["cosine"](optimiser, n_steps), stream(seed, "gates")

    def update(step: int) -> Tensor:
        value = training_step(loss, optimiser, perturb(centre, std, 64, generator))
        rate.step()
        return value

    train(update, n_steps=n_steps)
    return replace(network, slopes=slopes.detach(), offsets=offsets.detach())


def learned_gate_errors(
    exact: GatedNetwork, learned: GatedNetwork, laws: Sequence[tuple[float, float]]
) -> tuple[Float[Tensor, "laws repeats"], Float[Tensor, "laws repeats"]]:
    """Largest errors of slopes and offsets, and the largest relative error of the response within σ of the centre."""
    given = torch.tensor(laws, dtype=exact.slopes.dtype)
    pairs = ((learned.slopes, exact.slopes), (learned.offsets, exact.offsets))
    of_gates = torch.stack([(ours - theirs).abs().amax(dim=-1) for ours, theirs in pairs]).amax(dim=0)
    near = given[:, :1] + given[:, 1:] * torch.linspace(-1, 1, 9, dtype=given.dtype)
    repeats = len(learned.slopes) // len(given)
    values = near.repeat_interleave(repeats, dim=0)
    expected = exact.weights(values)
    gates = torch.sigmoid(values[..., None] * learned.slopes[:, None] + learned.offsets[:, None])
    found = (gates * exact.coefficients) @ exact.basis
    of_response = ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).amax(dim=-1)
    return of_gates.view(-1, repeats), of_response.view(-1, repeats)


# --- What the training steps converge to --------------------------------------------------------------------------


def direct_ridge(design: Tensor, targets: Tensor, log_penalty: float) -> tuple[Tensor, Tensor]:
    """Ridge regression by its normal equations: the solution, and the matrix."""
    normal = design.T @ design + math.exp(log_penalty) * torch.eye(design.shape[1], dtype=design.dtype)
    return torch.linalg.solve(normal, design.T @ targets), normal


def largest_gate_error(
    design: Float[Tensor, "n p"], targets: Float[Tensor, " n"], log_penalties: Sequence[float]
) -> float:
    """Largest relative error of the gated best response against the normal equations."""
    network = gated_best_response(design, targets)
    errors = []
    for value in log_penalties:
        expected, _ = direct_ridge(design, targets, value)
        weights = network.weights(torch.tensor(value, dtype=design.dtype))
        errors.append(((weights - expected).norm() / expected.norm()).item())
    return max(errors)


def ridge_jacobian_errors(
    design: Float[Tensor, "n p"], targets: Float[Tensor, " n"], log_penalty: float, stds: Sequence[float]
) -> list[float]:
    """Relative error of the fitted Jacobian of ridge regression, whose loss is not quadratic in the log penalty."""
    solution, normal = direct_ridge(design, targets, log_penalty)
    jacobian = -math.exp(log_penalty) * torch.linalg.solve(normal, solution)

    def loss(value: Tensor, weights: Tensor) -> Tensor:
        misfit = (design @ weights - targets).square().sum()
        return 0.5 * misfit + 0.5 * value.exp().sum() * weights.square().sum()

    centre = torch.tensor([log_penalty], dtype=design.dtype)
    fitted = [affine_best_response(loss, centre, std, design.shape[1])[1][:, 0] for std in stds]
    return [((each - jacobian).norm() / jacobian.norm()).item() for each in fitted]


def quadratic_jacobian_errors(stds: Sequence[float], seed: int) -> list[float]:
    """The same for a random loss that is quadratic in weights and hyperparameters together."""
    mixing = torch.randn(6, 10, generator=stream(seed, "quadratic"), dtype=torch.float64)
    stiffness, coupling = mixing @ mixing.T, mixing[:, :2]

    def loss(values: Tensor, weights: Tensor) -> Tensor:
        return 0.5 * weights @ stiffness @ weights + weights @ (coupling @ values + mixing[:, 2])

    jacobian, centre = -torch.linalg.solve(stiffness, coupling), torch.tensor([1.0, -2.0]).double()
    fitted = [affine_best_response(loss, centre, std, 6, n_nodes=5)[1] for std in stds]
    return [((each - jacobian).norm() / jacobian.norm()).item() for each in fitted]


def affine_gates(
    network: GatedNetwork, log_penalty: float, std: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """What a hyper-layer learns in place of the gates around a log penalty: their height there, and slope."""
    curvature = torch.exp(network.offsets)  # d²: the loss in principal coordinates, each divided by its s²

    def loss(value: Tensor, gates: Tensor) -> Tensor:
        return 0.5 * (curvature * (gates - 1).square() + value.exp() * gates.square()).sum()

    centre = torch.tensor([log_penalty], dtype=curvature.dtype)
    base, slope = affine_best_response(loss, centre, std, len(curvature))
    return base, slope[:, 0]
