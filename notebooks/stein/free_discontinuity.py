# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Free discontinuity regression: the border that nobody drew
#
# **A surface is smooth, except that somewhere it jumps. Where the border of the jump runs, nobody knows, nor how high the
# step is. Can scattered and noisy measurements tell?**
#
# | | |
# |---|---|
# | paper | *Free Discontinuity Regression: With an Application to the Economic Effects of Internet Shutdowns* {cite:p}`gunsilius2023free` |
# | authors | Florian Gunsilius and David Van Dijcke |
# | year, arXiv | 2023, [2309.14630](https://arxiv.org/abs/2309.14630) |
# | what is regularised | a regression surface over a region |
# | by what | a price for variation where it is smooth, and a price for each unit of border where it jumps |
# | for whom | whoever looks for a change and does not know where it is: economists with policies that end at some line, analysts of time series, anybody with maps |
#
# They can, if border has a price. Send a candidate surface three bills: for its distance to the data, for its slope, and
# for the length of the lines along which it jumps, where no slope is charged. The cheapest surface is smooth where the
# data are smooth, and torn where they are torn. To find it one would have to compare all surfaces with all possible
# tears. The way out is to look for the set of points *under* the surface instead, one dimension higher. There the
# problem is convex, and a certificate tells how far from the best one still is.
#
# In this chapter the border is a circle, and the surface has a slope as well as the step. From
# {glue:text}`free-discontinuity-n-points` noisy points the circle is found: {glue:text}`free-discontinuity-missed` of its
# cells are missed, and {glue:text}`free-discontinuity-false` of all others are marked by mistake. In the paper's own
# setting the step is recovered to {glue:text}`free-discontinuity-size` of its height. Every solution of the convex problem
# comes with a certificate that it is within {glue:text}`free-discontinuity-tolerance` of its optimum; and on a line, where
# the cheapest surface can be computed in another way, the convex detour finds it. One part of the method does not work as hoped.
# Stein's unbiased risk estimate picks the two prices without the truth, and picks them well *for the surface*. But with
# these prices {glue:text}`free-discontinuity-hidden` of the circle is no longer marked: what is best for the surface hides
# its border.

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
seed: int = 7  # seed of all random draws
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
n_threads: int = 1  # threads of a CPU for one solve; small grids gain nothing from more
n_workers: int = 2  # fits at a time; one where there is a GPU
noise_std: float = 0.05  # standard deviation of the noise in all simulations
jump: float = 0.75  # height of the step, in standard deviations of the values without it
smallest_jump: float = 0.1  # jumps from this height on count; sets the price of border
n_bins: int = 8  # bins of the lifting in two and three dimensions
n_iterations: int = 150  # iterations of each solve behind a risk estimate
tolerance: float = 0.01  # relative gap to which all other solves go
n_draws: int = 4  # data sets of the sparse disk
n_points: int = 4000  # points of each
n_cells: int = 32  # cells along each axis
fidelity: float = 1000.0  # weight of the data, where it is not chosen
fidelities: list = [500, 1000, 2000]  # candidates
boundary_prices: list = [0.2, 0.4, 0.8, 1.6]  # candidates, for values scaled to [0, 1]
n_probes: int = 2  # random directions of each risk estimate
n_baselines: int = 12  # candidates for the weight of total variation, and for the Gaussian's bandwidth
n_simulations: int = 4  # data sets of each size in the paper's own setting
paper_points: list = [5000, 10000, 20000]  # points; a grid has 20 a cell
paper_fidelity: float = 4000.0  # weight of the data there
small_jump: float = 0.25  # the paper's smallest step, in the same units as `jump`
n_lines: int = 4  # data sets on a line
line_cells: int = 64  # cells of the line
line_bins: int = 32  # bins of the lifting there
n_risk_draws: int = 200  # draws of the noise in the test of the risk estimate
ball_points: int = 16000  # points in three dimensions
ball_cells: int = 16  # cells along each axis there
ball_jump: float = 1.5  # height of the step there, in the same units as `jump`
nile_fidelities: list = [10, 20, 40, 80]  # candidates for the Nile
nile_prices: list = [0.1, 0.2, 0.4]  # candidates for the Nile
nile_bins: int = 16  # bins of the lifting for the Nile
scene_points: int = 6400  # measurements of the motorcycle
scene_cells: int = 40  # cells along each axis there
scene_noise: float = 5.0  # standard deviation of their noise, in pixels
scene_fidelities: list = [1000, 2000]  # candidates there
scene_prices: list = [0.2, 0.4, 0.8]  # candidates there

# %%
import math
from functools import partial

import numpy as np
import torch
from matplotlib.colors import to_rgba
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from regularity.data import load_disparity, load_nile
from regularity.foundations.proximal import denoise_total_variation, forward_gradient, lengths
from regularity.foundations.risk import monte_carlo_divergence, sure_gaussian
from regularity.foundations.training import run_side_by_side
from regularity.lab import (
    ACCENT,
    BASELINE,
    PALETTE,
    Claim,
    at_least,
    at_most,
    between,
    figure,
    glue_number,
    progress,
    resolve_device,
    seeded_generator,
    show,
    show_claims,
    use_book_style,
)
from regularity.stein.free_discontinuity import (
    cast_to_grid,
    find_jumps,
    free_discontinuity_regression,
    iterate_primal_dual,
    lifted_mumford_shah,
    mumford_shah_energy,
    mumford_shah_on_a_line,
    nearest_neighbour_noise,
    project_paraboloid,
    sure_of_candidates,
)

use_book_style()
torch.set_num_threads(n_threads)
place = resolve_device(device)
gaps = []  # of every surface in this chapter

# %% [markdown]
# The paper's simulations take the distance to the centre of the unit square as the smooth part, and add a step of height
# $\alpha$ outside a circle of radius 1/4:
#
# $$
# Y_i = f(X_i) + \varepsilon_i, \qquad f(x) = |x - c| + \alpha\, \mathbb{1}\{|x - c| \ge \tfrac14\},
# $$
#
# with points $X_i$ drawn uniformly. They measure the step in standard deviations of $Y$ without it. At
# {glue:text}`free-discontinuity-jump` of them it is {glue:text}`free-discontinuity-height` high, which is what the cone
# climbs over as much of the square's side. To make the task harder than the authors' we take few points at first,
# {glue:text}`free-discontinuity-per-cell` a cell of the grid. The noise in a cell's mean then has a standard deviation of
# {glue:text}`free-discontinuity-cell-noise`.


# %%
def step_height(multiple, n_axes):
    """Height of a step in standard deviations of the values without it; of |x − c| the square has mean 1/6, ..."""
    mean = {2: (math.sqrt(2) + math.asinh(1)) / 6, 3: 0.480296}[n_axes]
    return multiple * math.sqrt(n_axes / 12 - mean**2 + noise_std**2)


def draw_disk(n_points, height, generator, n_axes=2):
    """Points, true values and noisy values of a cone with a step on a sphere around its tip."""
    points = torch.rand(n_points, n_axes, generator=generator, dtype=torch.float64)
    distance = (points - 0.5).norm(dim=1)
    truth = distance + height * (distance >= 0.25)
    noise = torch.randn(n_points, generator=generator, dtype=torch.float64)
    return points.to(place), truth.to(place), (truth + noise_std * noise).to(place)


