"""The chapter's runs: orders, distances, the edge of stability, learning rates, games, and learning to balance."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, hessian, jacrev, jvp, vmap

from regularity.dynamics.discretisation_drift.method import (
    SCALINGS,
    Adam,
    Drift,
    Game,
    Loss,
    Scaling,
    curvature_drift,
    drift_adjusted_rate,
    frozen_flow,
    game_drift,
    modified_flow,
    play_round,
    power_iteration,
    principal_coefficient,
    principal_flow,
)
from regularity.foundations.choices import choose
from regularity.foundations.curvature import hessian_product, lanczos

Flow = Callable[[Tensor], Tensor]
Progress = Callable[[Iterable[int]], Iterable[int]]
Device, Generator = torch.device | str, torch.Generator

# --- Flows beside gradient descent ---------------------------------------------------------------------------------


def follow(flow: Flow, start: Tensor, time: float, n_substeps: int) -> Tensor:
    """Follow a flow by the classical Runge-Kutta method."""
    point, h = start, time / n_substeps
    for _ in range(n_substeps):
        k1 = flow(point)
        k2 = flow(point + h / 2 * k1)
        k3 = flow(point + h / 2 * k2)
        k4 = flow(point + h * k3)
        point = point + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return point


def principal(loss: Loss, points: Tensor, learning_rate: float) -> Tensor:
    """The principal flow of a loss at points (runs, d); its real part where a curvature is beyond ηλ = 1."""
    return principal_flow(vmap(grad(loss))(points), vmap(hessian(loss))(points), learning_rate).real


def flows_of(loss: Loss, learning_rate: float) -> dict[str, Flow]:
    """Every flow of the chapter but the frozen one, by name."""
    h = learning_rate
    return {
        "negative gradient": lambda at: modified_flow(loss, at, h, order=1),
        "IGR": lambda at: modified_flow(loss, at, h, order=2),
        "third order": lambda at: modified_flow(loss, at, h, order=3),
        "principal": lambda at: principal(loss, at, h),
        "principal + drift of H": lambda at: principal(loss, at, h) - h**2 / 12 * curvature_drift(loss, at),
    }


def descend(loss: Loss, start: Tensor, learning_rate: float, n_steps: int) -> Tensor:
    """The end of a run of gradient descent; points (runs, d)."""
    for _ in range(n_steps):
        start = start - learning_rate * vmap(grad(loss))(start)
    return start


def errors_of_a_step(loss: Loss, start: Tensor, rates: Sequence[float]) -> dict[str, Float[Tensor, " k"]]:
    """How far each flow ends from where one step goes, at each rate; the start is (1, d)."""
    errors: dict[str, list[Tensor]] = {}
    for h in rates:
        step = descend(loss, start, h, 1)
        frozen = {"frozen loss": lambda at, h=h: frozen_flow(loss, at, start, h)}
        for name, flow in (flows_of(loss, h) | frozen).items():
            errors.setdefault(name, []).append((follow(flow, start, h, 3) - step).norm())
    return {name: torch.stack(own) for name, own in errors.items()}


def slope(errors: Float[Tensor, " k"], rates: Sequence[float]) -> float:
    """Slope of log error over log rate between the two smallest rates."""
    rise = errors[-2].log() - errors[-1].log()
    return float(rise / (np.log(rates[-2]) - np.log(rates[-1])))


def distances(
    loss: Loss, starts: Tensor, learning_rate: float, n_steps: int, n_substeps: int
) -> dict[str, Float[Tensor, " runs"]]:
    """How far three flows are from gradient descent after the time of n steps, one distance a run."""
    end = descend(loss, starts, learning_rate, n_steps)
    flows = flows_of(loss, learning_rate)
    return {
        name: (follow(flows[name], starts, n_steps * learning_rate, n_substeps) - end).norm(dim=-1)
        for name in ("negative gradient", "IGR", "principal")
    }


# --- The edge of stability -----------------------------------------------------------------------------------------


class Edge(NamedTuple):
    """Full-batch gradient descent, observed now and then.

    Attributes
    ----------
    losses
        At every step, (steps + 1, runs).
    seen
        The steps that were observed.
    curvature
        ηλ at those steps, λ the Hessian's largest eigenvalue, (seen, runs).
    rates
        dE/dt of the principal flow there.
    """

    losses: Tensor
    seen: Tensor
    curvature: Tensor
    rates: Tensor

    def rises(self) -> Tensor:
        """Whether the loss rises in the step after each observation."""
        return self.losses[self.seen + 1] > self.losses[self.seen]


def loss_rate(
    loss: Loss, point: Float[Tensor, " d"], learning_rate: float, n_lanczos: int
) -> tuple[float, float]:
    """Largest ηλ, and dE/dt = gᵀ Re c(ηH) g of the principal flow, both by one run of Lanczos from g.

    With Ritz values θ and first components s of their vectors, gᵀ F(H) g ≈ ‖g‖² Σ s² F(θ): Gauss quadrature.
    """
    gradient = grad(loss)(point)
    reduced = lanczos(hessian_product(loss, point), gradient, n_steps=n_lanczos)
    values, vectors = reduced.eigenpairs()
    coefficients = principal_coefficient(learning_rate * values).real
    rate = gradient.double().square().sum() * (vectors[0].square() * coefficients).sum()
    return learning_rate * values[-1].item(), rate.item()


def edge_of_stability(
    loss: Loss, starts: Tensor, learning_rate: float, n_steps: int, *, every: int, n_lanczos: int = 8
) -> Edge:
    """Train by full-batch gradient descent, and look at curvature and flow after every `every` steps."""
    points, losses, seen, found = starts, [], [], []
    look = vmap(torch.func.grad_and_value(loss))
    for step in range(n_steps):
        gradients, values = look(points)
        losses.append(values)
        if step % every == 0:
            seen.append(step)
            found.append([loss_rate(loss, point, learning_rate, n_lanczos) for point in points])
        points = points - learning_rate * gradients
    losses.append(vmap(loss)(points))
    observed = torch.tensor(found)
    return Edge(torch.stack(losses).cpu(), torch.tensor(seen), observed[..., 0], observed[..., 1])


def balanced_accuracy(foreseen: Tensor, happened: Tensor) -> Tensor:
    """Mean of the share of rises that were foreseen and the share of falls, one a run; ½ for who always says one."""
    hits = (foreseen & happened).sum(dim=0) / happened.sum(dim=0)
    quiet = (~foreseen & ~happened).sum(dim=0) / (~happened).sum(dim=0)
    return (hits + quiet) / 2


# --- Learning rates ------------------------------------------------------------------------------------------------


class Descent(NamedTuple):
    """Full-batch gradient descent at varying rates.

    Attributes
    ----------
    losses, rates
        At every step, (steps, runs); a loss is ∞ once its run has passed 100 times its first loss.
    points
        The last points, or the first whose loss was below a target.
    """

    losses: Tensor
    rates: Tensor
    points: Tensor


def descend_at(
    loss: Loss,
    starts: Float[Tensor, "runs d"],
    rule: Callable[[Tensor, Tensor], Tensor],
    n_steps: int,
    target: float = -torch.inf,
) -> Descent:
    """Descend at the rates ``rule(points, gradients)``, and keep the points where the loss first meets a target."""
    points, kept, losses, rates = starts, starts, [], []
    look = vmap(torch.func.grad_and_value(loss))
    alive = torch.ones(len(starts), dtype=torch.bool, device=starts.device)
    for _ in range(n_steps):
        gradients, values = look(points)
        losses.append(torch.where(alive, values, torch.inf))
        alive = alive & (values < 100 * losses[0])
        gradients = torch.where(alive[:, None], gradients, torch.zeros_like(gradients))
        rates.append(rule(points, gradients))
        above = torch.stack(losses).amin(dim=0) > target
        points = points - rates[-1][:, None] * gradients
        kept = torch.where(above[:, None], points, kept)
    return Descent(torch.stack(losses), torch.stack(rates), kept)


def fixed(rates: Float[Tensor, " runs"]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same rate at all steps."""
    return lambda points, gradients: rates


