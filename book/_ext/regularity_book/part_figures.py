"""The figure on a part's opening page: computed when the page is written, from the foundations of the package."""

import math
from collections.abc import Sequence
from html import escape

from sphinx.application import Sphinx

LEFT, RIGHT, TOP, BOTTOM = 56, 660, 16, 260  # of the drawing, in its own units
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def render(app: Sphinx, docname: str, part: str) -> str:
    return {"stein": _estimated_risk, "tuning": _hypergradient_errors}[part]()


def _estimated_risk() -> str:
    """Soft thresholding of a sparse signal: its error, and what Stein's identity says of it without the signal."""
    import torch

    from regularity.foundations.risk import sure_gaussian

    generator = torch.Generator().manual_seed(0)
    signal = torch.zeros(1, 1000, dtype=torch.float64)
    signal[:, :100] = 4.0
    noisy = signal + torch.randn(signal.shape, generator=generator, dtype=torch.float64)
    thresholds = torch.linspace(0, 3.5, 71, dtype=torch.float64)
    errors, estimates = [], []
    for threshold in thresholds:
        kept = (noisy.abs() - threshold).clamp_min(0)
        denoised = noisy.sign() * kept
        divergence = (kept > 0).double().sum(dim=1)
        errors.append((denoised - signal).square().mean().item())
        estimates.append(sure_gaussian(denoised, noisy, 1.0, divergence).item() / signal.numel())
    chosen, best = estimates.index(min(estimates)), errors.index(min(errors))
    excess = 100 * (errors[chosen] / errors[best] - 1)
    caption = (
        "Soft thresholding of 1,000 noisy numbers, of which 900 are zero and 100 are four, under noise of standard "
        "deviation one. Grey: the mean squared error, which needs the true numbers. Colour: Stein’s estimate of it, "
        f"which does not. Its lowest point is at a threshold of {thresholds[chosen]:.2f}; the error there is "
        f"{excess:.1f} % above the smallest that any threshold reaches."
    )
    return _chart(
        thresholds.tolist(),
        [("error", "grey", errors, best, -10), ("Stein’s estimate", "accent", estimates, chosen, 46)],
        labels=("threshold, in standard deviations of the noise", "squared error"),
        ticks=(range(4), [tenths / 10 for tenths in range(0, int(10.5 * max(errors)) + 1, 2)]),
        caption=caption,
    )


