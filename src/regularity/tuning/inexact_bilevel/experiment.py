"""The chapter's experiments: problems that are drawn, ways to begin that are tried, and what is read off a run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.restoration import denoise_tv_chambolle
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from regularity.data import block_mean, centre_crop, load_digits, photograph
from regularity.foundations.hypergradients import (
    conjugate_gradients,
    implicit_hypergradient,
    neumann_series,
    unrolled_hypergradient,
)
from regularity.foundations.metrics import psnr
from regularity.tuning.inexact_bilevel.method import (
    BilevelResult,
    certified_bracket,
    inexact_hypergradient,
    maid,
    solve_lower,
)
from regularity.tuning.inexact_bilevel.problems import (
    BilevelProblem,
    DenoisingProblem,
    QuadraticProblem,
    SoftmaxRegression,
)
from regularity.tuning.inexact_bilevel.rivals import hoag

# --- Problems ----------------------------------------------------------------------------------------------------


def draw_quadratic(
    n_rows: int,
    n_variables: int,
    generator: torch.Generator,
    *,
    condition: float = 10.0,
    device: str | torch.device = "cpu",
) -> QuadraticProblem:
    """Draw a quadratic problem whose lower level has about this condition number.

    A₃ is a rotation of A₂ with a tenth of something else, so that θ can undo what A₂ did.
    """
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    uniform = partial(torch.rand, generator=generator, dtype=torch.float64)
    first, second, third = (normal(n_rows, n_variables) / n_rows**0.5 for _ in range(3))
    second = second * torch.logspace(0, -math.log10(condition) / 2, n_variables, dtype=torch.float64)
    third = 0.1 * third + second @ torch.linalg.qr(normal(n_variables, n_variables))[0]
    truth, other, theta = (uniform(n_variables) for _ in range(3))
    first_right = first @ truth + 0.01 * uniform(n_rows)
    second_right = second @ other + third @ theta + 0.01 * uniform(n_rows)
    return QuadraticProblem(*(part.to(device) for part in (first, second, third, first_right, second_right)))


def squares(names: Sequence[str], size: int) -> Float[Tensor, "n 1 size size"]:
    """Cut squares out of the middle of photographs, shrunk by block means."""
    images = []
    for name in names:
        image = photograph(name)
        factor = min(image.shape) // size
        images.append(block_mean(centre_crop(image, factor * size), factor))
    return torch.stack(images)[:, None].double()


@dataclass(frozen=True)
class DigitSplit:
    """Training and validation digits as a problem, and the digits of the test."""

    problem: SoftmaxRegression
    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]

    def test_loss(self, weights: Float[Tensor, "d c"]) -> float:
        """Mean cross-entropy of the test digits."""
        return cross_entropy(self.features @ weights, self.labels).item()

    def best_single_penalty(self, penalties: Sequence[float]) -> float:
        """Test loss of scikit-learn's fit with the one penalty of least validation loss."""
        features, labels = (part.cpu().numpy() for part in (self.problem.features, self.problem.labels))
        found = []
        for penalty in penalties:
            strength = 1 / (penalty * len(features))
            peer = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000, tol=1e-6)
            weights = torch.as_tensor(peer.fit(features, labels).coef_.T).to(self.features)
            found.append((self.problem.upper(weights)[0], self.test_loss(weights)))
        return min(found)[1]


def draw_digits(
    n_train: int,
    n_validation: int,
    pixel_noise: float,
    generator: torch.Generator,
    *,
    device: str | torch.device = "cpu",
) -> DigitSplit:
    """Split scikit-learn's digits and add noise to their pixels, whose range is 1; the last feature is the bias."""
    images, labels = load_digits()
    pixels = images.flatten(1).double()
    noise = torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    features = torch.cat([pixels + pixel_noise * noise, noise.new_ones(len(noise), 1)], dim=1).to(device)
    labels = labels.to(device)
    order = torch.randperm(len(pixels), generator=generator).to(device)
    train, validation, test = order.tensor_split((n_train, n_train + n_validation))
    problem = SoftmaxRegression(features[train], labels[train], features[validation], labels[validation], 10)
    return DigitSplit(problem, features[test], labels[test])


# --- Ways to begin -----------------------------------------------------------------------------------------------

SCHEDULES: Mapping[str, Callable[[int], float]] = {
    "quadratic": lambda visit: 0.1 / visit**2,
    "cubic": lambda visit: 0.1 / visit**3,
    "geometric": lambda visit: 0.1 * 0.9**visit,
}
ACCURACIES = ("ε = 10", "middle", "ε = 0.001")  # keys of `maid_star`: four decades
STEPS = ("step / 100", "middle", "step × 100")  # four decades again


def maid_star(step: float) -> dict[str, dict[str, float]]:
    """Five ways to begin MAID: a middle, two more first accuracies, two more first steps."""
    options = {
        "middle": (0.1, step),
        "ε = 10": (10.0, step),
        "ε = 0.001": (1e-3, step),
        "step / 100": (0.1, step / 100),
        "step × 100": (0.1, step * 100),
    }
    return {
        name: {"accuracy": accuracy, "linear_accuracy": accuracy / 10, "step": first}
        for name, (accuracy, first) in options.items()
    }