def border_cells(n_cells, n_axes=2):
    """Cells between which and a next one the sphere passes: the jumps that one should find."""
    middles = torch.meshgrid([(torch.arange(n_cells) + 0.5) / n_cells] * n_axes, indexing="ij")
    outside = torch.stack([(axis - 0.5).square() for axis in middles]).sum(dim=0).sqrt() >= 0.25
    return (lengths(forward_gradient(outside.double(), n_axes), 0)[0] > 0).numpy()


def compare_borders(found, border):
    """False cells, missed cells (each with a tolerance of one cell, as in the paper), mean distance both ways."""
    found = found.cpu().numpy()
    square = np.ones([3] * border.ndim)
    near_border, near_found = (binary_dilation(cells, square) for cells in (border, found))
    false = (found & ~near_border).sum() / (~near_border).sum()
    missed = (border & ~near_found).sum() / border.sum()
    if not found.any():
        return false, missed, math.nan
    there, back = distance_transform_edt(~border)[found], distance_transform_edt(~found)[border]
    return false, missed, (there.mean() + back.mean()) / (2 * border.shape[0])


def scale(means):
    """Cell means brought to [0, 1], their minimum and their range."""
    low, width = means.min(), means.max() - means.min()
    return ((means - low) / width).float(), low, width


def mark_cells(axes, cells):
    """Colour cells of a square picture of side 1, the first row at the bottom."""
    colours = np.zeros((*cells.shape, 4))
    colours[cells.cpu().numpy()] = to_rgba(ACCENT)
    axes.imshow(colours, origin="lower", extent=(0, 1, 0, 1))


def price_of(smallest, width, n_cells):
    """The price of border at which jumps from `smallest` on count."""
    return n_cells * (smallest / float(width)) ** 2


height = step_height(jump, 2)
disks = [draw_disk(n_points, height, seeded_generator(1000 * seed + draw)) for draw in range(n_draws)]
casts = [cast_to_grid(points, values, n_cells) for points, _, values in disks]
targets = [cast_to_grid(points, truth, n_cells).means for points, truth, _ in disks]
border = border_cells(n_cells)

scaled = [scale(cast.means) for cast in casts]
prices = torch.tensor([price_of(smallest_jump, width, n_cells) for _, _, width in scaled])
sparse = lifted_mumford_shah(
    torch.stack([data for data, _, _ in scaled]),
    fidelity,
    prices.to(place),
    n_bins=n_bins,
    tolerance=tolerance,
)
gaps += sparse.relative_gap.tolist()
surfaces = [low + width * surface for surface, (_, low, width) in zip(sparse.surface, scaled, strict=True)]
jumps = [find_jumps(surface, smallest_jump) for surface in surfaces]
borders = np.array([compare_borders(found.cells, border) for found in jumps])
raw_borders = np.array(
    [compare_borders(find_jumps(cast.means, smallest_jump).cells, border) for cast in casts]
)

# %% tags=["hide-input", "thumbnail"] mystnb={"figure": {"name": "fig-free-discontinuity-disk", "caption": "From noisy points to a border. Left: the points, coloured by value; the step, on the grey circle, is lower than the noise's span. Middle: means of the cells, four points each. Right: the estimated surface, and the cells where it jumps (blue)."}, "image": {"alt": "Three squares. The left one shows scattered coloured points with a dashed circle, the middle one a grainy grid of means, the right one a smooth bowl with a ring of blue cells that follows the circle."}}
fig, panels = figure(1, 3, height=2.5, sharex=True, sharey=True)
points, _, values = (part.cpu() for part in disks[0])
span = {"vmin": values.quantile(0.01).item(), "vmax": values.quantile(0.99).item()}
panels[0].scatter(*points.T, c=values, s=1.5, cmap="gray", **span)
for axes, grid in zip(panels[1:], (casts[0].means, surfaces[0]), strict=True):
    axes.imshow(grid.cpu().T, origin="lower", extent=(0, 1, 0, 1), **span)
mark_cells(panels[2], jumps[0].cells.T)
angle = np.linspace(0, 2 * math.pi, 200)
for axes, title in zip(panels, ("data", "means of the cells", "surface and its jumps"), strict=True):
    axes.plot(0.5 + np.cos(angle) / 4, 0.5 + np.sin(angle) / 4, color=PALETTE[3], lw=1, ls="--")
    axes.set(title=title, aspect="equal", xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])

# %%
glue_number("free-discontinuity-n-points", n_points, ",d")
glue_number("free-discontinuity-false", 100 * borders[:, 0].mean(), ".1f", "%")
glue_number("free-discontinuity-missed", 100 * borders[:, 1].mean(), ".1f", "%")
glue_number("free-discontinuity-raw-false", 100 * raw_borders[:, 0].mean(), ".0f", "%")
glue_number("free-discontinuity-height", height, ".3f")
glue_number("free-discontinuity-jump", jump, "g")
glue_number("free-discontinuity-per-cell", n_points / n_cells**2, ".0f")
glue_number("free-discontinuity-n-bins", n_bins, "d")
glue_number("free-discontinuity-cell-noise", noise_std / math.sqrt(n_points / n_cells**2), ".3f")
glue_number("free-discontinuity-smallest", smallest_jump, "g")
glue_number("free-discontinuity-price", prices.mean().item(), ".2f")

# %% [markdown]
# The means themselves jump by {glue:text}`free-discontinuity-smallest` or more at
# {glue:text}`free-discontinuity-raw-false` of the cells that are nowhere near the circle: they are too noisy to be cut
# directly. To smooth them first would blunt the step. The estimate smooths and cuts at once.
#
# ## The method
#
# ### Three bills
#
# Cast the data on a grid of cells of side $h$, with $g$ the mean of the values in each cell, scaled to $[0, 1]$ by its
# range. {cite:t}`mumford1989optimal` charge a surface $u$ with jump set $J$
#
# $$
# E(u) = \lambda \int (u - g)^2 + \int_{\Omega \setminus J} |\nabla u|^2 + \nu\, \mathcal{H}^{D-1}(J),
# $$ (free-discontinuity-energy)
#
# with $\lambda$ the fidelity to the data and $\nu$ the price of a unit of border: of a point for $D = 1$, of length for
# $D = 2$, of area for $D = 3$. On the grid each cell takes the cheaper of the two last bills. With $\delta u$ the vector
# of forward differences,
#
# $$
# E_h(u) = h^D \sum_x \Big[ \lambda (u - g)^2 + \min\big( |\delta u|^2 / h^2,\ \nu / h \big) \Big].
# $$ (free-discontinuity-grid)
#
# The prices meet at $|\delta u| = \sqrt{\nu h}$: smaller differences are slope, larger ones are jumps. So the price of
# border has a plain meaning. It sets *the smallest jump that counts*. To count jumps from
# {glue:text}`free-discontinuity-smallest` on, with data of range $w$, take $\nu$ such that $w \sqrt{\nu h}$ is that
# number, here $\nu =$ {glue:text}`free-discontinuity-price`.
#
# To minimise {eq}`free-discontinuity-grid` is hard. Whether one edge should break depends on all others, and descent
# from a first guess ends in one of very many local minima. On a line alone there is an exact way, by dynamic programming
# over the places of the breaks {cite:p}`blake1987visual`. It will serve as the judge.