def _hypergradient_errors() -> str:
    """Ridge regression with a penalty for each coefficient: approximate hypergradients beside the exact one."""
    from functools import partial

    import torch

    from regularity.foundations.hypergradients import (
        conjugate_gradients,
        implicit_hypergradient,
        unrolled_hypergradient,
    )

    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    n, d = 60, 20
    scales = torch.logspace(0, -0.4, d, dtype=torch.float64) / math.sqrt(n)
    train, validation, weights = draw(n, d) * scales, draw(n, d) * scales, draw(d)
    train_targets, validation_targets = (rows @ weights + 0.3 * draw(n) for rows in (train, validation))
    log_penalties = torch.full((d,), -2.0, dtype=torch.float64)
    penalties = log_penalties.exp()

    def lower(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return ((train @ x - train_targets).square().sum() + (theta.exp() * x.square()).sum()) / 2

    def upper(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return (validation @ x - validation_targets).square().sum() / 2

    def hypergradient(solution: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        return jacobian.T @ (validation.T @ (validation @ solution - validation_targets))

    # The closed form: A x̂ = Xᵀy with A = XᵀX + diag(penalties), so the Jacobian of x̂ is −A⁻¹ diag(penalties · x̂).
    hessian = train.T @ train + penalties.diag()
    best = torch.linalg.solve(hessian, train.T @ train_targets)
    exact = hypergradient(best, -torch.linalg.solve(hessian, (penalties * best).diag()))

    def error(approximate: torch.Tensor) -> float:
        return math.log10((approximate - exact).norm() / exact.norm())

    def best_response(std: float) -> torch.Tensor:
        """Fit x̂(θ + ε) ≈ w + Jε by least expected lower objective over ε ~ N(0, std²), in closed form."""
        mean = math.exp(std**2 / 2) * penalties
        inverse = torch.linalg.inv(train.T @ train + mean.diag())
        shrink = mean / (1 + std**2 * mean * inverse.diagonal())
        coupled = train.T @ train + (mean - std**2 * mean * inverse.diagonal() * shrink).diag()
        solution = torch.linalg.solve(coupled, train.T @ train_targets)
        return hypergradient(solution, -inverse * (shrink * solution))

    step = 1 / torch.linalg.eigvalsh(hessian)[-1].item()
    counts = range(1, 62, 3)
    unrolled, implicit = [], []
    for count in counts:
        gradient, reached = unrolled_hypergradient(
            lambda x, theta: x - step * torch.func.grad(lower)(x, theta),
            upper,
            torch.zeros_like(best),
            log_penalties,
            n_steps=count,
        )
        unrolled.append(error(gradient))
        solve = partial(conjugate_gradients, tolerance=1e-10, n_iterations=count)
        implicit.append(error(implicit_hypergradient(lower, upper, reached, log_penalties, solve=solve)))
    responses = {std: error(best_response(std)) for std in (1.0, 0.25)}
    after = counts.index(40)
    caption = (
        "Ridge regression with one penalty for each of 20 coefficients, where the hypergradient has a closed form: "
        "relative errors of approximate ones. Both curves spend as many gradient steps on the lower problem as "
        f"products with its Hessian; after 40 of each, unrolling errs by {10 ** unrolled[after]:.1g} and implicit "
        f"differentiation by {10 ** implicit[after]:.1g}. A best response that is fitted to perturbed penalties "
        f"needs no Hessian; its error, {10 ** responses[1.0]:.1g} at σ = 1 and {10 ** responses[0.25]:.1g} at 1/4, "
        "comes from the perturbation."
    )
    flat = [
        (f"best response, σ = {std:g}", "accent dashed", [value] * len(counts), None, -8)
        for std, value in responses.items()
    ]
    return _chart(
        list(counts),
        [("unrolled", "grey", unrolled, None, 18), ("implicit", "accent", implicit, None, 20), *flat],
        labels=("gradient steps, and products with the Hessian", "relative error"),
        ticks=(range(10, 61, 10), range(-6, 1)),
        log=True,
        caption=caption,
    )


def _chart(
    x: Sequence[float],
    series: Sequence[tuple[str, str, Sequence[float], int | None, float]],
    *,
    labels: tuple[str, str],
    ticks: tuple[Sequence[float], Sequence[float]],
    caption: str,
    log: bool = False,
) -> str:
    """Draw lines as SVG in the colours of the page.

    A series is its name, classes, values, the point to mark, and how far below its end the name stands.
    """
    every = [*ticks[1], *(value for _, _, values, _, _ in series for value in values)]
    lowest, highest = min(every), max(every) + 0.05 * (max(every) - min(every))

    def place(at: float, value: float) -> tuple[float, float]:
        across = LEFT + (at - x[0]) / (x[-1] - x[0]) * (RIGHT - LEFT)
        return round(across, 1), round(BOTTOM - (value - lowest) / (highest - lowest) * (BOTTOM - TOP), 1)

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>']
    for tick in ticks[0]:
        parts.append(f'<text class="tick" x="{place(tick, lowest)[0]}" y="{BOTTOM + 18}">{tick}</text>')
    for tick in ticks[1]:
        text = f"10{f'{tick:d}'.translate(SUPERSCRIPTS)}" if log else f"{tick:g}"
        parts.append(f'<text class="tick up" x="{LEFT - 8}" y="{place(x[0], tick)[1] + 4}">{text}</text>')
    for name, classes, values, marked, drop in series:
        colour = classes.split()[0]
        points = " ".join(f"{a},{b}" for a, b in map(place, x, values))
        parts.append(f'<polyline class="line {classes}" points="{points}"/>')
        if marked is not None:
            a, b = place(x[marked], values[marked])
            parts.append(f'<circle class="{colour}" cx="{a}" cy="{b}" r="5"/>')
        end = place(x[-1], values[-1])[1] + drop
        parts.append(f'<text class="series {colour}" x="{RIGHT}" y="{end:g}">{escape(name)}</text>')
    parts.append(f'<text class="label" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 40}">{escape(labels[0])}</text>')
    middle = (TOP + BOTTOM) / 2
    turn = f"rotate(-90 14 {middle})"
    parts.append(f'<text class="label" x="14" y="{middle}" transform="{turn}">{escape(labels[1])}</text>')
    return (
        f'<figure class="speed chart"><div class="speed-scroll" tabindex="0" role="region" aria-label="Figure">'
        f'<svg viewBox="0 0 {RIGHT + 16} {BOTTOM + 52}" role="img" aria-label="{escape(caption, quote=True)}">'
        f"{''.join(parts)}</svg></div><figcaption>{escape(caption)}</figcaption></figure>"
    )