def hoag_star(smoothness: float) -> dict[str, dict[str, object]]:
    """Five ways to begin HOAG: a middle, two more schedules, two more guesses of its Lipschitz constant."""
    options = {
        "quadratic": ("quadratic", smoothness),
        "cubic": ("cubic", smoothness),
        "geometric": ("geometric", smoothness),
        "guess / 10": ("quadratic", smoothness / 10),
        "guess × 10": ("quadratic", smoothness * 10),
    }
    return {
        name: {"tolerance": SCHEDULES[schedule], "smoothness": guess}
        for name, (schedule, guess) in options.items()
    }


def star_tasks(
    problems: Sequence[BilevelProblem],
    thetas: Sequence[Tensor],
    starts: Sequence[Tensor],
    *,
    n_units: int,
    step: float,
    methods: Sequence[str] = ("MAID", "HOAG"),
) -> dict[tuple[str, str, int], Callable[[], BilevelResult]]:
    """Make five tries of each method on each problem, around a first step and one over it as HOAG's guess, as tasks.

    The keys are (method, way to begin, number of the problem).
    """
    stars = {"MAID": (maid, maid_star(step)), "HOAG": (hoag, hoag_star(1 / step))}
    tasks = {}
    for method in methods:
        solve, star = stars[method]
        for way, options in star.items():
            for number, (problem, theta, start) in enumerate(zip(problems, thetas, starts, strict=True)):
                tasks[method, way, number] = partial(solve, problem, theta, start, n_units=n_units, **options)
    return tasks


@dataclass(frozen=True)
class Race:
    """Losses of several methods, each begun in several ways, on several problems.

    Attributes
    ----------
    first
        Loss at θ₀, one a problem.
    last
        By (method, way to begin), the loss at the last θ, one a problem.
    """

    first: Sequence[float]
    last: Mapping[tuple[str, str], Sequence[float]]

    def spreads(self, method: str, ways: Sequence[str]) -> list[float]:
        """Largest minus smallest loss over some ways to begin, as a share of what the best gained; one a problem."""
        columns = zip(*(self.last[method, way] for way in ways), strict=True)
        return [
            (max(losses) - min(losses)) / (first - min(losses))
            for losses, first in zip(columns, self.first, strict=True)
        ]

    def chosen_elsewhere(self, method: str) -> list[float]:
        """For each problem, the loss of the way that did best on the *other* ones: tuned, but not on itself."""
        star = {way: losses for (name, way), losses in self.last.items() if name == method}
        chosen = []
        for judged in range(len(self.first)):
            others = {
                way: sum(loss for number, loss in enumerate(losses) if number != judged)
                for way, losses in star.items()
            }
            chosen.append(star[min(others, key=others.get)][judged])
        return chosen


def finish(
    problems: Sequence[BilevelProblem],
    thetas: Sequence[Tensor],
    starts: Sequence[Tensor],
    runs: Mapping[tuple[str, str, int], BilevelResult],
) -> Race:
    """Take the losses of the runs of `star_tasks`."""
    first = [settled_loss(*each) for each in zip(problems, thetas, starts, strict=True)]
    last: dict[tuple[str, str], list[float]] = {}
    for (method, way, number), run in runs.items():
        loss = settled_loss(problems[number], run.theta, run.solution)
        last.setdefault((method, way), []).append(loss)
    return Race(first, last)


# --- What is read off a run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """Work spent, and a loss, at each θ that a run kept, and at its end."""

    work: tuple[int, ...]
    losses: tuple[float, ...]

    def work_to(self, target: float) -> float:
        """Work until the loss is at most `target`; infinite where it never is."""
        pairs = zip(self.work, self.losses, strict=True)
        return next((float(work) for work, loss in pairs if loss <= target), math.inf)


def exact_loss(problem: QuadraticProblem, theta: Tensor) -> float:
    """f(θ), from the closed form."""
    return problem.upper(problem.minimiser(theta))[0]


def exact_gaps(problem: QuadraticProblem, run: BilevelResult) -> Trace:
    """Exact f(θ) − f* along a run."""
    best = exact_loss(problem, problem.best_theta())
    thetas = [*(visit.theta for visit in run.accepted), run.theta]
    work = (*(visit.cost for visit in run.accepted), run.cost)
    return Trace(work, tuple(exact_loss(problem, theta) - best for theta in thetas))


def computed_losses(problem: BilevelProblem, run: BilevelResult) -> Trace:
    """g(x̃) along a run, as the run itself computed it."""
    work = (*(visit.cost for visit in run.history), run.cost)
    return Trace(work, (*(visit.value for visit in run.history), problem.upper(run.solution)[0]))


def broken_promise(problem: QuadraticProblem, run: BilevelResult, decrease: float) -> float:
    """Largest excess of f(θ⁺) over f(θ) − λα‖z‖² among the accepted steps, as a share of f(θ₀)."""
    gaps, first = exact_gaps(problem, run).losses, exact_loss(problem, run.history[0].theta)
    promised = [decrease * visit.step * visit.hypergradient.square().sum().item() for visit in run.accepted]
    excess = [new - old + least for old, new, least in zip(gaps, gaps[1:], promised, strict=False)]
    return max(excess, default=0.0) / first