# %%
show(mumford_shah_energy, mumford_shah_on_a_line)

# %% [markdown]
# ### One dimension up
#
# Instead of $u$ take the set of points under its graph, $v(x, t) = 1$ where $t < u(x)$ and 0 above. All three bills can
# be written with $v$ alone, and *linearly*: as the flow of a vector field $\varphi = (\varphi^x, \varphi^t)$ through the
# graph, where the field may be chosen to make the bill as large as possible within two limits
# {cite:p}`alberti2003calibration`:
#
# $$
# E(u) = \sup_{\varphi} \int \varphi \cdot Dv, \qquad
# \varphi^t \ge \tfrac14 |\varphi^x|^2 - \lambda (t - g)^2, \qquad
# \Big| \int_{t_1}^{t_2} \varphi^x\, dt \Big| \le \nu \ \text{ for all } t_1 < t_2 .
# $$ (free-discontinuity-lifting)
#
# Where the graph has the slope $\nabla u$, the first limit lets the field collect
# $\varphi^x \cdot \nabla u - |\varphi^x|^2/4$, at most $|\nabla u|^2$, and the distance to the data on top. Where it jumps
# from $t_1$ to $t_2$, the second lets it collect $\nu$ and no more, however high the jump.
#
# The energy is now a largest value of linear functions of $v$, so it is convex. What is not convex is the set of
# functions $v$ with values 0 and 1. Let them take any value in between, falling from 1 at the lowest $t$ to 0 at the
# highest. Then $v(x, \cdot)$ describes a *probability measure over heights*, and the problem is convex
# {cite:p}`pock2009algorithm`. If its solution is a point mass in every cell, it is the graph of a surface, and no
# surface whatever is cheaper. Elsewhere we take the height at which $v$ falls through ½. On a line the detour loses
# nothing: the two minima are equal {cite:p}`carioni2016convex`.
#
# ### Bins
#
# Heights are cut into $K$ bins. If the mass could sit on the labels between them alone, a surface would move in steps
# of a whole bin. The second limit needs $K(K+1)/2$ pairs of labels, so one cannot have very many.
# {cite:t}`mollenhoff2017sublabel` let the mass of a bin have its mean anywhere inside the bin. In the dual, $\varphi^x$ is
# constant over a bin and $\varphi^t$ linear, and the first limit becomes that of a paraboloid,
# $z \ge (|\varphi^x|^2 + y^2)/4$. With this, {glue:text}`free-discontinuity-n-bins` bins do for the disk. (The authors
# of our paper use 32 labels.)
#
# The second limit is kept by multipliers, one for each run of bins. They mean something by themselves: how much of the
# surface breaks across this run. Each is shortened by an amount in proportion to $\nu$, to zero if it is shorter than
# that. This is what keeps the limit, and what makes breaks rare. One iteration of the primal-dual method
# {cite:p}`pock2011diagonal` then reads:

# %%
show(iterate_primal_dual, project_paraboloid)

# %% [markdown]
# Each iteration does not stop at the new point but goes on in its direction, 1.9 times as far
# {cite:p}`condat2013primal`. That saves a good part of the iterations.
#
# ### The certificate
#
# When to stop? Any field that satisfies both limits gives a lower bound of the minimum, and any falling $v$ an upper
# one. After each fifty iterations the field is scaled, cell by cell, so that it satisfies the second limit exactly. For a
# field whose horizontal part is given, the best vertical part is known, and the least flow through any graph is found in
# each cell by itself:
#
# $$
# \mathcal{D}(\varphi^x) = h^D \sum_x \min_t \Big[ \lambda (t - g)^2 - \tfrac14 |\varphi^x(t)|^2
# - \int_0^t \operatorname{div} \varphi^x\, dt' \Big].
# $$ (free-discontinuity-dual)
#
# The lifted function is made to fall, and what its mass cannot carry as slope is booked as breaks, bin by bin. That is a
# feasible point; call its energy $\mathcal{P}$. Then $\mathcal{D} \le \min \le \mathcal{P}$, whatever the iteration has
# done. All surfaces of this chapter, but those behind the risk estimates, are run until
# $(\mathcal{P} - \mathcal{D}) / \mathcal{P}$ is at most {glue:text}`free-discontinuity-tolerance`, and one that does not
# get there says so. {numref}`fig-free-discontinuity-lifted` shows a slice of the lifted function, and both bounds.

# %%
glue_number("free-discontinuity-tolerance", 100 * tolerance, "g", "%")
data, low, width = scaled[0]
lifted = sparse.lifted[0].cpu()
checkpoints = [10, 20, 40, 80, 160, 320]
runs = [
    lifted_mumford_shah(data[None], fidelity, prices[0].item(), n_bins=n_bins, n_iterations=count)
    for count in progress(checkpoints, "bounds")
]
middle = n_cells // 2

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-free-discontinuity-lifted", "caption": "Left: the lifted function along a line through the middle of the disk: one (white) under the surface, zero (grey) above, in between where the solution is not a single surface. The estimate (blue) runs where it falls through ½; the dashed line is the truth, the dots are the means of the cells. Right: the upper and the lower bound of the relaxed minimum against the iterations, for the whole surface."}, "image": {"alt": "Left, a white region under a graph shaped like a V with two steps, its edge sharp nearly everywhere. Right, two curves over the iterations on logarithmic axes; the upper one stays far above the lower one at first, then falls fast and meets it."}}
fig, (left, right) = figure(1, 2, height=2.7)
levels = (low + width * torch.linspace(0, 1, lifted.shape[0], dtype=low.dtype)).cpu()
along = (np.arange(n_cells) + 0.5) / n_cells
left.pcolormesh(along, levels, lifted[:, :, middle], cmap="gray", vmin=-1.5, vmax=1, shading="nearest")
left.plot(along, casts[0].means[:, middle].cpu(), "o", color=PALETTE[5], ms=2, label="means")
fine = np.linspace(0, 1, 400)
distance = np.hypot(fine - 0.5, (middle + 0.5) / n_cells - 0.5)
left.plot(fine, distance + height * (distance >= 0.25), color=PALETTE[3], lw=1.2, ls="--", label="truth")
left.step(along, surfaces[0][:, middle].cpu(), where="mid", color=ACCENT, label="estimate")
left.set(xlabel="first coordinate", ylabel="value", xlim=(0, 1))
left.legend(loc="upper center", ncols=3, handlelength=1.2, columnspacing=1)
right.plot(checkpoints, [run.primal.item() for run in runs], "-o", color=ACCENT, label="upper bound")
right.plot(checkpoints, [run.dual.item() for run in runs], "-s", color=PALETTE[0], label="lower bound")
right.set(xscale="log", yscale="log", xlabel="iterations", ylabel="energy")
right.set_xticks(checkpoints, labels=checkpoints)
right.set_yticks([2, 5, 10, 20, 50], labels=[2, 5, 10, 20, 50])
right.minorticks_off()
legend = right.legend()

