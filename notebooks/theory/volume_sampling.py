# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Volume sampling: where to look, if one may look only a few times
#
# **A function can be asked for its value, but each answer is expensive: a simulation, an experiment, a patient to
# follow up. A model has ten unknown coefficients. Which points to ask at, and how many more than ten?**
#
# | | |
# |---|---|
# | paper | *Weighted least-squares approximation with determinantal point processes and generalized volume sampling* {cite:p}`nouy2023weighted` |
# | authors | Anthony Nouy, Bertrand Michel |
# | year, arXiv | 2023, [2312.14057](https://arxiv.org/abs/2312.14057) |
# | what is regularised | least squares with hardly more points than unknowns |
# | by what | the choice of the points, which repel each other; there is no penalty |
# | for whom | whoever plans simulations or experiments, or pays for labels |
# | read for this chapter | abstract and titles of the sections; the formulas are derived here |
#
# Take the points independently, and some draws will leave a direction of the model without a witness. Least squares
# then answers with nonsense, in few draws, but so large that it rules the mean. With the best density and the best
# weights it takes of the order of $m \log m$ points for $m$ coefficients to prevent that. The paper draws points that
# know of each other. A *determinantal point process* draws $m$ of them with a probability proportional to the squared
# volume that their features span, so that features which repeat each other are seldom drawn together. *Volume
# sampling* adds independent points to these. Both keep the mean error finite from the first point on which a solution
# exists, and the simplest strategy is the best one: draw several determinantal sets, independently.
#
# With {glue:text}`few` points for each coefficient, independent ones leave {glue:text}`independent-twice` times the
# least possible squared error on average, volume sampling {glue:text}`volume-twice` times, and repeated sets
# {glue:text}`repeated-twice` times. To be stable in half of the draws, repeated sets take {glue:text}`saving` of the
# points that independent ones take. No penalty was tuned. On real rows of a table, none of them very different from
# the others, little of this is left, and nothing once there are six rows for each coefficient.
#
# ```{verdicts}
# ```
#
# ```{glue:figure} answer
# :name: fig-volume-sampling-answer
# :alt: Two panels of falling curves of mean squared error over the least one, against points per coefficient, on logarithmic axes. Grey curves start orders of magnitude above the blue and orange ones; blue is lowest.
#
# Mean squared error over the least possible one, against points per coefficient, for polynomials of one variable
# (left) and of two (right); what is larger is cut off. Grey: independent points, from the uniform law (dotted) and
# from the optimal one (solid). Orange: volume sampling. Blue: repeated determinantal sets; the band has nine of ten
# draws.
# ```

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
seed: int = 0  # seed of all random draws
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
n_threads: int = 1  # threads of a CPU
degree: int = 9  # of polynomials in one variable
plane_degree: int = 4  # total degree of polynomials in two variables
multiples: list[int] = [1, 2, 3, 4, 6]  # points per coefficient
n_draws: int = 800  # draws of each design at each number of points
normal_multiples: list[int] = [2, 4]  # points per coefficient under the normal law
n_normal_draws: int = 200  # draws under the normal law
dimensions: list[int] = [5, 10, 20]  # dimensions at which the stability is followed
stable_multiples: list[int] = [
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    12,
    14,
]  # points per coefficient
n_stable_draws: int = 200  # draws at each, in ten groups
growing_dimensions: list[int] = [5, 10, 20, 40]  # dimensions with m log m points
log_factor: float = 5.0  # points per coefficient over the logarithm of m
n_growing_draws: int = 300  # draws at each
sure_multiple: int = 3  # points per coefficient of conditioned and boosted designs
delta: float = 0.5  # conditioned draws have smallest eigenvalues of 1 − delta at least
n_sure_draws: int = 300  # conditioned draws of each design
n_candidates: int = 10  # draws out of which a boosted one is chosen
n_modes: int = 80  # dimension of the space of smooth functions
smoothness: float = 1.5  # its exponent s
n_law_draws: int = 20000  # draws from the small population
picture_degree: int = 10  # total degree of the polynomials behind the pictured points
population_multiples: list[int] = [2, 3, 4, 6]  # rows to label, per coefficient
n_population_draws: int = 400  # draws of them

# %% tags=["hide-input"]
from functools import partial

import pandas as pd
import torch

from regularity import lab
from regularity.foundations.polynomials import total_degree_indices
from regularity.theory import volume_sampling as volume
from regularity.theory.volume_sampling import experiment

session = lab.begin(seed, device, n_threads)
designs = experiment.DESIGNS
random_names = ["independent, optimal", "volume", "repeated DPP"]
looks = {
    "independent, plain": {"color": lab.BASELINE, "ls": ":"},
    "independent, optimal": {"color": lab.BASELINE, "ls": "-"},
    "volume": {"color": lab.PALETTE[0], "ls": "-"},
    "repeated DPP": {"color": lab.ACCENT, "ls": "-"},
}