def loose_certificates(
    problem: QuadraticProblem, theta: Tensor, starts: Float[Tensor, "n d"], **accuracies: float
) -> tuple[list[tuple[float, float]], float]:
    """Bounds and errors of hypergradients from several starts; how far f lies outside a bracket at most, over f."""
    truth, loss = problem.exact_hypergradient(theta), exact_loss(problem, theta)
    pairs, outside = [], []
    for start in starts:
        found = inexact_hypergradient(problem, theta, start, **accuracies)
        ends = certified_bracket(
            found.upper_value, found.upper_slope, found.lower.accuracy, problem.upper_smoothness
        )
        pairs.append((found.bound, torch.linalg.vector_norm(found.values - truth).item()))
        outside.append(max(ends.low - loss, loss - ends.high) / loss)
    return pairs, max(outside)


def settled_loss(problem: BilevelProblem, theta: Tensor, start: Tensor) -> float:
    """f(θ), with the lower level solved anew, to one accuracy for all methods."""
    return problem.upper(solve_lower(problem, theta, start, accuracy=1e-3).values)[0]


def true_errors(problem: BilevelProblem, run: BilevelResult, n_visits: int = 8) -> list[tuple[float, float]]:
    """Bounds and errors at visits spread over a run, the truth's own bound taken from the error."""
    pairs = []
    for visit in run.history[:: max(len(run.history) // n_visits, 1)]:
        truth = inexact_hypergradient(
            problem, visit.theta, run.solution, accuracy=1e-10, linear_accuracy=1e-10, n_iterations=20_000
        )
        error = torch.linalg.vector_norm(visit.hypergradient - truth.values).item()
        pairs.append((visit.bound, max(error - truth.bound, 0.0)))
    return pairs


def mean_psnr(images: Tensor, clean: Tensor) -> float:
    """In dB, a mean over the images."""
    return float(psnr(images, clean).mean())


def denoised_psnr(problem: DenoisingProblem, theta: Tensor) -> float:
    """Mean PSNR of the images that θ makes, in dB."""
    return mean_psnr(solve_lower(problem, theta, problem.noisy, accuracy=1e-3).values, problem.clean)


def searched_on_a_grid(
    problem: DenoisingProblem, first: Sequence[float], second: Sequence[float]
) -> tuple[float, Tensor]:
    """Least loss over a grid of two parameters, and the θ that has it."""
    found, x = [], problem.noisy
    for other in second:
        for one in first:
            theta = problem.noisy.new_tensor([one, other])
            x = solve_lower(problem, theta, x, accuracy=1e-2).values
            found.append((problem.upper(x)[0], theta))
    return min(found, key=lambda pair: pair[0])


def isotropic_psnr(problem: DenoisingProblem, weights: Sequence[float]) -> float:
    """Mean PSNR of scikit-image's isotropic total variation at its best weight, in dB."""
    best = -math.inf
    for weight in weights:
        denoise = partial(denoise_tv_chambolle, weight=weight, max_num_iter=500)
        images = np.stack([denoise(image) for image in problem.noisy[:, 0].cpu().numpy()])
        best = max(best, mean_psnr(torch.as_tensor(images)[:, None].to(problem.clean), problem.clean))
    return best


def errors_of_three_ways(
    problem: QuadraticProblem, theta: Tensor, counts: Sequence[int]
) -> dict[str, list[float]]:
    """Errors of hypergradients by linear solvers at the exact minimiser, and by unrolling from zero."""

    def lower(x: Tensor, theta: Tensor) -> Tensor:
        return (problem.second @ x + problem.third @ theta - problem.second_right).square().sum() / 2

    def upper(x: Tensor, theta: Tensor) -> Tensor:
        return (problem.first @ x - problem.first_right).square().sum() / 2

    def step_down(x: Tensor, theta: Tensor) -> Tensor:
        return x - step * (problem.gram @ x + problem.mixed @ theta - problem.second.T @ problem.second_right)

    step, minimiser = 1 / problem.curvature(theta).smoothness, problem.minimiser(theta)
    exact = problem.exact_hypergradient(theta)
    errors: dict[str, list[float]] = {"conjugate gradients": [], "Neumann series": [], "unrolling": []}
    for n in counts:
        solvers = {
            "conjugate gradients": partial(conjugate_gradients, tolerance=1e-15, n_iterations=n),
            "Neumann series": partial(neumann_series, step=step, n_terms=n),
        }
        found = {
            name: implicit_hypergradient(lower, upper, minimiser, theta, solve=solve)
            for name, solve in solvers.items()
        }
        zero = torch.zeros_like(minimiser)
        found["unrolling"] = unrolled_hypergradient(step_down, upper, zero, theta, n_steps=n)[0]
        for name, values in found.items():
            errors[name].append(torch.linalg.vector_norm(values - exact).item())
    return errors