# %% [markdown]
# ### How high is the step?
#
# The difference of two cells across the border contains the step, but also the slope of the surface over one cell; and
# where the border cuts through a cell, only a part of the step. So we take the difference over three edges, less three
# times the mean slope of the two edges beyond. (The authors' code takes the largest minus the smallest value over the
# run of cells that jump. That contains the slope.)

# %%
show(find_jumps)

# %% [markdown]
# ### Two prices, chosen by Stein
#
# Which $\lambda$ and which $\nu$? Given the places $X_i$, the means are $g = m + \text{noise}$, where $m$ holds the means of
# the true values in the cells, and the noise of a cell with $c$ points has variance $s^2 = \sigma^2/c$. The surface $u(g)$
# is some map of $g$, with solver, stopping and all. Its risk is {eq}`sure` with unequal variances:
#
# $$
# \mathbb{E} \sum_x (u - m)^2
# = \mathbb{E} \sum_x \Big[ (u - g)^2 - s^2 + 2 s^2 \frac{\partial u}{\partial g} \Big].
# $$ (free-discontinuity-sure)
#
# One random direction $b$ gives the last sum: solve again for $g + \epsilon s b$, and take
# $\sum_x s\, b\, (u(g + \epsilon s b) - u(g)) / \epsilon$. (The same trick makes a training loss in {doc}`noise2score`;
# a choice between a few prices asks less of it.) All pairs of prices are solved in one batch, with the same direction.
# A cell without data borrows the mean of the nearest one that has some; this is part of the map, and the sums run over
# the cells with data. For $\sigma$, compare each point with its nearest neighbour: half of the squared difference of
# their values is $\sigma^2$ in the mean, and a median does not mind the few pairs that straddle the border.

# %%
show(sure_of_candidates, nearest_neighbour_noise)

# %% [markdown]
# All of it in one function, from scattered data to jumps:

# %%
show(free_discontinuity_regression)

# %% [markdown]
# ## The experiment
#
# ### On a line, where the best is known
#
# Take a curve with two jumps, with noise, on {glue:text}`free-discontinuity-line-cells` cells, drawn
# {glue:text}`free-discontinuity-n-lines` times. Dynamic programming finds the minimum of {eq}`free-discontinuity-grid`.
# Does the convex detour, with {glue:text}`free-discontinuity-line-bins` bins?

# %%
line_fidelity, line_price = 200.0, 0.3
x = (torch.arange(line_cells, dtype=torch.float64) + 0.5) / line_cells
curve = 0.25 + 0.2 * torch.sin(3 * x) + 0.35 * (x > 0.4) - 0.2 * (x > 0.75)
drawing = seeded_generator(1000 * seed + 100)
lines = curve + 0.03 * torch.randn(n_lines, line_cells, generator=drawing, dtype=torch.float64)
detour = lifted_mumford_shah(
    lines.float().to(place),
    line_fidelity,
    line_price,
    n_bins=line_bins,
    n_iterations=3000,
    tolerance=tolerance / 2,
)
gaps += detour.relative_gap.tolist()
off_minimum, same_jumps = [], []
print("exact minimum   lower bound   upper bound   rms difference   jumps after the cells")
for number, (line, surface) in enumerate(zip(lines, detour.surface.cpu(), strict=True)):
    exact, energy = mumford_shah_on_a_line(line, line_fidelity, line_price)
    bounds = detour.dual[number].item(), detour.primal[number].item()
    off_minimum.append(max(abs(bound / energy - 1) for bound in bounds))
    breaks = [
        find_jumps(u, math.sqrt(line_price / line_cells)).cells.nonzero()[:, 0].tolist()
        for u in (exact, surface)
    ]
    same_jumps.append(breaks[0] == breaks[1])
    rms = (surface - exact).square().mean().sqrt().item()
    print(f"{energy:13.3f}{bounds[0]:14.3f}{bounds[1]:14.3f}{rms:17.3f}   {breaks[0]} and {breaks[1]}")
glue_number("free-discontinuity-line-cells", line_cells, "d")
glue_number("free-discontinuity-line-bins", line_bins, "d")
glue_number("free-discontinuity-n-lines", n_lines, "d")

# %% [markdown]
# It does, up to the width of a bin. (The two bounds are those of the relaxed problem *with bins*, whose minimum may lie a
# little to either side of the exact one.)
#
# ### Is the risk estimate unbiased?
#
# A map that solves a problem with kinks, stops after some iterations and then cuts is not what Stein had in mind. So the
# estimate is put to the test, on {glue:text}`free-discontinuity-risk-draws` draws of the noise around one curve, for
# three pairs of prices. The mean of SURE less the loss should be zero within its standard error. It matters how long the
# step $\epsilon$ along the random direction is. Where the surface is about to break, a long step crosses the break and
# takes the jump for a derivative; a very short one hardly ever meets it, and then with a huge quotient. Two lengths, in
# standard deviations of the noise:

# %%
risk_cells = 32
x = (torch.arange(risk_cells) + 0.5) / risk_cells
curve = (0.3 + 0.15 * torch.sin(3 * x) + 0.3 * (x > 0.5)).to(place)
drawing = seeded_generator(1000 * seed + 200)
draws = curve + noise_std * torch.randn(n_risk_draws, risk_cells, generator=drawing).to(place)
apart = {0.1: [], 0.5: []}
print("              risk    SURE (1e-4), ± the error of its distance to the risk, for a step of")
print("  λ     ν   (1e-4)        0.1 std            0.5 std")
for pair in ((100.0, 0.2), (300.0, 0.1), (30.0, 0.5)):

    def smooth(rows, pair=pair):
        """The surfaces, one a row."""
        return lifted_mumford_shah(rows, *pair, n_bins=n_bins, n_iterations=n_iterations).surface

    estimates = smooth(draws)
    loss = (estimates - curve).square().mean(dim=1)
    row = f"{pair[0]:3.0f}{pair[1]:6.1f}{1e4 * loss.mean():9.2f}"
    for step, found in apart.items():
        probing = seeded_generator(1000 * seed + 201)
        divergence = monte_carlo_divergence(
            smooth, draws, step=step * noise_std, value=estimates, generator=probing
        )
        estimated = sure_gaussian(estimates, draws, noise_std, divergence) / risk_cells
        difference = estimated - loss
        error = difference.std() / math.sqrt(n_risk_draws)
        found.append((difference.mean() / error).item())
        row += f"{1e4 * estimated.mean():12.2f} ± {1e4 * error:.2f}"
    print(row)
glue_number("free-discontinuity-risk-draws", n_risk_draws, "d")
glue_number("free-discontinuity-n-pairs", len(fidelities) * len(boundary_prices), "d")

