"""The chapter's runs: orders, distances, the edge of stability, learning rates, games, and learning to balance."""

import importlib.util
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value, hessian, jacrev, jvp, vmap

from regularity.dynamics.discretisation_drift import method
from regularity.dynamics.discretisation_drift.method import SCALINGS, Adam, Game, Loss, Scaling
from regularity.foundations.choices import choose
from regularity.foundations.curvature import hessian_product, lanczos

Flow = Callable[[Tensor], Tensor]
Rule = Callable[[Tensor, Tensor], Tensor]
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
    return method.principal_flow(vmap(grad(loss))(points), vmap(hessian(loss))(points), learning_rate).real


def flows_of(loss: Loss, h: float) -> dict[str, Flow]:
    """Every flow of the chapter but the frozen one, by name, for the learning rate h."""
    return {
        "negative gradient": lambda at: method.modified_flow(loss, at, h, order=1),
        "IGR": lambda at: method.modified_flow(loss, at, h, order=2),
        "third order": lambda at: method.modified_flow(loss, at, h, order=3),
        "principal": lambda at: principal(loss, at, h),
        "principal + drift of H": lambda at: (
            principal(loss, at, h) - h**2 / 12 * method.curvature_drift(loss, at)
        ),
    }


def errors_of_a_step(loss: Loss, start: Tensor, rates: Sequence[float]) -> dict[str, Float[Tensor, " k"]]:
    """How far each flow ends from where one step goes, at each rate; the start is (1, d)."""
    errors: dict[str, list[Tensor]] = {}
    for h in rates:
        step = start - h * vmap(grad(loss))(start)
        frozen = {"frozen loss": lambda at, h=h: method.frozen_flow(loss, at, start, h)}
        for name, flow in (flows_of(loss, h) | frozen).items():
            errors.setdefault(name, []).append((follow(flow, start, h, 3) - step).norm())
    return {name: torch.stack(own) for name, own in errors.items()}


def slope(errors: Sequence[float] | Tensor, rates: Sequence[float]) -> float:
    """Slope of log error over log rate between the two smallest rates."""
    return float(np.log(float(errors[-2] / errors[-1])) / np.log(rates[-2] / rates[-1]))


def distances(
    loss: Loss, starts: Tensor, learning_rate: float, n_steps: int
) -> dict[str, Float[Tensor, " runs"]]:
    """How far three flows are from gradient descent after the time of n steps, one distance a run."""
    end = starts
    for _ in range(n_steps):
        end = end - learning_rate * vmap(grad(loss))(end)
    flows = flows_of(loss, learning_rate)
    return {
        name: (follow(flows[name], starts, n_steps * learning_rate, n_steps) - end).norm(dim=-1)
        for name in ("negative gradient", "IGR", "principal")
    }


def paths_on_a_bowl(
    curvatures: Float[Tensor, " d"], start: Float[Tensor, " d"], rate: float, n_steps: int, per_step: int
) -> dict[str, Tensor]:
    """Gradient descent on ½ Σ λᵢ θᵢ², a point a step, and flows, which are linear here, with `per_step` of them."""
    every, single = torch.eye(len(start)).to(start), curvatures.diag().expand(len(start), -1, -1)
    flows = {
        name: modified(every)
        for name, modified in flows_of(lambda point: (curvatures * point**2).sum() / 2, rate).items()
        if name in ("negative gradient", "IGR")
    } | {"principal": method.principal_flow(curvatures * every, single, rate)}
    times = torch.arange(n_steps * per_step + 1).to(start)[:, None, None] * rate / per_step
    moves = {name: torch.linalg.matrix_exp(times * velocities.mT) for name, velocities in flows.items()}
    steps = start * (1 - rate * curvatures) ** torch.arange(n_steps + 1).to(start)[:, None]
    return {name: move @ start.to(move) for name, move in moves.items()} | {"gradient descent": steps}


# --- The edge of stability -----------------------------------------------------------------------------------------


class Edge(NamedTuple):
    """Full-batch gradient descent, with a look at curvature and flow now and then."""

    seen: Tensor  # the steps after which there was a look
    curvature: Tensor  # largest ηλ, (seen, runs)
    rates: Tensor  # dE/dt of the principal flow
    rises: Tensor  # whether the loss rises in the next step