# %% [markdown]
# ## The method
#
# ### What can go wrong
#
# Let $\mu$ be a probability law and $\varphi(x) \in \mathbb{R}^m$ features that are orthonormal under it, such as
# Legendre polynomials under the uniform law. They span the space $V_m$. The best approximation of $f$ in it is $Pf =
# c^\top\varphi$ with $c = \int f\varphi\,\mathrm{d}\mu$, and it leaves $r = f - Pf$. From values at $n$ points with
# weights $w_i$, least squares gives $\hat f = \hat c^\top\varphi$. Its normal equations, and Pythagoras, give
#
# $$
# \begin{gathered}
# \|f - \hat f\|^2 = \|r\|^2 + \|\hat c - c\|^2, \qquad \hat c - c = G^{-1} z, \\
# G = \frac1n \sum_{i=1}^n w_i\, \varphi(x_i)\varphi(x_i)^\top, \qquad
# z = \frac1n \sum_{i=1}^n w_i\, \varphi(x_i)\, r(x_i).
# \end{gathered}
# $$ (volume-error)
#
# Norms of functions are those of $L^2(\mu)$. If the points are draws from a law $\nu$ and $w = \mathrm{d}\mu /
# \mathrm{d}\nu$, then $G$ has the mean $I$ and $z$ the mean zero. So there are two dangers: $z$ may be large, or an
# eigenvalue of $G$ small.
#
# Independent points make $\mathbb{E}\|z\|^2 = \frac1n \int w\, k\, r^2\, \mathrm{d}\mu$, where $k(x) =
# \|\varphi(x)\|^2$. The *Christoffel* law $\mathrm{d}\nu = \frac1m k\, \mathrm{d}\mu$ has $w = m/k$ and turns this
# into $\frac mn \|r\|^2$ for every $f$; it also bounds the size of the terms of $G$ {cite:p}`cohen2017optimal`. That
# is the optimal law for independent points, and it ends the first danger. The second remains. As when one collects
# coupons, the last of $m$ directions is found after $m \log m$ draws.
#
# ### Points that repel each other
#
# A projection determinantal point process, or *DPP*, has $m$ points and the density
#
# $$
# p(x_1, \dots, x_m) = \frac{1}{m!}\, \det\big[\varphi(x_1), \dots, \varphi(x_m)\big]^2
# $$ (volume-dpp)
#
# under $\mu^m$. It is the squared volume of the parallelepiped of the features: base times height, again and again.
# That says how to draw it {cite:p}`hough2006determinantal`. The first point has the density $k/m$, and the next ones
# the squared height of $\varphi(x)$ over the span of the features so far.
#
# ```{admonition} Algorithm: a projection DPP, exactly
# Given features $\varphi$ with $m$ components, and a way to draw from the Christoffel law.
#
# 1. Start with no directions, $Q = \emptyset$.
# 2. **Propose** $x$ from the Christoffel law.
# 3. **Accept** it with the probability $1 - \|Q^\top\varphi(x)\|^2 / \|\varphi(x)\|^2$, the share that is new; else
#    go to 2.
# 4. **Extend** $Q$ by the normalised part of $\varphi(x)$ outside its span. Stop with $m$ points, else go to 2.
#
# The mean number of proposals is $m(1 + \frac12 + \dots + \frac1m)$.
# ```

# %%
lab.show(volume.projection_dpp)

# %% [markdown]
# For products of polynomials the Christoffel law is a mean of $m$ laws: draw a product, then each variable from the
# square of its polynomial. Legendre squares are drawn by rejection from the arcsine law, Hermite squares by inverting
# their distribution function. Nothing is a grid, and nothing is a Markov chain.
#
# ```{glue:figure} points
# :name: fig-volume-sampling-points
# :alt: Left and middle, point sets in a square; the left one has clumps and holes, the middle one is even and denser at the edges. Right, a bar chart whose outline follows a curve that rises towards both ends.
#
# Left: independent points from the Christoffel law of the polynomials of two variables. Middle: one determinantal set
# for the same polynomials, of as many points. Right: in one variable, all points of many sets (bars) have the density
# of the independent ones (line). It is not where they lie that differs, it is how they lie to each other.
# ```

# %% tags=["hide-input"]
picture = volume.polynomial_space("legendre", total_degree_indices(2, picture_degree))
clumped = volume.independent_sampling(
    picture, picture.n_features, generator=session.stream("clumped")
)
spread = volume.projection_dpp(picture, 1, session.stream("spread"))
problem = volume.approximate("Runge", degree, session.device)
m = problem.space.n_features
sets = volume.volume_sampling(
    problem.space, m, n_draws, generator=session.stream("sets")
)
singles = volume.independent_sampling(
    problem.space, m, n_draws, generator=session.stream("singles")
)
cosines = [experiment.mean_squared_cosines(sample).cpu() for sample in (sets, singles)]
diversity = lab.ratio(*cosines)
lab.glue("diversity", diversity)