def drift_adjusted(loss: Loss, power: float, largest: float = 5.0) -> Callable[[Tensor, Tensor], Tensor]:
    """DAL: a Hessian-vector product a step."""

    def rule(points: Tensor, gradients: Tensor) -> Tensor:
        product = vmap(lambda point, gradient: jvp(grad(loss), (point,), (gradient,))[1])(points, gradients)
        return drift_adjusted_rate(gradients, product, power=power, largest=largest)

    return rule


def geometric_complexity(
    call: Callable[[Tensor, Tensor], Tensor], points: Float[Tensor, "runs d"], inputs: Float[Tensor, "n m"]
) -> Float[Tensor, " runs"]:
    """Mean squared norm of the network's derivative in its inputs: how steep the function is where the data lie."""
    slopes = vmap(lambda point: vmap(jacrev(lambda row: call(point, row)))(inputs))
    return slopes(points).square().sum(dim=(-1, -2)).mean(dim=-1)


# --- Games ---------------------------------------------------------------------------------------------------------


def game_flow(game: Game, rates: tuple[float, float], drift: Callable[[Tensor, Tensor], Drift]) -> Flow:
    """The flow of a game, in units of rounds, on the two players' coordinates in one vector of two."""

    def velocity(players: Tensor) -> Tensor:
        first, second = players[:1], players[1:]
        added = drift(first, second)
        return torch.cat(
            [
                rate * (field + own + other)
                for rate, field, own, other in zip(rates, game(first, second), *added, strict=True)
            ]
        )

    return velocity