def loss_rate(
    loss: Loss, point: Float[Tensor, " d"], learning_rate: float, n_lanczos: int
) -> tuple[float, float]:
    """Largest ηλ, and dE/dt = gᵀ Re c(ηH) g of the principal flow, both by one run of Lanczos from g.

    With Ritz values θ and first components s of their vectors, gᵀ F(H) g ≈ ‖g‖² Σ s² F(θ): Gauss quadrature.
    """
    gradient = grad(loss)(point)
    reduced = lanczos(hessian_product(loss, point), gradient, n_steps=n_lanczos)
    values, vectors = reduced.eigenpairs()
    coefficients = method.principal_coefficient(learning_rate * values).real
    rate = gradient.double().square().sum() * (vectors[0].square() * coefficients).sum()
    return learning_rate * values[-1].item(), rate.item()


def edge_of_stability(
    loss: Loss, points: Tensor, learning_rate: float, n_steps: int, *, every: int, n_lanczos: int = 8
) -> Edge:
    """Train by full-batch gradient descent, and look after every `every` steps."""
    losses, seen, found = [], range(0, n_steps, every), []
    look = vmap(grad_and_value(loss))
    for step in range(n_steps):
        gradients, values = look(points)
        losses.append(values)
        if step in seen:
            found.append([loss_rate(loss, point, learning_rate, n_lanczos) for point in points])
        points = points - learning_rate * gradients
    losses = torch.stack([*losses, vmap(loss)(points)]).cpu()
    steps, observed = torch.tensor(seen), torch.tensor(found)
    return Edge(steps, observed[..., 0], observed[..., 1], losses[steps + 1] > losses[steps])


def balanced_accuracy(foreseen: Tensor, happened: Tensor) -> Tensor:
    """Mean of the share of rises that were foreseen and the share of falls, one a run; ½ for who always says one."""
    hits = (foreseen & happened).sum(dim=0) / happened.sum(dim=0)
    quiet = (~foreseen & ~happened).sum(dim=0) / (~happened).sum(dim=0)
    return (hits + quiet) / 2


# --- Learning rates ------------------------------------------------------------------------------------------------


class Descent(NamedTuple):
    """Full-batch gradient descent at varying rates."""

    losses: Tensor  # at every step, (steps, runs); ∞ once a run has passed 100 times its first loss
    rates: Tensor
    points: Tensor  # the last, or the first whose loss was below a target


def descend_at(
    loss: Loss, points: Float[Tensor, "runs d"], rule: Rule, n_steps: int, target: float = -torch.inf
) -> Descent:
    """Descend at the rates ``rule(points, gradients)``, and keep the points where the loss first meets a target."""
    kept, losses, rates = points, [], []
    look = vmap(grad_and_value(loss))
    alive = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for _ in range(n_steps):
        gradients, values = look(points)
        losses.append(torch.where(alive, values, torch.inf))
        alive = alive & (values < 100 * losses[0])
        gradients = torch.where(alive[:, None], gradients, 0.0)
        rates.append(rule(points, gradients))
        above = torch.stack(losses).amin(dim=0) > target
        points = points - rates[-1][:, None] * gradients
        kept = torch.where(above[:, None], points, kept)
    return Descent(torch.stack(losses), torch.stack(rates), kept)


def drift_adjusted(loss: Loss, power: float) -> Rule:
    """DAL: a Hessian-vector product a step."""

    def rule(points: Tensor, gradients: Tensor) -> Tensor:
        product = vmap(lambda point, gradient: jvp(grad(loss), (point,), (gradient,))[1])(points, gradients)
        return method.drift_adjusted_rate(gradients, product, power=power)

    return rule


def geometric_complexity(
    call: Callable[[Tensor, Tensor], Tensor], points: Float[Tensor, "runs d"], inputs: Float[Tensor, "n m"]
) -> Float[Tensor, " runs"]:
    """Mean squared norm of the network's derivative in its inputs: how steep the function is where the data lie."""
    slopes = vmap(lambda point: vmap(jacrev(lambda row: call(point, row)))(inputs))
    return slopes(points).square().sum(dim=(-1, -2)).mean(dim=-1)


# --- Games ---------------------------------------------------------------------------------------------------------