# %% tags=["hide-input", "remove-output"]
fig, (left, middle, right) = lab.figure(1, 3, height=2.5)
for axes, points, colour, title in (
    (left, clumped.points[0], lab.BASELINE, "independent"),
    (middle, spread[0], lab.ACCENT, "DPP"),
):
    axes.plot(*points.T, "o", ms=3, color=colour)
    axes.set(title=f"{title}, {len(points)} points", aspect="equal", xlabel="$x_1$")
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=[-1, 0, 1])
left.set(ylabel="$x_2$", yticks=[-1, 0, 1])
middle.set_yticks([])
line = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None].to(session.device)
density = problem.space.features(line).square().sum(dim=1) / (2 * m)
right.hist(
    sets.points.flatten().cpu(), bins=50, density=True, color=lab.ACCENT, alpha=0.5
)
right.plot(line[:, 0].cpu(), density.cpu(), color="black", lw=1)
right.set(xlabel="x", ylabel="density", title=f"all points, m = {m}", ylim=(0, 5.2))
lab.glue("points", fig)

# %% [markdown]
# Two features of a determinantal set have a mean squared cosine of {glue:text}`diversity` times that of independent
# points, which is $1/m$.
#
# ### Volume sampling
#
# The DPP leaves no choice of the number of points. Volume-rescaled sampling has $n \ge m$ points of any reference law
# $\nu$, and gives each sample its probability under $\nu^n$ times $\det G$, up to a constant. It looks hopeless to
# draw from. But by Cauchy and Binet
#
# $$
# \det G = \frac{1}{n^m} \sum_{|S| = m} \det\big[\sqrt{w_i}\,\varphi(x_i)\big]_{i \in S}^2,
# $$ (volume-cauchy)
#
# a sum over sets of $m$ of the points in each of which the other points do not occur; under $\nu^n$ every determinant
# has the mean $m!$. So the law is a mixture: choose $m$ places, fill them with a DPP, and fill the others with
# independent draws from $\nu$ {cite:p}`derezinski2018correcting`. This is *generalised* in that $\nu$ may be any law.
# The weights are $\mathrm{d}\mu/\mathrm{d}\nu$ for all points, those of the DPP as well.

# %%
lab.show(volume.volume_sampling)

# %% [markdown]
# Multiplied by $\det G$, Cramer's rule has no denominator, and expectations can be calculated. Put the values of $f$
# in the place of a column, and {eq}`volume-cauchy` gives $\mathbb{E}[\det G\; \hat c_j] = c_j\, \mathbb{E} \det G$
# under $\nu^n$. The entries of $\det G\; G^{-1}$ are minors, to which {eq}`volume-cauchy` applies with $m - 1$
# features. Under the volume-rescaled law, with any $\nu$ such that $G$ is almost surely invertible,
#
# $$
# \mathbb{E}\,\hat c = c, \qquad \mathbb{E}\, G^{-1} = \frac{n}{n - m + 1}\, I .
# $$ (volume-identities)
#
# Least squares at independent points has neither: it is biased, and its $\mathbb{E}\,G^{-1}$ may be infinite. With $n
# = m$ the fit interpolates, and the squared error of a coefficient times the density {eq}`volume-dpp` is a squared
# determinant with $r$ in one column. Its mean is $\|r\|^2$, as $r$ is orthogonal to the other columns. There are $m$
# of them, so that for every $f$
#
# $$
# \mathbb{E}\,\|f - \hat f\|^2 = (1 + m)\,\|f - Pf\|^2 .
# $$ (volume-interpolation)
#
# With more points this is an upper bound, since least squares is a mean of the interpolants at all sets of $m$ of its
# points, with the determinants of {eq}`volume-cauchy` as weights: squares are convex, and the mixture does the rest.
#
# All this can be checked without chance. A population has five members at 0, 1, 2, 4 and 7, and a line is fitted to
# $\sqrt{x + 1}$ at two or three of them. There are 25 and 125 ordered samples, and we sum over all.

# %%
members = torch.tensor([0.0, 1.0, 2.0, 4.0, 7.0], dtype=torch.float64)
rows = torch.stack([torch.ones_like(members), members], dim=1)
population, outcomes = volume.population_space(rows), (members + 1).sqrt()
exact = {
    (n, design, reference): experiment.exact_bias_and_ratio(
        population, outcomes, n, reference, by_volume=design == "volume"
    )
    for n in (2, 3)
    for design in ("volume", "independent")
    for reference in ("christoffel", "measure")
}
table = pd.DataFrame(exact, index=["bias", "error ratio"]).T
table.index.names = ["points", "design", "ν"]
lab.table(
    table.assign(bias=table["bias"].where(table["bias"] > 1e-12, 0)),
    {"bias": ".4f", "error ratio": ".4f"},
)
misfits = {
    reference: experiment.law_misfit(
        population,
        len(members),
        volume.volume_sampling(
            population,
            3,
            n_law_draws,
            reference=reference,
            generator=session.stream("law", reference),
        ),
        reference,
    )
    for reference in ("christoffel", "measure")
}
lab.glue("misfit", max(misfits.values())[0], ".2f")

