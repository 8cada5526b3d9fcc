"""The figure on a part's opening page: computed when the page is written, from the foundations of the package."""

from collections.abc import Sequence
from html import escape

from sphinx.application import Sphinx

LEFT, RIGHT, TOP, BOTTOM = 56, 660, 16, 260  # of the drawing, in its own units


def render(app: Sphinx, docname: str, part: str) -> str:
    return {"stein": _estimated_risk}[part]()


def _estimated_risk() -> str:
    """Soft thresholding of a sparse signal: its error, and what Stein's identity says of it without the signal."""
    import torch

    from regularity.foundations.stein import sure_gaussian

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
    x = thresholds.tolist()
    return _chart(
        x,
        [("error", "grey", errors, best), ("Stein’s estimate", "accent", estimates, chosen)],
        labels=("threshold, in standard deviations of the noise", "squared error"),
        caption=caption,
    )


def _chart(
    x: Sequence[float],
    series: Sequence[tuple[str, str, Sequence[float], int]],
    *,
    labels: tuple[str, str],
    caption: str,
) -> str:
    """Draw lines with a mark at one point each, as SVG in the colours of the page."""
    highest = 1.05 * max(max(values) for _, _, values, _ in series)

    def place(at: float, value: float) -> tuple[float, float]:
        across = LEFT + (at - x[0]) / (x[-1] - x[0]) * (RIGHT - LEFT)
        return round(across, 1), round(BOTTOM - value / highest * (BOTTOM - TOP), 1)

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>']
    for tick in range(int(x[0]), int(x[-1]) + 1):
        parts.append(f'<text class="tick" x="{place(tick, 0)[0]}" y="{BOTTOM + 18}">{tick}</text>')
    for tenths in range(0, int(10 * highest) + 1, 2):
        height = place(x[0], tenths / 10)[1] + 4
        parts.append(f'<text class="tick up" x="{LEFT - 8}" y="{height}">{tenths / 10:g}</text>')
    for name, colour, values, marked in series:
        points = " ".join(f"{a},{b}" for a, b in map(place, x, values))
        a, b = place(x[marked], values[marked])
        parts.append(f'<polyline class="line {colour}" points="{points}"/>')
        parts.append(f'<circle class="{colour}" cx="{a}" cy="{b}" r="5"/>')
        side = place(x[-1], values[-1])
        lift = -10 if colour == "grey" else 46
        parts.append(f'<text class="series {colour}" x="{RIGHT}" y="{side[1] + lift}">{escape(name)}</text>')
    parts.append(f'<text class="label" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 40}">{escape(labels[0])}</text>')
    middle = (TOP + BOTTOM) / 2
    turn = f"rotate(-90 14 {middle})"
    parts.append(f'<text class="label" x="14" y="{middle}" transform="{turn}">{escape(labels[1])}</text>')
    return (
        f'<figure class="speed chart"><div class="speed-scroll" tabindex="0" role="region" aria-label="Figure">'
        f'<svg viewBox="0 0 {RIGHT + 16} {BOTTOM + 52}" role="img" aria-label="{escape(caption, quote=True)}">'
        f"{''.join(parts)}</svg></div><figcaption>{escape(caption)}</figcaption></figure>"
    )