def game_flow(game: Game, rates: tuple[float, float], play: str | None) -> Flow:
    """The flow of a game, a round a unit of time, with a play's drift (None: without), on players in one vector."""

    def velocity(players: Tensor) -> Tensor:
        first, second = players[:1], players[1:]
        fields = game(first, second)
        if play is not None:
            drift = method.game_drift(game, first, second, rates, play=play)
            fields = [sum(parts) for parts in zip(fields, *drift, strict=True)]
        return torch.cat([rate * field for rate, field in zip(rates, fields, strict=True)])

    return velocity


def one_round(game: Game, players: Tensor, rate: float, play: str) -> Tensor:
    """Where two players in one vector are after a round."""
    return torch.cat(method.play_round(game, players[:1], players[1:], (rate, rate), play=play))


def game_errors(
    game: Game, start: Tensor, rates: Sequence[float], *, play: str, assumed: str | None
) -> list[float]:
    """How far the flow with the drift of `assumed` play (None: no drift) ends from where a round of `play` goes."""
    flows = [follow(game_flow(game, (rate, rate), assumed), start, 1.0, 4) for rate in rates]
    rounds = [one_round(game, start, rate, play) for rate in rates]
    return [(flow - moved).norm().item() for flow, moved in zip(flows, rounds, strict=True)]


def spectral_radius(move: Flow) -> float:
    """Of a linear map of two numbers."""
    matrix = torch.stack([move(column) for column in torch.eye(2, dtype=torch.float64)], dim=1)
    return torch.linalg.eigvals(matrix).abs().max().item()


def radii(game: Game, start: Tensor, rate: float, n_rounds: int, *, cancel: float) -> Tensor:
    """Distance of the players from the origin after each round of simultaneous play."""
    players, found = (start[:1], start[1:]), [start.norm()]
    for _ in range(n_rounds):
        players = method.play_round(game, *players, (rate, rate), cancel=cancel)
        found.append(torch.cat(players).norm())
    return torch.stack(found)


# --- Networks with a scaled layer ----------------------------------------------------------------------------------


def draw_layers(sizes: Sequence[int], n_runs: int, generator: Generator) -> list[Tensor]:
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
    for layer, (weights, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
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
            self.norm, self.direction = method.power_iteration(self.layers[-4], self.direction)

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
    images: Tensor,
    labels: Tensor,
    rates: Tensor,
    sizes: Sequence[int],
    n_epochs: int,
    seed: Generator,
) -> Networks:
    """Train classifiers side by side, each at its rate, by stochastic gradient descent on batches of 64."""
    n_runs, device = len(rates), images.device
    networks = Networks(name, sizes, n_runs, device, seed)
    rates = rates.to(device)[:, None, None]
    for _ in range(n_epochs):
        order = torch.stack([torch.randperm(len(labels), generator=seed) for _ in range(n_runs)])
        for rows in order.to(device).split(64, dim=1):
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


class Seen(NamedTuple):
    """Steps of an environment, (runs, copies); the weight is 0 where a step only begins the next episode."""

    before: Tensor
    after: Tensor
    actions: Tensor
    rewards: Tensor
    goes_on: Tensor
    counts: Tensor


class Replay:
    """What several runs have seen, each in several copies of an environment: a ring of steps."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.n_seen, self.kept = capacity, 0, ()

    def add(self, seen: Seen) -> None:
        """Keep one step of all runs."""
        self.kept = self.kept or [part.new_empty(self.capacity, *part.shape) for part in seen]
        for kept, part in zip(self.kept, seen, strict=True):
            kept[self.n_seen % self.capacity] = part
        self.n_seen += 1

    def draw(self, batch: int, generator: Generator) -> Seen:
        """A batch for each run."""
        n_runs, n_copies = self.kept[0].shape[1:3]
        steps = torch.randint(min(self.n_seen, self.capacity), (n_runs, batch), generator=generator)
        copies = torch.randint(n_copies, (n_runs, batch), generator=generator)
        where = steps, torch.arange(n_runs)[:, None], copies
        return Seen(*(kept[where] for kept in self.kept))


def check_environment(name: str) -> None:
    """Refuse what gymnasium cannot make, before anything is computed; MinAtar's are known once it is imported."""
    import gymnasium

    if name.startswith("MinAtar/") and "MinAtar/Breakout-v1" not in gymnasium.registry:
        if importlib.util.find_spec("minatar") is None:
            raise ModuleNotFoundError(
                f"environment {name!r} comes with the package minatar, which is not installed:"
                " python -m pip install minatar"
            )
        from minatar.gym import register_envs

        register_envs()
    try:
        gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise ValueError(f"environment must be a name that gymnasium knows; got {name!r}: {error}") from None