# %% [markdown]
# The bias is in units of the least error; independent points are given their best, since samples without a solution
# are left out. The sampler itself is held against the same list: its frequencies in {glue:text}`law-draws` draws
# deviate from the probabilities by a $\chi^2$ of {glue:text}`misfit` per degree of freedom, in the worse of the two
# references.
#
# ### Repetitions
#
# What if $n = rm$ points are $r$ independent DPPs, with the weights $m/k$? Every point has the Christoffel law, so
# that $\mathbb{E} G = I$ and $\mathbb{E} z = 0$. For any function $g$ a DPP with the kernel $K(x, y) =
# \varphi(x)^\top\varphi(y)$ has
#
# $$
# \operatorname{Var} \sum_i g(x_i) = \int g^2 k \,\mathrm{d}\mu - \iint g(x)\, K(x, y)^2\, g(y)\,
# \mathrm{d}\mu\,\mathrm{d}\mu
# $$ (volume-variance)
#
# and the double integral is not negative, since $K^2$ is a kernel. Apply this to the components of $z$: the bound
# $\mathbb{E}\|z\|^2 \le \frac mn \|r\|^2$ holds as with independent points. On the event that $\lambda_{\min}(G) \ge
# 1 - \delta$, which we call *stable*, {eq}`volume-error` then gives
#
# $$
# \frac{\mathbb{E}\big[\|f - \hat f\|^2 \mid \text{stable}\big]}{\|f - Pf\|^2} \le
# 1 + \frac{m/n}{(1 - \delta)^2\; \mathbb{P}(\text{stable})} .
# $$ (volume-bound)
#
# The designs share the bound, and differ in how often they are stable. That number is for the experiment to find.
#
# ### Almost surely
#
# Draw until stable. What can then be said of a single draw, with no mean taken? For any $g$ in $V_m$ least squares is
# no worse than $g$ in the norm that it sees, $\|h\|_n^2 = \frac1n \sum_i w_i h(x_i)^2$, and on stable draws this norm
# controls the other one in $V_m$. If $f$ lies in a space $H$ in whose norm point values are bounded, so is $\|f -
# g\|_n$, and
#
# $$
# \|f - \hat f\| \le \Big( C_H + \frac{B_H}{\sqrt{1 - \delta}} \Big) \inf_{g \in V_m} \|f - g\|_H,
# $$ (volume-sure)
#
# with $\|h\| \le C_H \|h\|_H$ and $\|h\|_n \le B_H \|h\|_H$. For the supremum norm $C_H = 1$ and $B_H = \sup
# \sqrt{w}$; with a reproducing kernel $\kappa$, $B_H^2$ is the supremum of $w(x)\,\kappa(x, x)$. These constants are
# known before a point is drawn.

# %%
lab.show(volume.conditioned)

# %% [markdown]
# {func}`~regularity.theory.volume_sampling.boosted` draws several candidates and keeps the most stable one, as do
# Haberstich, Nouy and Perrin with independent points {cite:p}`haberstich2019boosted`.
#
# ```{admonition} What differs from the paper
# Its text was not available to us beyond the abstract and the titles of its sections, and no code of the authors for
# these designs was found. The proofs sketched here are ours, after the literature cited. The functions are of the
# kind that such papers use, not the paper's own; nor are the constants, such as the number of points per $m \log m$.
# ```
#
# ## The experiment
#
# ### Errors against the number of points
#
# Three functions: $1/(1 + 5x^2)$ and $|x|$ by polynomials of degree {glue:text}`degree`, and $1/(1 + 2(x + y/2)^2)$
# by polynomials of total degree {glue:text}`plane-degree`. The least error is known by quadrature, so the *error
# ratio* $\|f - \hat f\|^2/\|f - Pf\|^2$ of a draw is exact.

# %%
problems = {
    "Runge": problem,
    "kink": volume.approximate("kink", degree, session.device),
    "ridge": volume.approximate("ridge", plane_degree, session.device),
}
sweeps = {
    name: experiment.sweep(
        each,
        designs,
        multiples,
        n_draws,
        partial(session.stream, "sweep", name),
    )
    for name, each in lab.progress(problems.items(), "functions")
}
few, more = 1, len(multiples) // 2  # where in the list means and inverses are looked at
twice = {
    (name, design): found.ratios[:, few]
    for name, sweep in sweeps.items()
    for design, found in sweep.items()
}
table = pd.DataFrame(
    {
        (name, what): {design: reduce(twice[name, design]).item() for design in designs}
        for name in problems
        for what, reduce in (("mean", torch.mean), ("median", torch.median))
    }
)
lab.table(table, dict.fromkeys(table, ".3g"))

# %% tags=["hide-input"]
for word, design, spec in (
    ("independent", "independent, optimal", ",.0f"),
    ("volume", "volume", ".1f"),
    ("repeated", "repeated DPP", ".1f"),
):
    lab.glue(f"{word}-twice", twice["Runge", design].mean().item(), spec)
lab.glue("few", multiples[few], "d")
lab.glue("law-draws", n_law_draws, ",d")
lab.glue("degree", degree, "d")
lab.glue("plane-degree", plane_degree, "d")
gauss = [experiment.gauss_ratio(problem, n) for n in (m, 2 * m)]
lab.glue("gauss-once", gauss[0], ".2f")
lab.glue("gauss-twice", gauss[1] - 1, ".0e")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, panels = lab.figure(1, 2, height=2.9)
for axes, name, title in zip(
    panels, ("Runge", "ridge"), ("one variable", "two variables"), strict=True
):
    for design, found in sweeps[name].items():
        mean = found.ratios.mean(dim=0)
        axes.plot(multiples, mean, marker="o", label=design, **looks[design])
    spread_of = found.ratios.quantile(torch.tensor([0.05, 0.95]).double(), dim=0)
    axes.fill_between(multiples, *spread_of, color=lab.ACCENT, alpha=0.2, lw=0)
    axes.set(yscale="log", xlabel="points per coefficient, n/m", title=title)
    axes.set(ylim=(0.9, 3e4), xticks=multiples)
    axes.axhline(1, color="black", lw=0.6)