def without_drift(first: Tensor, second: Tensor) -> Drift:
    """What the plain flow adds."""
    nothing = torch.zeros_like(first), torch.zeros_like(second)
    return Drift(nothing, nothing)


def game_error(
    game: Game, start: Tensor, rates: tuple[float, float], *, play: str, assumed: str | None
) -> float:
    """How far the flow with the drift of `assumed` play (None: no drift) ends from where a round of `play` goes."""
    drift = without_drift
    if assumed is not None:
        drift = lambda a, b: game_drift(game, a, b, rates, play=assumed)  # noqa: E731
    flow = follow(game_flow(game, rates, drift), start, 1.0, 4)
    return (flow - torch.cat(play_round(game, start[:1], start[1:], rates, play=play))).norm().item()


def radii(game: Game, start: Tensor, rate: float, n_rounds: int, *, play: str, cancel: float = 0.0) -> Tensor:
    """Distance of the players from the origin after each round."""
    players, found = (start[:1], start[1:]), [start.norm()]
    for _ in range(n_rounds):
        players = play_round(game, *players, (rate, rate), play=play, cancel=cancel)
        found.append(torch.cat(players).norm())
    return torch.stack(found)


# --- Networks with a scaled layer ----------------------------------------------------------------------------------


def draw_layers(sizes: Sequence[int], n_runs: int, generator: torch.Generator) -> list[Tensor]:
    """He's initial weights (runs, in, out) and zero biases (runs, 1, out) of ReLU networks, in turn."""
    layers = []
    for before, after in itertools.pairwise(sizes):
        weights = torch.randn(n_runs, before, after, generator=generator) * (2 / before) ** 0.5
        layers += [weights, torch.zeros(n_runs, 1, after)]
    return layers