# %% [markdown]
# With a step of a tenth no bias shows within the errors. With half a standard deviation the estimate tends to be too high
# at the lowest price of border, where the surface is full of breaks that come and go, and it is steadier there. To choose
# among prices we take the steadier one: too high a risk for prices that break the surface in many places does little
# harm to the choice.
#
# ### The disk, with prices chosen by Stein
#
# Now the sparse disk again, with {glue:text}`free-discontinuity-n-pairs` pairs of prices to choose from. Beside it stand
# two ways to smooth, tuned by the same estimate of risk along the same directions: total variation
# {cite:p}`rudin1992nonlinear`, which also keeps edges, and a Gaussian filter, which does not know what an edge is. For
# each method the table also tells the least risk that any of its candidates had. That choice needs the truth.


# %%
def tune(name, cast, std, generator):
    """Estimates and estimated risks of a baseline's candidates, on the cells with data."""
    cell_std = std / cast.counts.flatten()[cast.filled].sqrt()
    grid = cast.means.shape
    if name == "total variation":
        weights = std * torch.logspace(-1, 0.7, n_baselines, dtype=torch.float64).to(place)

        def smooth(rows):
            return denoise_total_variation(rows.view(-1, *grid), weights, n_iterations=150).values
    else:
        bandwidths = np.geomspace(0.25, 2.5, n_baselines)

        def smooth(rows):
            planes = rows.view(-1, *grid).cpu().numpy()
            kept = [
                gaussian_filter(plane, b, mode="nearest") for plane, b in zip(planes, bandwidths, strict=True)
            ]
            return torch.from_numpy(np.stack(kept)).to(rows)

    return sure_of_candidates(
        lambda observed: smooth(observed[:, cast.entry]).flatten(1)[:, cast.filled],
        cast.means.flatten()[cast.filled],
        cell_std,
        n_baselines,
        n_probes=n_probes,
        generator=generator,
    )


def risk_of(estimates, target, cast):
    """Mean squared error over the cells with data: of surfaces, or of rows that hold these cells alone."""
    if estimates.shape[-target.ndim :] == target.shape:
        estimates = estimates.reshape(-1, target.numel())[:, cast.filled]
    return (estimates - target.flatten()[cast.filled]).square().mean(dim=1)


def fit_and_tune(draw):
    """The fit of a disk, and the baselines' candidates, all with the same random directions."""
    points, _, values = disks[draw]
    probing = 1000 * seed + 300 + draw
    fit = free_discontinuity_regression(
        points,
        values,
        n_cells=n_cells,
        fidelities=fidelities,
        boundary_prices=boundary_prices,
        n_bins=n_bins,
        n_iterations=n_iterations,
        tolerance=tolerance,
        n_probes=n_probes,
        generator=seeded_generator(probing),
    )
    baselines = ("total variation", "Gaussian")
    return fit, {name: tune(name, fit.grid, fit.noise_std, seeded_generator(probing)) for name in baselines}


workers = n_workers if place.type == "cpu" else 1
tasks = {draw: partial(fit_and_tune, draw) for draw in range(n_draws)}
finished = dict(progress(run_side_by_side(tasks, n_workers=workers), "disks", total=n_draws))
fits = [finished[draw][0] for draw in range(n_draws)]
gaps += [fit.lifted.relative_gap.item() for fit in fits]

risks = {"free discontinuity": [], "total variation": [], "Gaussian": []}
tables = []
for target, (fit, baselines) in zip(targets, (finished[draw] for draw in range(n_draws)), strict=True):
    of_each = risk_of(fit.candidates, target, fit.grid).cpu()
    tables.append(of_each.view(fit.sure.shape).numpy())
    risks["free discontinuity"].append((of_each[fit.sure.argmin()].item(), of_each.min().item()))
    for name, (estimates, estimated) in baselines.items():
        of_each = risk_of(estimates, target, fit.grid)
        risks[name].append((of_each[estimated.argmin()].item(), of_each.min().item()))

raw_risks = [risk_of(cast.means, target, cast).item() for cast, target in zip(casts, targets, strict=True)]
risks = {name: np.array(pairs) for name, pairs in risks.items()}
print(f"{'risk (1e-4)':20}{'chosen by SURE':>16}{'least of all':>16}")
print(f"{'means of the cells':20}{1e4 * np.mean(raw_risks):16.2f}")
for name, pairs in risks.items():
    print(f"{name:20}" + "".join(f"{1e4 * value:16.2f}" for value in pairs.mean(axis=0)))
print("\nchosen: " + "; ".join(f"λ = {fit.fidelity:g}, ν = {fit.boundary_price:g}" for fit in fits))
print(f"noise: {noise_std} true, {np.mean([fit.noise_std for fit in fits]):.4f} estimated")
chosen_borders = np.array([compare_borders(fit.jumps.cells, border) for fit in fits])

# %% [markdown]
# Stein's choice costs little against the best pair, and its surface is far better than the means, and a little better
# than total variation's. The Gaussian filter has the lowest risk of all: most of this surface is smooth, and the cells
# at the circle are few. A border is not what risk is made of.
#
# So look at the borders themselves. In each method's surface, cells count as jumps from
# {glue:text}`free-discontinuity-smallest` on. The surface of our method has the price that belongs to this; the others
# are those that SURE chose. In the last two columns the truth chooses the threshold, for each surface, such that the
# larger of the two rates is least.


# %%
def describe_border(surface, threshold):
    """False cells, missed cells, and the mean size of the jumps over that of the step."""
    found = find_jumps(surface, threshold)
    false, missed, _ = compare_borders(found.cells, border)
    return false, missed, found.sizes[found.cells].abs().mean().item() / height


def best_border(surface):
    """The larger of the rates of false and missed cells, and the size, at the threshold where the first is least."""
    steps = lengths(forward_gradient(surface, 2), 0)
    options = [
        describe_border(surface, step)
        for step in steps.quantile(torch.linspace(0.6, 0.99, 40).to(steps)).tolist()
    ]
    false, missed, size = min(options, key=lambda option: max(option[:2]))
    return max(false, missed), size


shown = {"means of the cells": [cast.means for cast in casts]}
for name in ("total variation", "Gaussian"):
    shown[name] = []
    for draw in range(n_draws):
        estimates, estimated = finished[draw][1][name]
        chosen = estimates[estimated.argmin()]
        shown[name].append(chosen[casts[draw].entry].view_as(casts[draw].means))
shown["free discontinuity"] = surfaces
print(f"{'':20}{'false':>9}{'missed':>9}{'size':>7}    at the best threshold: {'rate':>6}{'size':>7}")
for name, group in shown.items():
    false, missed, size = np.mean([describe_border(surface, smallest_jump) for surface in group], axis=0)
    rate, best_size = np.mean([best_border(surface) for surface in group], axis=0)
    print(
        f"{name:20}{100 * false:8.1f}%{100 * missed:8.1f}%{size:7.2f}{'':27}{100 * rate:6.1f}%{best_size:7.2f}"
    )

# %% [markdown]
# The means are too noisy to be cut. The Gaussian filter has spread the step over so many cells that no single difference
# is high; it needs a threshold that only the truth could have told, and takes away a part of the height. Total variation
# does about as well as our method, for border and step alike: it keeps edges, and here its edges can be read by the same
# threshold. What it lacks is not sight but a price. Nothing in it says which of its many small edges are meant.
#
# ### The paper's own setting
#
# The authors take 5,000, 10,000 and 20,000 points, with 20 points a cell, so that the grid gets finer as the data grow,
# and choose the prices once, at the largest size. We fix them by the smallest jump that counts. Their table reports the
# mean of the estimated step and the errors of the surface, and the rates of false and missed cells, with one cell of
# tolerance. We could not read the figures in it.