class World:
    """Gymnasium's environment in copies for runs side by side: its own vectorised form where it has one."""

    def __init__(self, name: str, n_runs: int, n_copies: int, device: Device, seed: int) -> None:
        import gymnasium

        check_environment(name)
        own = gymnasium.spec(name).vector_entry_point is not None
        mode = "vector_entry_point" if own else "sync"
        self.copies = gymnasium.make_vec(name, num_envs=n_runs * n_copies, vectorization_mode=mode)
        self.n_actions, self.device = int(self.copies.single_action_space.n), device
        self.shape = n_runs, n_copies
        self.observed = self._tensor(self.copies.reset(seed=seed)[0], -1)
        self.over = torch.zeros(self.shape, device=device)

    def _tensor(self, values: np.ndarray, *features: int) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).reshape(*self.shape, *features).to(self.device)

    def step(self, actions: Tensor) -> Seen:
        """Act in all copies."""
        before, counts = self.observed, 1 - self.over
        observed, rewards, terminated, truncated, _ = self.copies.step(actions.flatten().cpu().numpy())
        self.observed, self.over = self._tensor(observed, -1), self._tensor(terminated | truncated)
        return Seen(before, self.observed, actions, self._tensor(rewards), self._tensor(~terminated), counts)


def bellman_losses(values: Tensor, ahead: Tensor, seen: Seen, discount: float) -> Float[Tensor, " runs"]:
    """Mean squared errors in Q = r + γ max Q', where an end has nothing ahead and a new beginning does not count."""
    errors = values - seen.rewards - discount * seen.goes_on * ahead
    return (errors.square() * seen.counts).mean(dim=1)


def deep_q_learning(
    name: str,
    rates: Float[Tensor, " runs"],
    epsilons: Float[Tensor, " runs"],
    *,
    environment: str,
    n_steps: int,
    seed: int,
    width: int = 32,
    device: Device = "cpu",
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Float[Tensor, " runs"]:
    """Train Q-networks side by side with Adam; each run's mean reward an episode in its last third.

    Each run lives in four copies of the environment, remembers the latest 100,000 steps, and draws 32 of them to
    learn from; the target network is renewed every 100 steps.
    """
    n_runs, generator = len(rates), torch.Generator().manual_seed(seed)
    world = World(environment, n_runs, 4, device, seed)
    sizes = [world.observed.shape[-1], width, width, world.n_actions]
    networks = Networks(name, sizes, n_runs, device, generator)
    target, target_norm = [layer.detach().clone() for layer in networks.layers], networks.norm.detach()
    adam = Adam(networks.layers, rates.to(device), epsilons.to(device))
    replay = Replay(min(25_000, n_steps))
    earned, ends = torch.zeros(n_runs, device=device), torch.ones(n_runs, device=device)
    for step in steps(range(n_steps)):
        # Act: at random, with a probability that falls to 0.05 in the first third; otherwise by the largest value.
        with torch.no_grad():
            best = networks(world.observed).argmax(dim=-1)
        at_random = torch.rand(best.shape, generator=generator) < max(0.05, 1 - 3 * step / n_steps)
        drawn = torch.randint(world.n_actions, best.shape, generator=generator)
        seen = world.step(torch.where(at_random.to(device), drawn.to(device), best))
        replay.add(seen)
        if step >= n_steps - n_steps // 3:
            earned += seen.rewards.sum(dim=1)
            ends += world.over.sum(dim=1)
        if step < 50:
            continue
        # Learn: a step of Adam on the squared error in Bellman's equation.
        old = replay.draw(32, generator)
        with torch.no_grad():
            ahead = scaled_outputs(target, old.after, networks.scaling, target_norm).amax(dim=-1)
        networks.update_norm()
        values = networks(old.before).gather(-1, old.actions[..., None])[..., 0]
        losses = bellman_losses(values, ahead, old, 0.99)
        adam.step(networks.gradients(losses), networks.norm**networks.scaling.epsilon)
        if step % 100 == 0:
            target, target_norm = [layer.detach().clone() for layer in networks.layers], networks.norm
    world.copies.close()
    return (earned / ends).cpu()