def scaled_outputs(
    layers: Sequence[Tensor],
    inputs: Float[Tensor, "runs n d"],
    scaling: Scaling,
    norm: Float[Tensor, " runs"],
) -> Float[Tensor, "runs n k"]:
    """Outputs of ReLU networks whose last hidden layer, or output, is divided by a power of its spectral norm."""
    factor, values = norm[:, None, None], inputs
    hidden = len(layers) // 2 - 2
    for layer in range(len(layers) // 2):
        weights, bias = layers[2 * layer], layers[2 * layer + 1]
        if layer == hidden and scaling.layer:
            weights = weights / factor**scaling.layer
        values = torch.baddbmm(bias, values, weights)
        if layer <= hidden:
            values = torch.relu(values)
    return values / factor**scaling.output if scaling.output else values


class Networks:
    """ReLU networks side by side, with the spectral norm σ of their last hidden layer where a scaling says."""

    def __init__(self, name: str, sizes: Sequence[int], n_runs: int, device: Device, seed: Generator) -> None:
        self.scaling = choose("name", name, SCALINGS)
        self.layers = [layer.to(device).requires_grad_() for layer in draw_layers(sizes, n_runs, seed)]
        self.direction = torch.randn(n_runs, sizes[-2], generator=seed).to(device)
        self.norm = torch.ones(n_runs, device=device)
        for _ in range(20):
            self.update_norm()

    def update_norm(self) -> None:
        """One step of the power iteration."""
        if any(self.scaling):
            self.norm, self.direction = power_iteration(self.layers[-4], self.direction)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs (runs, n, k) for inputs (runs, n, d)."""
        return scaled_outputs(self.layers, inputs, self.scaling, self.norm)

    def gradients(self, losses: Float[Tensor, " runs"]) -> list[Tensor]:
        """Gradients of each run's loss, divided by σ where the scaling says so; σ itself then is a number."""
        found = torch.autograd.grad(losses.sum(), self.layers)
        self.norm = self.norm.detach()
        divisor = self.norm[:, None, None] ** self.scaling.gradient
        return [gradient / divisor for gradient in found]


def train_classifiers(
    name: str,
    images: Float[Tensor, "n d"],
    labels: Tensor,
    learning_rates: Float[Tensor, " runs"],
    *,
    sizes: Sequence[int],
    n_epochs: int,
    batch: int,
    generator: Generator,
) -> Networks:
    """Train classifiers side by side by stochastic gradient descent."""
    n_runs, device = len(learning_rates), images.device
    networks = Networks(name, sizes, n_runs, device, generator)
    rates = learning_rates.to(device)[:, None, None]
    for _ in range(n_epochs):
        order = torch.stack([torch.randperm(len(labels), generator=generator) for _ in range(n_runs)])
        for rows in order.to(device).split(batch, dim=1):
            networks.update_norm()
            outputs = networks(images[rows])
            losses = torch.nn.functional.cross_entropy(outputs.mT, labels[rows], reduction="none")
            gradients = networks.gradients(losses.mean(dim=1))
            with torch.no_grad():
                for layer, gradient in zip(networks.layers, gradients, strict=True):
                    layer.sub_(rates * gradient)
    return networks


@torch.no_grad()
def accuracy(networks: Networks, images: Float[Tensor, "n d"], labels: Tensor) -> Float[Tensor, " runs"]:
    """Share of the images that each network names rightly."""
    outputs = networks(images.expand(len(networks.norm), -1, -1))
    return (outputs.argmax(dim=-1) == labels).float().mean(dim=1).cpu()


# --- Learning to balance -------------------------------------------------------------------------------------------


class Replay:
    """What several runs have seen, each in several copies of an environment: a ring of steps, one row a step.

    A row holds the observations before and after, then the reward, whether the episode goes on, and the weight.
    """

    def __init__(self, capacity: int, shape: tuple[int, int], n_features: int, device: Device) -> None:
        self.rows = torch.zeros(capacity, *shape, 2 * n_features + 3, device=device)
        self.actions = torch.zeros(capacity, *shape, dtype=torch.long, device=device)
        self.sizes, self.n_seen = (n_features, n_features, 1, 1, 1), 0

    def add(self, seen: "Seen") -> None:
        """Keep one step of all runs."""
        place = self.n_seen % len(self.rows)
        columns = seen.rewards, seen.goes_on, seen.counts
        one = torch.stack([column.to(self.rows.device) for column in columns], dim=-1)
        self.rows[place] = torch.cat([seen.before, seen.after, one], dim=-1)
        self.actions[place] = seen.actions
        self.n_seen += 1

    def draw(self, batch: int, generator: Generator) -> "Seen":
        """A batch for each run."""
        n_kept, n_runs, n_copies = min(self.n_seen, len(self.rows)), *self.rows.shape[1:3]
        steps = torch.randint(n_kept, (n_runs, batch), generator=generator)
        copies = torch.randint(n_copies, (n_runs, batch), generator=generator)
        where = steps, torch.arange(n_runs)[:, None], copies
        before, after, *columns = self.rows[where].split(self.sizes, dim=-1)
        return Seen(before, after, self.actions[where], *(column[..., 0] for column in columns))


class Seen(NamedTuple):
    """Steps of an environment: the weight is 0 where a step only begins the next episode."""

    before: Tensor
    after: Tensor
    actions: Tensor
    rewards: Tensor
    goes_on: Tensor
    counts: Tensor


class World:
    """Gymnasium's environment in copies for runs side by side: its own vectorised form where it has one."""

    def __init__(self, name: str, n_runs: int, n_copies: int, device: Device, seed: int) -> None:
        import gymnasium

        if name.startswith("MinAtar/"):  # its own package, which must be asked to register
            from minatar.gym import register_envs

            register_envs()
        own = gymnasium.spec(name).vector_entry_point is not None
        mode = "vector_entry_point" if own else "sync"
        self.copies = gymnasium.make_vec(name, num_envs=n_runs * n_copies, vectorization_mode=mode)
        self.n_actions, self.device = int(self.copies.single_action_space.n), device
        self.shape = n_runs, n_copies
        self.observed = self._inputs(self.copies.reset(seed=seed)[0])
        self.over = torch.zeros(self.shape)

    def _inputs(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).reshape(*self.shape, -1).to(self.device)

    def step(self, actions: Tensor) -> Seen:
        """Act in all copies."""
        before, counts = self.observed, 1 - self.over
        observed, rewards, terminated, truncated, _ = self.copies.step(actions.flatten().numpy())
        self.observed = self._inputs(observed)
        self.over, rewards, goes_on = (
            torch.from_numpy(values).float().reshape(self.shape)
            for values in (terminated | truncated, rewards, ~terminated)
        )
        return Seen(before, self.observed, actions, rewards, goes_on, counts)


def bellman_losses(values: Tensor, ahead: Tensor, seen: Seen, discount: float) -> Float[Tensor, " runs"]:
    """Mean squared errors in Q = r + γ max Q', where an end has nothing ahead and a new beginning does not count."""
    errors = values - seen.rewards - discount * seen.goes_on * ahead
    return (errors.square() * seen.counts).mean(dim=1)


def deep_q_learning(
    name: str,
    learning_rates: Float[Tensor, " runs"],
    epsilons: Float[Tensor, " runs"],
    *,
    environment: str,
    n_steps: int,
    seed: int,
    n_copies: int = 4,
    width: int = 32,
    batch: int = 32,
    discount: float = 0.99,
    target_every: int = 100,
    capacity: int = 100_000,
    device: Device = "cpu",
    steps: Progress = iter,
) -> Float[Tensor, " runs"]:
    """Train Q-networks side by side with Adam; each run's mean reward an episode in its last third.

    `capacity` counts what a run may remember, in steps of single copies.
    """
    n_runs, generator = len(learning_rates), torch.Generator().manual_seed(seed)
    world = World(environment, n_runs, n_copies, device, seed)
    n_features = world.observed.shape[-1]
    networks = Networks(name, [n_features, width, width, world.n_actions], n_runs, device, generator)
    target, target_norm = [layer.detach().clone() for layer in networks.layers], networks.norm.detach()
    adam = Adam(networks.layers, learning_rates.to(device), epsilons.to(device))
    replay = Replay(min(max(capacity // n_copies, 1), n_steps), world.shape, n_features, device)
    earned, ends = torch.zeros(n_runs), torch.ones(n_runs)
    for step in steps(range(n_steps)):
        # Act: at random, with a probability that falls to 0.05 in the first third; otherwise by the largest value.
        with torch.no_grad():
            best = networks(world.observed).argmax(dim=-1).cpu()
        at_random = torch.rand(best.shape, generator=generator) < max(0.05, 1 - 3 * step / n_steps)
        actions = torch.where(
            at_random, torch.randint(world.n_actions, best.shape, generator=generator), best
        )
        seen = world.step(actions)
        replay.add(seen)
        if step >= n_steps - n_steps // 3:
            earned += seen.rewards.sum(dim=1)
            ends += world.over.sum(dim=1)
        if step < 50:
            continue
        # Learn: a step of Adam on the squared error in Bellman's equation.
        old = replay.draw(batch, generator)
        with torch.no_grad():
            ahead = scaled_outputs(target, old.after, networks.scaling, target_norm).amax(dim=-1)
        networks.update_norm()
        values = networks(old.before).gather(-1, old.actions[..., None])[..., 0]
        losses = bellman_losses(values, ahead, old, discount)
        adam.step(networks.gradients(losses), networks.norm**networks.scaling.epsilon)
        if step % target_every == 0:
            target, target_norm = [layer.detach().clone() for layer in networks.layers], networks.norm
    world.copies.close()
    return earned / ends