panels[0].set_ylabel("mean error ratio")
panels[1].legend(loc="upper right")
lab.glue("answer", fig)

# %% [markdown]
# The table has {glue:text}`few` points for each coefficient. The means of independent points are not to be taken at
# their face: they hang on the worst draw, and would change with the seed by orders of magnitude. Even the medians are
# larger than those of volume sampling. The determinant in its law takes out what is nearly singular, and a finite
# mean is left.
#
# The mean of $\operatorname{tr} G^{-1}/m$ shows {eq}`volume-identities` at work:

# %%
inverses = {}
for multiple in multiples[1:]:
    sample = volume.volume_sampling(
        problem.space,
        multiple * m,
        n_draws,
        generator=session.stream("inverse", multiple),
    )
    gram = volume.gram_matrices(sample.features, sample.weights)
    traces = torch.linalg.inv(gram).diagonal(dim1=1, dim2=2).mean(dim=1).cpu()
    n = multiple * m
    inverses[n] = {"mean": lab.mean(traces), "n/(n − m + 1)": n / (n - m + 1)}
table = pd.DataFrame(inverses).T
table.index.name = "n"
lab.table(table, {"n/(n − m + 1)": ".4f"})
n = multiples[more] * m
trace = inverses[n]["mean"]
inverse = lab.Estimate(trace.value * (n - m + 1) / n, trace.error * (n - m + 1) / n)

# %% [markdown]
# ### How many points are enough
#
# Stability can be counted without any function. For the spaces of dimension $m$ in one variable, how many points make
# half of the draws stable, $\lambda_{\min}(G) \ge \frac12$?

# %%
shares, halves = {}, {}
for dimension in lab.progress(dimensions, "dimensions"):
    space = volume.approximate("Runge", dimension - 1, session.device).space
    for name in random_names:
        top = 8 if name == "repeated DPP" else stable_multiples[-1]
        shares[dimension, name], halves[dimension, name] = (
            experiment.half_stable_multiple(
                space,
                designs[name],
                [multiple for multiple in stable_multiples if multiple <= top],
                n_stable_draws,
                partial(session.stream, "stable", dimension, name),
                delta,
            )
        )
savings = {
    dimension: lab.ratio(
        halves[dimension, "repeated DPP"], halves[dimension, "independent, optimal"]
    )
    for dimension in dimensions
}
saving = max(savings.values(), key=float)
table = pd.DataFrame(
    {name: {d: lab.mean(halves[d, name]) for d in dimensions} for name in random_names}
).assign(**{"repeated over independent": savings})
table.index.name = "m"
lab.table(table)
lab.glue("saving", 100 * saving.value, ".0f", "%")

# %% [markdown]
# ```{glue:figure} stability
# :name: fig-volume-sampling-stability
# :alt: Left, three rising curves of the share of stable draws; the blue one rises far earlier than the orange and the grey one. Right, three slowly rising lines against the dimension, the blue one lowest.
#
# Left: share of stable draws against points per coefficient, in the middle one of the dimensions. Right: points per
# coefficient that make half of the draws stable, against the dimension. All three grow slowly, as a logarithm would.
# Bars: one standard error.
# ```
#
# Volume sampling starts with one determinantal set and adds points that know nothing of it, and little is left of its
# advantage when they outnumber the set. The repetitions keep it. They grow as well, only from a lower start.