# %%
def simulate(n_points, height, smallest, seed_of_first):
    """Risk, risk of the means, false and missed cells, distance of the borders, and step: one row a data set."""
    n_cells = math.isqrt(n_points // 20)
    draws = [draw_disk(n_points, height, seeded_generator(seed_of_first + i)) for i in range(n_simulations)]
    casts = [cast_to_grid(points, values, n_cells) for points, _, values in draws]
    targets = [cast_to_grid(points, truth, n_cells).means for points, truth, _ in draws]
    scaled = [scale(cast.means) for cast in casts]
    prices = torch.tensor([price_of(smallest, width, n_cells) for _, _, width in scaled])
    found = lifted_mumford_shah(
        torch.stack([data for data, _, _ in scaled]),
        paper_fidelity,
        prices.to(place),
        n_bins=n_bins,
        tolerance=tolerance,
    )
    gaps.extend(found.relative_gap.tolist())
    rows = []
    for surface, (_, low, width), cast, target in zip(found.surface, scaled, casts, targets, strict=True):
        surface = low + width * surface
        jumps = find_jumps(surface, smallest)
        rows.append(
            [
                risk_of(surface, target, cast).item(),
                risk_of(cast.means, target, cast).item(),
                *compare_borders(jumps.cells, border_cells(n_cells)),
                jumps.sizes[jumps.cells].abs().mean().item(),
            ]
        )
    return np.array(rows)


settings = {
    n: simulate(n, height, smallest_jump, 1000 * seed + 400 + 100 * i) for i, n in enumerate(paper_points)
}
print(f"step of {height:.3f}     risk (1e-4)   of the means   false   missed   distance   step found")
for n, rows in settings.items():
    risk, raw, false, missed, distance, step = rows.mean(axis=0)
    print(
        f"{n:6} points {1e4 * risk:14.2f}{1e4 * raw:15.2f}{100 * false:8.1f}%{100 * missed:8.1f}%{distance:11.4f}{step:13.3f}"
    )
largest = settings[paper_points[-1]]
glue_number("free-discontinuity-size", 100 * largest[:, 5].mean() / height, ".0f", "%")

# %% [markdown]
# With more data all errors fall. The border is found to a fraction of a cell. With twenty points a cell there is little
# noise left to remove: on the coarsest grid the surface is hardly better than the means, and its gain grows as the cells
# get small beside what the surface does. The step comes out too high on the coarse grid, where a cell is wide and its
# slope steep, and lower on the fine one, where the smoothing rounds its rim.
#
# ### Three dimensions
#
# Nothing in the code knows the dimension. A ball in a cube, the same cone with a step:

# %%
ball_height = step_height(ball_jump, 3)
points, truth, values = draw_disk(ball_points, ball_height, seeded_generator(1000 * seed + 800), n_axes=3)
cast = cast_to_grid(points, values, ball_cells)
data, low, width = scale(cast.means)
ball_smallest = 0.7 * ball_height
ball = lifted_mumford_shah(
    data[None], fidelity, price_of(ball_smallest, width, ball_cells), n_bins=n_bins, tolerance=tolerance
)
gaps += ball.relative_gap.tolist()
surface = low + width * ball.surface[0]
found = find_jumps(surface, ball_smallest)
sphere = border_cells(ball_cells, 3)
ball_false, ball_missed, _ = compare_borders(found.cells, sphere)
ball_size = found.sizes[found.cells].abs().mean().item() / ball_height
target = cast_to_grid(points, truth, ball_cells).means
print(f"cells of the border   {sphere.sum()} true, {int(found.cells.sum())} found")
print(f"false {ball_false:.1%}, missed {ball_missed:.1%}, step found / true {ball_size:.2f}")
print(f"risk (1e-4)           {1e4 * risk_of(surface, target, cast).item():.1f}, ", end="")
print(f"of the means {1e4 * risk_of(cast.means, target, cast).item():.1f}")

# %% [markdown]
# The sphere is found, and the height of its step. A step this high is needed: a cube of as many cells has far fewer
# along each side, so the cone climbs more from one to the next.
#
# ### Two that are real
#
# The authors look for the effect of an internet shutdown in Rajasthan on visits to shops, counted by mobile phones, and
# find falls of 25 to 35 % at the borders that they estimate. These data are not public. Two data sets that are have jumps
# as well.
#
# *The Nile.* Its yearly flow at Aswan fell at the end of the nineteenth century {cite:p}`cobb1978nile`. One number a
# year, one cell a year; prices by Stein, noise by the differences of neighbouring years.
#
# *The motorcycle.* Two cameras see each point of a scene at places that differ by some pixels, the more the nearer it is
# {cite:p}`scharstein2014stereo`. The map of this disparity is smooth on the floor and on the machine, and jumps at its
# outline. From {glue:text}`free-discontinuity-scene-points` of its values at random places, with noise, and nothing else:
# where does the machine end?

# %%
years, flows = load_nile()
disparity = load_disparity()[:, :500]
drawing = seeded_generator(1000 * seed + 901)
places = torch.rand(scene_points, 2, generator=drawing, dtype=torch.float64)
seen = disparity[tuple((places * 500).long().T)].double()
noise = torch.randn(scene_points, generator=drawing, dtype=torch.float64)
visible = ~seen.isnan()
places, seen, measured = (part[visible].to(place) for part in (places, seen, seen + scene_noise * noise))
tasks = {
    "Nile": partial(
        free_discontinuity_regression,
        ((years - years[0] + 0.5) / len(years))[:, None].to(place),
        flows.to(place),
        n_cells=len(years),
        fidelities=nile_fidelities,
        boundary_prices=nile_prices,
        n_bins=nile_bins,
        n_iterations=2 * n_iterations,
        tolerance=tolerance,
        n_probes=n_probes,
        generator=seeded_generator(1000 * seed + 900),
    ),
    "motorcycle": partial(
        free_discontinuity_regression,
        places,
        measured,
        n_cells=scene_cells,
        fidelities=scene_fidelities,
        boundary_prices=scene_prices,
        n_bins=n_bins,
        n_iterations=n_iterations,
        tolerance=tolerance,
        n_probes=n_probes,
        generator=seeded_generator(1000 * seed + 902),
    ),
}
finished = dict(progress(run_side_by_side(tasks, n_workers=workers), "real data", total=2))
nile, scene = finished["Nile"], finished["motorcycle"]
gaps += [nile.lifted.relative_gap.item(), scene.lifted.relative_gap.item()]
fell = nile.jumps.sizes.abs().argmax().item()
print(f"Nile: λ = {nile.fidelity:g}, ν = {nile.boundary_price:g}; noise {nile.noise_std:.0f}")
for cell in nile.jumps.cells.nonzero()[:, 0].tolist():
    print(f"  after {int(years[cell])}: {nile.jumps.sizes[cell].item():+.0f}")

target = cast_to_grid(places, seen, scene_cells).means
scene_risks = {
    "means of the cells": risk_of(scene.grid.means, target, scene.grid).item(),
    "free discontinuity": risk_of(scene.surface, target, scene.grid).item(),
}
for name in ("total variation", "Gaussian"):
    probing = seeded_generator(1000 * seed + 902)
    estimates, estimated = tune(name, scene.grid, scene.noise_std, probing)
    scene_risks[name] = risk_of(estimates, target, scene.grid)[estimated.argmin()].item()
print(
    f"\nmotorcycle: λ = {scene.fidelity:g}, ν = {scene.boundary_price:g}; noise {scene.noise_std:.2f} pixels"
)
for name, value in scene_risks.items():
    print(f"  {name:20} risk {value:6.2f} square pixels")
glue_number("free-discontinuity-scene-points", scene_points, ",d")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-free-discontinuity-real", "caption": "Left: the Nile's yearly flow (grey) and the estimate (blue), which breaks once. Middle: means of scattered noisy disparities of the motorcycle, in 40 by 40 cells. Right: the estimate from them, and the cells where it jumps (blue): the outline of the machine, and some cells of the floor."}, "image": {"alt": "Left, a noisy grey series with a blue step down shortly before 1900. Middle, a grainy picture in which one guesses a motorcycle. Right, the same picture smooth, the outline of the motorcycle marked in blue, with scattered blue cells below it."}}
fig, (left, middle, right) = figure(1, 3, height=2.5, gridspec_kw={"width_ratios": [1.3, 1, 1]})
left.plot(years, flows, color=BASELINE, lw=0.8, marker="o", ms=2)
left.step(years, nile.surface.cpu(), where="mid", color=ACCENT)
left.set(xlabel="year", ylabel="flow (10⁸ m³)")
span = {"vmin": target.min().item(), "vmax": target.max().item()}
for axes, grid, title in ((middle, scene.grid.means, "means"), (right, scene.surface, "estimate and jumps")):
    axes.imshow(grid.cpu(), extent=(0, 1, 0, 1), **span)
    axes.set(title=title, xticks=[], yticks=[])
mark_cells(right, scene.jumps.cells.flip(0))

# %% [markdown]
# The Nile breaks once, where statisticians have long put the change. In the scene things stand the other way round than
# on the disk: the jumps are high and many, the Gaussian blurs them all, and keeping edges pays. Total variation keeps
# them as well, and its risk is about as low as ours. With the prices of least risk, some cells of the sloping floor are
# marked beside the outline of the machine: what is best for the surface is again not what is best for its borders.
#
# ## The claims
#
# We could read the paper's abstract, its code and the scripts of its simulations, but not its full text: the theorems are
# known to us by their statement in the abstract, and its tables not at all. So the rules put numbers on what the authors
# claim in words. These numbers were set on earlier draws, and then confirmed on fresh seeds: all of those gave the
# verdicts below. The closest call was the advantage over total variation on the disk. Two things changed after the first
# runs had been seen, both against us: the two ratios of risks on the disk must now hold by two standard errors, and the
# last row, which fails, was added.


# %% tags=["claims", "hide-input"]
def standard_error(values):
    """Of the mean; infinite where there is one value."""
    return np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def mean_of(values):
    """Mean and its standard error, as a claim takes them."""
    return {"measured": np.mean(values), "uncertainty": standard_error(values)}


def ratio_of(over, under):
    """Ratio of the means of two independent samples, and its standard error to first order."""
    ratio = np.mean(over) / np.mean(under)
    error = math.hypot(*(standard_error(values) / np.mean(values) for values in (over, under)))
    return {"measured": ratio, "uncertainty": ratio * error}


ours = risks["free discontinuity"]
smallest, largest = (settings[n] for n in (paper_points[0], paper_points[-1]))

show_claims(
    [
        Claim(
            "On a line the convex relaxation attains the minimum of the functional (worst of the bounds, relative)",
            "exact",
            100 * max(off_minimum),
            at_most(1, partly=5, unit="%"),
            "exact",
        ),
        Claim(
            "and jumps at the same edges (share of the data sets)",
            "exact",
            np.mean(same_jumps),
            at_least(1),
            "exact",
        ),
        Claim(
            "Convexity certifies every solution (largest relative gap in this chapter)",
            "a global optimum",
            100 * max(gaps),
            at_most(1, unit="%"),
            "exact",
        ),
        Claim(
            "SURE is unbiased for the whole solver (worst of three pairs of prices, in standard errors)",
            "unbiased",
            max(map(abs, apart[0.1])),
            at_most(3.5),
            "statistical",
        ),
        Claim(
            "SURE chooses prices whose risk is close to the least (ratio, mean over the data sets)",
            "SURE tunes",
            **mean_of(ours[:, 0] / ours[:, 1]),
            rule=at_most(1.15, partly=1.3),
            kind="statistical",
        ),
        Claim(
            "The surface with these prices beats the means of the cells (ratio of risks)",
            "no figure",
            **mean_of(raw_risks / ours[:, 0]),
            rule=at_least(2.3, standard_errors=2),
            kind="statistical",
        ),
        Claim(
            "and total variation that is tuned alike (ratio of risks)",
            "no figure",
            **mean_of(risks["total variation"][:, 0] / ours[:, 0]),
            rule=at_least(1, standard_errors=2),
            kind="statistical",
        ),
        Claim(
            "The border is located (false or missed cells, the larger rate, at the price of the smallest jump)",
            "false and missed rates",
            **mean_of(100 * borders[:, :2].max(axis=1)),
            rule=at_most(5, partly=10, unit="%"),
            kind="statistical",
        ),
        Claim(
            "The prices that SURE chooses locate the border as well (missed cells)",
            "SURE tunes, jumps are read off",
            **mean_of(100 * chosen_borders[:, 1]),
            rule=at_most(5, partly=20, unit="%"),
            kind="statistical",
        ),
        Claim(
            "The size of the step is recovered, with 20,000 points (found / true)",
            "estimates jump sizes",
            **mean_of(largest[:, 5] / height),
            rule=between(0.85, 1.15, partly=(0.7, 1.3)),
            kind="statistical",
        ),
        Claim(
            "Consistency: the risk falls from the smallest to the largest number of points (ratio)",
            "converges",
            **ratio_of(smallest[:, 0], largest[:, 0]),
            rule=at_least(1.3, partly=1.1),
            kind="statistical",
        ),
        Claim(
            "Consistency: so does the distance of the found border to the true one (ratio)",
            "converges",
            **ratio_of(smallest[:, 4], largest[:, 4]),
            rule=at_least(1.5, partly=1.1),
            kind="statistical",
        ),
        Claim(
            "In three dimensions too the border is located (false or missed cells, the larger rate)",
            "any dimension",
            100 * max(ball_false, ball_missed),
            at_most(2, partly=5, unit="%"),
            "statistical",
        ),
        Claim(
            "Real series: the largest jump of the Nile is where it is known to be (years from 1898)",
            "no figure",
            abs(years[fell].item() - 1898),
            at_most(1, unit="years"),
            "qualitative",
        ),
        *(
            Claim(
                f"Real surface: on the motorcycle it beats {rival}, tuned alike (ratio of risks)",
                "no figure",
                scene_risks[name] / scene_risks["free discontinuity"],
                at_least(1.2),
                "qualitative",
            )
            for name, rival in (("Gaussian", "a Gaussian filter"), ("total variation", "total variation"))
        ),
    ]
)

# %% [markdown]
# ## Where it breaks
#
# ### Stein does not look for borders
#
# On the sparse disk SURE found prices of nearly the least risk. With them, {glue:text}`free-discontinuity-hidden` of the
# circle is no longer called a jump, while at the price of the smallest jump all of it was.

# %%
glue_number("free-discontinuity-hidden", 100 * chosen_borders[:, 1].mean(), ".0f", "%")
rates = np.array(
    [
        [
            [
                compare_borders(
                    find_jumps(
                        fit.candidates[i, j],
                        scaled[draw][2].item() * math.sqrt(price / n_cells),
                    ).cells,
                    border,
                )[:2]
                for j, price in enumerate(boundary_prices)
            ]
            for i in range(len(fidelities))
        ]
        for draw, fit in enumerate(fits)
    ]
).mean(axis=0)
counted = [scaled[0][2].item() * math.sqrt(price / n_cells) for price in boundary_prices]
best = np.mean(tables, axis=0)
estimated = np.mean([fit.sure.cpu().numpy() for fit in fits], axis=0)
row = np.unravel_index(estimated.argmin(), estimated.shape)[0]
glue_number(
    "free-discontinuity-counted", counted[np.unravel_index(estimated.argmin(), estimated.shape)[1]], ".3f"
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-free-discontinuity-prices", "caption": "What is best for the surface hides the border. Against the price of border, at the fidelity that SURE prefers, means over the data sets. Left: the true risk (blue) and its estimate by SURE (orange), which needs no truth; the dotted line marks its minimum. Right: false and missed cells of the border. The upper axis translates a price into the smallest jump that counts; the grey line is the height of the step."}, "image": {"alt": "Two panels over the price of border on logarithmic axes. Left, two U-shaped curves that lie close together. Right, the rate of false cells falls to zero at a price below the one of least risk, and the rate of missed cells rises steeply from there."}}
fig, (left, right) = figure(1, 2, height=2.8)
left.plot(boundary_prices, 1e4 * best[row], "-o", color=ACCENT, label="true risk")
left.plot(boundary_prices, 1e4 * estimated[row], "--s", color=PALETTE[0], label="SURE")
right.plot(boundary_prices, 100 * rates[row, :, 0], "-o", color=ACCENT, label="false")
right.plot(boundary_prices, 100 * rates[row, :, 1], "-s", color=PALETTE[0], label="missed")
for axes, label in ((left, "risk (10⁻⁴)"), (right, "cells (%)")):
    axes.axvline(boundary_prices[int(estimated[row].argmin())], color=BASELINE, lw=1, ls=":")
    axes.axvline(price_of(height, scaled[0][2], n_cells), color=BASELINE, lw=1)
    axes.set(xscale="log", xlabel="price of border ν", ylabel=label)
    axes.set_xticks(boundary_prices, labels=[f"{price:g}" for price in boundary_prices])
    axes.set_xticks([], minor=True)
    axes.legend()
    upper = axes.secondary_xaxis("top")
    upper.set_xticks(boundary_prices, labels=[f"{size:.2f}" for size in counted])
    upper.set_xticks([], minor=True)
    upper.set_xlabel("smallest jump that counts")

# %% [markdown]
# {numref}`fig-free-discontinuity-prices` shows how. SURE follows the true risk closely; it does what it promises. But the
# risk is least at a price where only jumps above {glue:text}`free-discontinuity-counted` count, and the step is
# {glue:text}`free-discontinuity-height` high. There the border is still visible in the surface, as a steep slope, and no
# longer cut. A few rounded cells along a circle cost less risk than the false cuts that a lower price allows in the
# noise everywhere else. So use SURE for $\lambda$, and set $\nu$ by the smallest jump that matters to you.
#
# (A defect in our implementation could look like this, too. But the true risk has its minimum at the same place, each
# surface behind it has its certificate, and on a line the solver agrees with dynamic programming.)
#
# ### A step as high as a cell's slope
#
# The paper's smallest step has a height of 0.25 standard deviations. On the finest of the three grids the cone climbs
# nearly as much from one cell to the next. The functional knows differences of cells and nothing else, and across the
# border the difference is the slope *and* the step. What happens when jumps count from the step's height on?

# %%
low_height = step_height(small_jump, 2)
print(f"step of {low_height:.3f}, slope of a cell {1 / math.isqrt(paper_points[-1] // 20):.3f}")
for share in (1.0, 1.3, 1.6, 1.9):
    rows = simulate(paper_points[-1], low_height, share * low_height, 1000 * seed + 600)
    _, _, false, missed, _, _ = rows.mean(axis=0)
    print(f"jumps from {share * low_height:.3f} on count: false {false:.1%}, missed {missed:.1%}")

# %% [markdown]
# A large part of the cone is cut. Only a price halfway between the slope and the slope with the step tells them apart,
# and the room there is narrow: a little more, and the border itself is missed. To hit it one has to know the slope
# beforehand. What would help is a finer grid with as many points a cell, that is, many more data; or a functional that
# charges for curvature in the place of slope, under which a cone costs nothing but at its tip.
#
# ## Bigger
#
# ```bash
# regularity run free_discontinuity -f gpu     # twenty data sets of each size, 64 pairs of prices, 16 bins
# regularity run free_discontinuity -f paper   # a hundred data sets, 400 pairs, 32 bins, as in the authors' scripts
# ```
#
# or, by hand,
#
# ```bash
# papermill notebooks/stein/free_discontinuity.ipynb out.ipynb -f notebooks/stein/free_discontinuity.gpu.yaml
# ```
#
# The authors run 15,000 iterations a surface; a relative gap of one per cent needs a few hundred of these. Neither size
# has been recorded yet.
#
# ## Exercises
#
# Predict first, then run.
#
# 1. **A blunt tool.** Run with `-p smallest_jump 0.16`, above the step. What becomes of the rates, and what of the risk?
# 2. **Two bins.** Run with `-p n_bins 2`. The certificate will still close. What does it certify? Look at the lifted
#    function in {numref}`fig-free-discontinuity-lifted`.
# 3. **Weights.** A cell with nine points is worth more than one with a single point. Multiply $\lambda$ in each cell by
#    its count over the mean count (`_lift` has the place). What happens to the risk, and what to {eq}`free-discontinuity-sure`?
# 4. **Cut again.** Solve the linear system that remains of {eq}`free-discontinuity-grid` when the cuts of the estimate are
#    held fixed. On a line, what is the distance to the exact minimiser now? Is the map from data to surface still one for
#    SURE?
# 5. **A wavy border.** Replace the circle in `draw_disk` by a star with five thin arms. Which part of it goes first as
#    the price of border rises? How does {eq}`free-discontinuity-energy` say so?
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