# %% tags=["hide-input", "remove-output"]
fig, (left, right) = lab.figure(1, 2, height=2.7)
shown = dimensions[len(dimensions) // 2]
for name in random_names:
    share = shares[shown, name]
    left.plot(stable_multiples[: len(share)], share, marker="o", **looks[name])
    means = [lab.mean(halves[dimension, name]) for dimension in dimensions]
    right.errorbar(
        dimensions,
        [mean.value for mean in means],
        [mean.error for mean in means],
        marker="o",
        label=name,
        **looks[name],
    )
left.axhline(0.5, color="black", lw=0.6)
left.set(xlabel="points per coefficient, n/m", ylabel="share of stable draws")
left.set_title(f"m = {shown}")
right.set(xscale="log", xlabel="dimension m", ylabel="n/m for one half", ylim=(0, None))
right.set_xticks(dimensions, [str(dimension) for dimension in dimensions])
right.minorticks_off()
right.legend(loc="upper left")
lab.glue("stability", fig)

# %% [markdown]
# The paper's theorem on volume sampling asks for $n = O(m \log m)$ points. We take $m \lceil c \log m \rceil$ with
# $c$ = {glue:text}`log-factor`, and the plain design beside it, which is unweighted and draws from the uniform law.

# %%
growth = {
    name: experiment.growing_spaces(
        ["Runge", "kink"],
        growing_dimensions,
        log_factor,
        designs[name],
        n_growing_draws,
        partial(session.stream, "growth", name),
        session.device,
    )
    for name in ("independent, plain", "volume")
}
columns = {}
for name, (ratios, stability) in growth.items():
    for target, found in ratios.items():
        columns[name, target] = list(map(lab.mean, found))
    stable = (stability >= 1 - delta).double()
    columns[name, "share stable"] = list(map(lab.mean, stable))
table = pd.DataFrame(columns, index=pd.Index(growing_dimensions, name="m"))
lab.table(table)
grown = max((*columns["volume", "Runge"], *columns["volume", "kink"]), key=float)
least_stable = min(columns["volume", "share stable"], key=float)
lab.glue("log-factor", log_factor, "g")

# %% [markdown]
# ### Conditioned and boosted
#
# One variable again, $1/(1 + 5x^2)$ and {glue:text}`sure-size` points, where stable draws are rare for some of the
# designs.

# %%
size, drawn, acceptances = sure_multiple * m, {}, {}
for name in random_names:
    generator = session.stream("sure", name)

    def draw(n, name=name, generator=generator):
        return designs[name](problem.space, size, n, generator=generator)

    drawn[name, "plain"] = draw(n_sure_draws)
    drawn[name, "stable"], acceptances[name] = volume.conditioned(
        draw, n_sure_draws, delta=delta
    )
    drawn[name, "boosted"] = volume.boosted(draw, n_sure_draws, n_candidates)
table = pd.DataFrame(
    {
        name: {
            way: experiment.error_ratios(problem, drawn[name, way]).mean().item()
            for way in ("plain", "stable", "boosted")
        }
        | {
            "bound if stable": 1 + m / size / ((1 - delta) ** 2 * acceptances[name]),
            "share stable": acceptances[name],
        }
        for name in random_names
    }
).T
lab.table(table, dict.fromkeys(table, ".3g"))
lab.glue("sure-size", size, "d")
lab.glue("n-candidates", n_candidates, "d")

# %% [markdown]
# Once it is stable, an independent design is as good as the others. What differs is the price: how many draws are
# thrown away before one is kept. They cost no values of $f$, but a sampler that has to be run dozens of times is
# slow. Boosting, here the best of {glue:text}`n-candidates`, comes close to the same errors at a price that is fixed.
# The bound is {eq}`volume-bound`, which volume sampling with the Christoffel law shares, as its points are a DPP and
# independent ones; it is far from sharp.
#
# For {eq}`volume-sure` take the supremum norm, in which the best polynomial is found by linear programming, and the
# Hilbert space with the squared norm $\sum_j (1 + j)^{2s} c_j^2$ of coefficients in Legendre polynomials, $s$ =
# {glue:text}`smoothness`. Its best approximation is $Pf$, so that the kernel of what is orthogonal to $V_m$ will do
# for $\kappa$. There the worst function for a given draw is the first eigenvector of a matrix; we take this one for
# every draw.

# %%
smooth = experiment.SmoothFunctions(n_modes, smoothness)
supremum = experiment.minimax_error(problem)
bounds = dict(
    zip(("sup", "H"), experiment.sure_bounds(problem.space, smooth, delta), strict=True)
)
errors = {
    key: {
        "sup": (experiment.error_ratios(problem, sample) * problem.best).sqrt().cpu()
        / supremum,
        "H": smooth.worst_errors(sample).cpu(),
    }
    for key, sample in drawn.items()
}
worst = {
    (way, norm): max(
        errors[name, way][norm].max().item() / bounds[norm] for name in random_names
    )
    for way in ("plain", "stable")
    for norm in bounds
}
for way in ("plain", "stable"):
    lab.glue(f"worst-{way}", worst[way, "H"], ".2g")
lab.glue("smoothness", smoothness, "g")

# %% tags=["hide-input", "remove-output"]
fig, panels = lab.figure(1, 2, height=2.7)
for axes, norm, title in zip(
    panels, bounds, ("supremum norm", "H-norm, worst function"), strict=True
):
    for (name, way), found in errors.items():
        if way == "boosted":
            continue
        values = (found[norm] / bounds[norm]).sort().values
        beyond = 1 - torch.arange(len(values)) / len(values)
        style = {"color": looks[name]["color"], "ls": "-" if way == "plain" else "--"}
        axes.step(values, beyond, label=name if way == "plain" else None, **style)
    axes.axvline(1, color="black", ls=":", lw=1)
    axes.set(
        xscale="log", yscale="log", xlabel="error over its sure bound", title=title
    )
    axes.set(xlim=(0.1, 60))
panels[0].set_ylabel("share of draws beyond")
panels[1].legend(loc="upper right")
lab.glue("sure", fig)

# %% [markdown]
# ```{glue:figure} sure
# :name: fig-volume-sampling-sure
# :alt: Two panels of falling curves on logarithmic axes. A solid grey one has a long tail that crosses a dotted vertical line at one; solid orange and blue ones fall earlier; three dashed ones fall steeply at the left.
#
# The share of draws whose error is beyond a multiple of the bound of {eq}`volume-sure`, which is computed before
# anything is drawn (dotted line). Left: one function, its best approximation measured in the supremum norm. Right:
# the worst function of the Hilbert space for each draw. Independent points (grey) have a tail that reaches beyond the
# bound, volume sampling (orange) and repeated sets (blue) a shorter one. On stable draws (dashed) none comes near it.
# ```
#
# Over all designs the largest worst error is {glue:text}`worst-stable` of the bound on stable draws, and
# {glue:text}`worst-plain` times the bound without the condition.
#
# ### The size of $z$, and a law without bounds
#
# The other ingredient of {eq}`volume-bound` was $\mathbb{E}\|z\|^2$, and independent points have exactly $\frac mn
# \|r\|^2$. Repetitions should have no more, of DPPs or of volume samples of $2m$ points.

# %%
several = {
    "independent": designs["independent, optimal"],
    "repeated DPP": designs["repeated DPP"],
    "repeated volume": lambda *sizes, generator: experiment.repeated(
        *sizes, multiple=2, generator=generator
    ),
}
noise = {
    target: {
        name: lab.mean(
            experiment.noise_shares(
                each,
                design(
                    each.space,
                    4 * each.space.n_features,
                    n_draws,
                    generator=session.stream("noise", target, name),
                ),
            ).cpu()
        )
        for name, design in several.items()
    }
    for target, each in problems.items()
}
lab.table(pd.DataFrame(noise).T)
largest_noise = max(
    (noise[t][name] for t in problems for name in ("repeated DPP", "repeated volume")),
    key=float,
)

# %% [markdown]
# On the real line, with the normal law and Hermite polynomials, the function $1/(1 + x^2/4)$ shows what the weights
# are for. Plain draws hardly ever go where polynomials are large:

# %%
normal = experiment.sweep(
    volume.approximate("normal", degree, session.device),
    designs,
    normal_multiples,
    n_normal_draws,
    partial(session.stream, "normal"),
)
table = pd.DataFrame(
    {
        f"n = {multiple}m": {
            name: lab.mean(found.ratios[:, column]) for name, found in normal.items()
        }
        for column, multiple in enumerate(normal_multiples)
    }
)
lab.table(table)

# %% [markdown]
# ## The claims
#
# The second column quotes the abstract. The rules were set on the seeds 21 and 22.

# %% tags=["hide-input"]
repetitions = "“independent repetitions of projection DPP (or volume sampling)”"
gains = {
    name: lab.ratio(twice[name, "repeated DPP"], twice[name, "volume"])
    for name in problems
}
finite = [lab.mean(twice[name, "volume"]) for name in problems]
claims = [
    lab.Claim(
        "Features of a DPP are less alike than independent ones (ratio of their mean"
        f" squared cosines, m = {m})",
        "“promotes diversity in the selected features”",
        diversity,
        lab.at_most(0.5, standard_errors=2),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        f"With m⌈{log_factor:g} log m⌉ points, volume sampling is within a constant of"
        f" the best, m = {growing_dimensions[0]} to {growing_dimensions[-1]} (largest"
        " mean error ratio)",
        "“quasi-optimality results in expectation with … n = O(m log(m))”",
        grown,
        lab.at_most(1.5, standard_errors=2),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        "At least half of these draws are stable (smallest share)",
        "“n = O(m log(m))”",
        least_stable,
        lab.at_least(0.5, standard_errors=2),
        "statistical",
        source="implied",
    ),
]

# %% tags=["hide-input"]
claims += [
    lab.Claim(
        f"So it is with {multiples[few]}m points, where rare draws rule the mean of"
        " independent points (largest mean error ratio, three functions)",
        "“bounded by a constant times the best approximation error”",
        max(finite, key=float),
        lab.at_most(5, standard_errors=2),
        "statistical",
        source="ours",
    ),
    lab.Claim(
        "On stable draws the error is bounded by the best one in the supremum norm,"
        " all designs (largest error over the bound)",
        "“almost surely bounded by the best approximation error … functions from L∞”",
        worst["stable", "sup"],
        lab.at_most(1),
        "exact",
        source="paper",
    ),
    lab.Claim(
        "And in the norm of a reproducing kernel, for the worst function of each draw"
        " (largest error over the bound)",
        "“… measured in the H-norm … reproducing kernel Hilbert spaces”",
        worst["stable", "H"],
        lab.at_most(1),
        "exact",
        source="paper",
    ),
]

# %% tags=["hide-input"]
claims += [
    lab.Claim(
        "Repetitions of DPPs and of volume samples have the noise of independent points"
        " at most (largest E‖z‖² over (m/n)‖r‖²)",
        f"{repetitions}, “yielding similar error bounds”",
        largest_noise,
        lab.at_most(1, standard_errors=2),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        "Repeated DPPs are stable in half of the draws with fewer points than"
        " independent ones take (largest share of them, over dimensions)",
        "“in practice with a much lower number of samples”",
        saving,
        lab.at_most(0.6, standard_errors=2),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        f"With {multiples[few]}m points their mean error is below that of volume"
        " sampling (largest ratio, three functions)",
        "“in practice with a much lower number of samples”",
        max(gains.values(), key=float),
        lab.at_most(1, standard_errors=2),
        "statistical",
        source="paper",
    ),
]

# %% tags=["hide-input"]
interpolated = [exact[2, "volume", ν][1] for ν in ("christoffel", "measure")]
biases = [exact[n, "volume", ν][0] for n in (2, 3) for ν in ("christoffel", "measure")]
claims += [
    lab.Claim(
        "Volume sampling is unbiased, with either reference (largest bias in a"
        " population of five, in units of the least error)",
        "“generalized version of volume-rescaled sampling”",
        round(max(biases), 12),  # further digits differ between machines
        lab.at_most(1e-12),
        "exact",
        source="implied",
    ),
    lab.Claim(
        "Interpolation at a DPP has m + 1 times the least squared error (largest"
        " departure from 3 in the same population)",
        "“projection determinantal point processes (DPP)”",
        round(max(abs(ratio - 3) for ratio in interpolated), 11),
        lab.at_most(1e-10),
        "exact",
        source="implied",
    ),
    lab.Claim(
        f"The mean of G⁻¹ is n/(n − m + 1) I (mean trace over it, n = {n})",
        "“volume-rescaled sampling”",
        inverse,
        lab.between(0.95, 1.05),
        "statistical",
        source="implied",
    ),
]

# %% tags=["claims", "hide-input"]
claims += [
    lab.Claim(
        "The sampler draws from the law that enumeration gives (larger χ² per degree of"
        " freedom of two references)",
        "no word on how to draw",
        lab.Estimate(*max(misfits.values())),
        lab.at_most(1.5),
        "statistical",
        source="ours",
    ),
]
lab.show_claims(claims)

# %% [markdown]
# ## Where it breaks
#
# 442 patients with diabetes, ten measurements each, and an outcome a year later. If only some of them can be followed
# up, which ones? The features are the rows of the table, with an intercept, made orthonormal over all patients. The
# error ratio is that of a linear model in the whole population. The plain rival here is a uniform draw without
# replacement, which is what anybody would do.

# %%
patients = experiment.diabetes_problem()
leverage = patients.space.features(torch.arange(442.0)[:, None]).square().sum(dim=1)
followed = experiment.sweep(
    patients,
    {"uniform": experiment.without_replacement(442)}
    | {name: designs[name] for name in random_names},
    population_multiples,
    n_population_draws,
    partial(session.stream, "patients"),
)
table = pd.DataFrame(
    {
        f"n = {multiple * patients.space.n_features}": {
            name: lab.mean(found.ratios[:, column]) for name, found in followed.items()
        }
        for column, multiple in enumerate(population_multiples)
    }
)
lab.table(table)
for word, column in (("small-gain", 0), ("no-gain", -1)):
    ours, theirs = (
        followed[name].ratios[:, column] for name in ("repeated DPP", "uniform")
    )
    lab.glue(word, lab.ratio(ours, theirs))
lab.glue("leverage-spread", (leverage.max() / leverage.median()).item(), ".1f")

# %% [markdown]
# With the smallest of these samples repeated sets have {glue:text}`small-gain` times the error of a uniform draw, and
# with the largest {glue:text}`no-gain` times. The largest leverage $k$ of a patient is {glue:text}`leverage-spread`
# times the median one: there is no corner of the population that a uniform draw would miss, and what a linear model
# leaves of the outcome looks like noise that is the same everywhere. The design can prevent a bad matrix $G$; it
# cannot make the residual smaller. With polynomials it is the corners of the domain that make $G$ bad.
#
# Even there, one variable is the wrong place for chance. The $m$ Gauss-Legendre nodes, with their own weights, leave
# {glue:text}`gauss-once` times the least error, and $2m$ of them exceed it by {glue:text}`gauss-twice` of it. Random
# points are for spaces without a quadrature: several variables, lopsided sets of terms, rows of a table.
#
# ## Bigger
#
# ```bash
# regularity run volume_sampling -f gpu     # dimensions up to 80, spaces of 66 functions in the plane
# regularity run volume_sampling -f paper   # 10,000 draws of each design
# ```
#
# or, by hand,
#
# ```bash
# papermill notebooks/theory/volume_sampling.ipynb out.ipynb -f notebooks/theory/volume_sampling.gpu.yaml
# ```
#
# ## Exercises
#
# 1. **Wrong weights.** Draw repeated DPPs and give all points the weight 1. What is $\mathbb{E} G$ now, and is the
#    fit still consistent as $r$ grows? Predict with {eq}`volume-error`.
# 2. **The other reference.** In the first table of errors let volume sampling have `reference="measure"`. Which $n$
#    does it need on the real line, with Hermite polynomials?
# 3. **One more point.** {eq}`volume-identities` says what the trace of $\mathbb{E} G^{-1}$ gains from the first point
#    after $m$. How much is it, and why so much?
# 4. **A DPP's own uncertainty.** Which functions $g$ have zero variance in {eq}`volume-variance`? Try $g =
#    \varphi_j/\varphi_0$ for a small and a large $j$.
# 5. **Patients that differ.** Multiply the measurements of five patients by ten. Which of the designs notices?
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
