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
# # Stein variational Pareto sets: do compromises learn better in company?
#
# **A bridge can be light or stiff, and every design costs an hour of simulation. Can a network learn all best
# compromises at once from a few dozen simulations, and does it help if they are trained as one crowd?**
#
# | | |
# |---|---|
# | paper | *Improving Pareto Set Learning for Expensive Multi-objective Optimization via Stein Variational Hypernetworks* {cite:p}`nguyen2025improving` |
# | authors | Minh-Duc Nguyen, Phuong Mai Dinh, Quang-Huy Nguyen, Long P. Hoang and Dung D. Le |
# | year, arXiv | 2025 (AAAI), [2412.17312](https://arxiv.org/abs/2412.17312) |
# | what is regularised | a network that maps preferences to solutions, trained on a surrogate that is wrong where data are thin |
# | by what | a kernel between the preferences of a training step: they share their drives and repel one another |
# | for whom | designers with two or three costly objectives and a few dozen simulations |
# | read for this chapter | abstract, the authors' code, the plot of results in their repository; not the text |
#
# It can learn them, and company helps, a little. On the four-bar truss the paper's method, SVH-PSL, learns a better
# set of designs than PSL-MOBO, which it builds on: judged on the *true* objectives, its hypervolume is
# {glue:text}`quality-base` larger, of {glue:text}`best-volume` that are possible. After {glue:text}`n-evaluations`
# evaluations the gap to the best possible front is {glue:text}`gap-base` smaller than that of PSL-MOBO, and
# {glue:text}`gap-twin` smaller than that of its own twin without a kernel.
#
# But the gain does not come from where the name of Stein points. Take the equations apart, and the crowd's mutual
# *repulsion*, which is to keep the compromises diverse, is {glue:text}`share` of what moves the network. Switch it
# off, and the gain stays: preferences that crowd count more, and this helps. The false optima of the surrogate, which
# the crowd is to escape, trap {glue:text}`trapped-alone` of the preferences that search alone, and
# {glue:text}`trapped-twin` of those that share a network, with a kernel or without. And an older way without any
# network, which looks among random candidates for the largest expected gain in hypervolume, leaves a gap
# {glue:text}`rival-factor` times smaller again.
#
# ```{verdicts}
# ```
#
# ```{glue:figure} answer
# :name: fig-stein-pareto-answer
# :alt: Left, a convex front; blue and grey learned curves cover its middle part, and orange dots all of it. Right, curves of the log hypervolume difference that fall with the number of evaluations: expected improvement falls fastest, then SVH-PSL and the kernel alone, the uncoupled method, PSL-MOBO, and far above them NSGA-II and the Latin hypercube.
#
# Left: one run on the four-bar truss. Lines: what the last networks have learned, for all preferences, SVH-PSL in
# blue on PSL-MOBO in wide grey. Both lie on the true front (black), and neither reaches its ends. Circles: the
# designs that expected improvement evaluated from the same initial ones (open). Right: gap to the best possible
# hypervolume against evaluations, mean over the runs; lower is better. The kernel gains a little; expected
# improvement, without a network, gains far more.
# ```

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
seed: int = 0  # seed of all randomness
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
n_workers: int = 1  # experiments at a time: two save time, and cost more work
problem: str = "RE21"  # "ZDT1", "ZDT2", "ZDT3", "F2", "VLMOP2", "RE21" or "RE37"
n_seeds: int = 16  # runs of each method, paired by their initial design
n_rival_seeds: int = 8  # runs of expected improvement, paired with the first of them
n_initial: int = 20  # size of the initial design
n_iterations: int = 8  # batches of evaluations after it
batch_size: int = 5  # evaluations of a batch
n_fit_steps: list = [
    60,
    15,
]  # steps of the Gaussian processes' first fit, and of later ones
width: int = 64  # units of the networks' two hidden layers
n_steps: int = 150  # training steps of each network
n_preferences: int = 10  # preferences of a step
learning_rate: float = 0.001  # Adam's rate
confidence: float = 0.1  # β of the optimistic values μ − βs
repulsion: float = 0.001  # α of SVH-PSL
bandwidth: float = 1.0  # c of SVH-PSL
checkpoint_every: int = 15  # steps between two looks at the learned front
n_candidates: int = 500  # preferences that compete for a batch
pool_size: int = 400  # candidates of the rival without a network
n_samples: int = 32  # its posterior samples
n_search: int = 20000  # evaluations of a long search, for want of a closed front
repulsions: list = [0.0, 0.001, 1.0, 10.0]  # α on fixed surrogates: none, published, …
surrogate_problem: str = "VLMOP2"  # what they are of; its front has a closed form
n_surrogates: int = 16  # number of fixed surrogates
surrogate_size: int = 40  # evaluations that each is made of
surrogate_steps: int = 200  # training steps on them
collapse_problem: str = "ZDT2"  # where the learned set collapses; "ZDT1" or "ZDT2"
n_collapse: int = 4  # runs of each kind there

# %% tags=["hide-input"]
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from regularity import lab
from regularity.foundations import metrics, particles, randomness
from regularity.stein import stein_pareto
from regularity.stein.stein_pareto import PROBLEMS, PSL_MOBO, SVH_PSL, UNCOUPLED

session = lab.begin(seed, device)

# %% [markdown]
# ## The method
#
# ### A network for all preferences
#
# Let $F = (F_1, \dots, F_m)$ be objectives on the unit cube, all to be made small. Where they conflict there is no
# best design, but a set of best compromises: the *Pareto set*, whose image is the *front*. A preference $r$ on the
# simplex, positive weights that add to one, picks a point of it. Pareto set learning {cite:p}`lin2022pareto` trains a
# small network $h_\theta$ that answers any preference with a design, $x = h_\theta(r)$, so that the whole set is one
# function.
#
# The objectives are too costly to train on. In their place stand Gaussian processes fitted to what has been evaluated
# ({func}`~regularity.foundations.gaussian_processes.fit_gaussian_process`), each with a mean $\mu_k$ and a standard
# deviation $s_k$, and the network sees the optimistic values $V = \mu - \beta s$. What preference $r$ wants is the
# Tchebycheff value
#
# $$
# t(r) = \max_k \; r_k \,\big(V_k(h_\theta(r)) - z_k\big),
# $$ (stein_pareto-tchebycheff)
#
# with $z$ a point below all that was seen. The largest term is the *active* objective; only it has a gradient.
#
# ```{admonition} Algorithm: Pareto set learning with expensive objectives
# 1. Evaluate a Latin hypercube. Then repeat:
# 2. Fit a Gaussian process to each objective; put $z$ a tenth below all values seen, now or before.
# 3. Take a fresh network. At each step draw $n = 10$ preferences $r_j$, find the gradients
#    $g_j = \nabla_\theta\, t(r_j)$, combine them into one direction $G$, and let Adam descend along it.
# 4. Keep the network whose optimistic front had the largest hypervolume.
# 5. Ask it for the solutions of many random preferences; choose, one after the other, those whose optimistic values
#    add most hypervolume to the front of the data.
# 6. Evaluate this batch.
# ```

# %%
lab.show(
    stein_pareto.tchebycheff,
    stein_pareto.select_batch,
    stein_pareto.acquire_from_pareto_set,
    stein_pareto.optimise,
)

# %% [markdown]
# ### Stein's crowd
#
# Surrogates have dents. Between data the optimistic value dips, and a preference that is trained alone falls in. This
# is the paper's motive to let the preferences of a step move together, by Stein variational gradient descent (SVGD)
# {cite:p}`liu2016stein`. That method is Stein's identity once more, in the last of the forms that
# {doc}`/notebooks/stein/opening` lists. It moves particles by the average of their drives, weighted by a kernel, plus
# the kernel's gradient, which pushes them apart
# ({func}`~regularity.foundations.particles.stein_variational_direction`). Here the particles are the preferences, and
# the kernel compares their values. The authors' is *local*. Preferences $i$ and $j$ are compared in one objective
# alone, the active one $k_j$ of the second:
#
# $$
# K_{ij} = \exp\!\bigg( -\frac{(V_{i k_j} - V_{j k_j})^2}{h_{k_j}} \bigg), \qquad
# h_k = c\, \frac{\operatorname{med}_k^2}{\log n},
# $$ (stein_pareto-kernel)
#
# where $\operatorname{med}_k$ is the median of all squared differences in objective $k$. The direction is
#
# $$
# G = \frac1n \sum_{i=1}^n \bigg[ \sum_{j=1}^n K_{ij}\, \hat g_j + \alpha\, \nabla_\theta \sum_{j=1}^n K_{ij} \bigg],
# $$ (stein_pareto-direction)
#
# with $\hat g_j$ the gradient after a scaling that we come to. The first term is the drive, the second the repulsion:
# to make $\sum K$ smaller is to move the values apart. (The equations are those of the authors' code, and so are its
# defaults $\alpha = 0.001$ and $c = 1$.)

# %%
lab.show(particles.stein_variational_direction, stein_pareto.local_kernel)

# %% [markdown]
# ### What the double sum hides
#
# Look at {eq}`stein_pareto-direction` again. In Stein's method each particle has a place of its own, and $i$ is the
# particle that moves. Here all preferences share the network, the outer sum runs over everything, and $i$ has no
# place to go. Exchange the sums:
#
# $$
# G = \frac1n \bigg[ \sum_{j=1}^n w_j\, \hat g_j + \alpha\, \nabla_\theta \sum_{i,j} K_{ij} \bigg],
# \qquad w_j = \sum_{i=1}^n K_{ij} \in [1, n].
# $$ (stein_pareto-collapsed)
#
# The attraction of the crowd is a *weight*: a preference counts more the more others have values like its own. The
# repulsion is the gradient of one number. Nothing else is left of the kernel. This has three consequences.
#
# **It is cheap.** The authors' code runs backwards through the network $2n$ times a step, once for each gradient in
# {eq}`stein_pareto-direction`. Two passes are enough, even though each $\hat g_j$ is scaled parameter by parameter,
# $\hat g_{jp} = g_{jp} / (\sum_l g_{lp}^2)^{1/2}$.
#
# ```{admonition} Algorithm: the direction of one step
# 1. Pass the preferences through the network: solutions $x_j$, and inputs $a$ of each layer, a row a preference.
# 2. Ask the surrogate for values $V_j$ and their slopes; find the active objective of each preference.
# 3. Carry the slopes of the Tchebycheff values back: deltas $\delta$ of each layer.
# 4. From the kernel of the values: weights $w_j = \sum_i K_{ij}$, and the slope of $\sum K$ in the values.
# 5. Drive of a layer: $\sum_j w_j\, g_j = a^\top (w \odot \delta)$, over the square root of
#    $\sum_j g_j^2 = (a^2)^\top (\delta^2)$, entry by entry.
# 6. Repulsion: carry $\alpha$ times the slope of $\sum K$ back in the same way.
# ```
#
# No gradient of a single preference is ever formed.

# %%
lab.show(stein_pareto.stein_hypernetwork_direction, stein_pareto.learn_pareto_set)

# %% [markdown]
# The double loop, written as the authors wrote it, is kept as a check
# ({func}`~regularity.stein.stein_pareto.stein_direction_by_particles`). Both are asked for a direction of a network
# that has been trained on the first design, in double precision, with a repulsion large enough to be seen.

# %%
target = PROBLEMS[problem]
design = stein_pareto.latin_hypercube(
    n_initial, target.n_variables, [session.child_seed("check", "design")]
)
known = stein_pareto.fit_surrogate(design, target.evaluate(design))
trained = stein_pareto.learn_pareto_set(
    known,
    SVH_PSL,
    [session.stream("check", "training")],
    width=width,
    n_steps=n_steps,
    checkpoint_every=n_steps,
    dtype=torch.float64,
).network
shape = (n_preferences, target.n_objectives)
some = stein_pareto.sample_preferences(shape, [session.stream("check", "preferences")])


def direction_of(method):
    """Direction of one step from the trained network."""
    return stein_pareto.stein_hypernetwork_direction(trained, some, known, method)


def largest_difference(first, second):
    """Over all parameters."""
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


strong = replace(SVH_PSL, repulsion=0.7)
naive = stein_pareto.stein_direction_by_particles(trained, some, known, strong)
loop_error = largest_difference(direction_of(strong).total(), naive)
alone = direction_of(UNCOUPLED).drive
narrow, wide = (
    direction_of(replace(SVH_PSL, bandwidth=c)).drive for c in (1e-12, 1e12)
)
wide = [part / n_preferences for part in wide]
ends_error = max(largest_difference(alone, end) for end in (narrow, wide))
lab.glue("largest-entry", max(part.abs().max().item() for part in naive), ".1g")

# %% [markdown]
# The two passes agree with the double loop to less than a billionth of the direction's largest entry,
# {glue:text}`largest-entry`; the claims hold both differences to it.
#
# **Both ends of the bandwidth are no kernel at all.** For $c \to 0$ each preference is alone, $w_j = 1$. For $c \to
# \infty$ all are alike, $w_j = n$, and Adam does not see a common factor. The coupling lives in between. During the
# runs below, the weights of a step vary by {glue:text}`variation` of their mean.
#
# **A crowd that is too close falls apart.** In SVGD the bandwidth is proportional to the median of the squared
# distances, so that the kernel does not care about units. In {eq}`stein_pareto-kernel` the median of the *squared*
# differences is squared once more. Then the exponent goes like $\operatorname{med} / \operatorname{med}^2 = 1 /
# \operatorname{med}$: the closer the values of a step, the smaller the kernel between them. Preferences that have
# collapsed onto one point, which the repulsion is there to separate, no longer feel each other
# ({numref}`fig-stein-pareto-crowd`, left).
#
# ## The experiment
#
# The truss (RE21 in the suite of {cite:t}`tanabe2020easy`) has four bars whose sections $x_1, \dots, x_4$ are to be
# chosen, and two objectives, the volume of steel and the displacement of a joint:
#
# $$
# F_1 = 200\,\big(2 x_1 + \sqrt2\, x_2 + \sqrt{x_3} + x_4\big), \qquad
# F_2 = 0.01\, \bigg(\frac{2}{x_1} + \frac{2\sqrt2}{x_2} - \frac{2\sqrt2}{x_3} + \frac{2}{x_4}\bigg).
# $$
#
# Both grow with $x_3$, so on the front it is least. In the others both are convex, and their gradients are opposite
# where no bound is met, which gives $x_1 = t$ and $x_2 = x_4 = \sqrt2\, t$. As $t$ grows, with each section cut off
# at its bounds, it draws the whole front. The best possible hypervolume is therefore known.
#
# Four methods train a network, {glue:text}`n-seeds` times each. *PSL-MOBO* is the base method. *Uncoupled* is SVH-PSL
# without a kernel, everything else equal. *Kernel alone* is SVH-PSL without repulsion. Runs with the same seed share
# their initial design, the first weights of every network and every random draw: differences between methods are
# small against differences between initial designs, so only pairs tell. The loop is the paper's on a smaller scale:
# {glue:text}`n-evaluations` evaluations in place of 120, and networks that are narrower and trained for fewer steps.

# %%
methods = {
    "PSL-MOBO": PSL_MOBO,
    "uncoupled": UNCOUPLED,
    "kernel alone": replace(SVH_PSL, repulsion=0.0, bandwidth=bandwidth),
    "SVH-PSL": replace(SVH_PSL, repulsion=repulsion, bandwidth=bandwidth),
}
training = {
    "width": width,
    "n_preferences": n_preferences,
    "learning_rate": learning_rate,
    "confidence": confidence,
    "checkpoint_every": checkpoint_every,
}
loop = {
    "n_initial": n_initial,
    "n_iterations": n_iterations,
    "batch_size": batch_size,
    "n_fit_steps": tuple(n_fit_steps),
    "device": session.device,
}
run_seeds = [session.child_seed("main runs", run) for run in range(n_seeds)]


def learn_and_evaluate(target, method, seeds, **options):
    """The whole loop of one method, from each seed."""
    acquire = partial(
        stein_pareto.acquire_from_pareto_set,
        method=method,
        n_steps=n_steps,
        n_candidates=n_candidates,
        **training,
    )
    return stein_pareto.optimise(target, acquire, seeds, **loop, **options)


# %% [markdown]
# Two further experiments look closer. One trains every method on *fixed surrogates*, where nothing depends on what
# was evaluated before: {glue:text}`n-surrogates` sets of {glue:text}`surrogate-size` evaluations of
# {glue:text}`surrogate-name`, a problem with six variables that so few evaluations leave poorly known. The other, on
# ZDT2, shows where the method breaks. All run side by side.

# %%
thin, bulge = PROBLEMS[surrogate_problem], PROBLEMS[collapse_problem]
thin_seeds = [
    session.child_seed("fixed surrogates", run) for run in range(n_surrogates)
]
bulge_seeds = [session.child_seed("collapse", run) for run in range(n_collapse)]
drawn = [randomness.child_seed(one, "design") for one in thin_seeds]
thin_designs = stein_pareto.latin_hypercube(surrogate_size, thin.n_variables, drawn)
thin_designs = thin_designs.to(session.device)
fixed = stein_pareto.fit_surrogate(thin_designs, thin.evaluate(thin_designs))
scanned = {"PSL-MOBO": PSL_MOBO, "uncoupled": UNCOUPLED}
scanned |= {f"α = {alpha:g}": replace(SVH_PSL, repulsion=alpha) for alpha in repulsions}


def learn_on_fixed(method):
    """One method on every fixed surrogate; large α would amplify single precision."""
    sources = [randomness.stream(one, "training") for one in thin_seeds]
    options = {"n_steps": surrogate_steps, "dtype": torch.float64, **training}
    return stein_pareto.learn_pareto_set(fixed, method, sources, **options)


tasks = {
    name: partial(learn_and_evaluate, target, method, run_seeds)
    for name, method in methods.items()
}
pool = {"pool_size": pool_size, "n_samples": n_samples}
improve = partial(stein_pareto.acquire_by_expected_improvement, **pool)
tasks["expected improvement"] = partial(
    stein_pareto.optimise, target, improve, run_seeds[:n_rival_seeds], **loop
)
for units in ("standardised", "raw"):
    for name, method in (("PSL-MOBO", PSL_MOBO), ("SVH-PSL", SVH_PSL)):
        options = {"standardise": units == "standardised"}
        work = partial(learn_and_evaluate, bulge, method, bulge_seeds, **options)
        tasks[f"{name}, {units}"] = work
tasks |= {
    ("fixed", name): partial(learn_on_fixed, one) for name, one in scanned.items()
}
workers = 1 if session.device.type == "cuda" else n_workers
results = session.side_by_side(tasks, "experiments", n_workers=workers)

# %% [markdown]
# Two baselines have no surrogate: a Latin hypercube of the same size, and NSGA-II {cite:p}`deb2002fast`, the genetic
# algorithm that most would try first, from pymoo, with the better of 10 and 20 individuals.
#
# The figure of merit is the paper's. A set of designs dominates a region of the objectives' plane, everything that is
# worse than one of them in both. The area of that region, within a reference point, is the set's *hypervolume*. What
# it lacks to the hypervolume of the true front, in logarithms, is the *log hypervolume difference*, LHD: one less
# means a gap 2.7 times smaller.
#
# We ask two things of a method. What did it *evaluate*: the LHD of all its evaluations. And what did it *learn*: the
# hypervolume of the solutions that its last network gives for a hundred even preferences, **by the true objectives**.
# The second is the headline of the paper, whose subject is the quality of the learned set.

# %%
counts = torch.as_tensor(results["SVH-PSL"].n_evaluations)
volumes = {
    name: results[name].hypervolume.cpu() for name in [*methods, "expected improvement"]
}
volumes["NSGA-II"] = stein_pareto.volumes_of_nsga2(target, counts, run_seeds)
volumes["Latin hypercube"] = stein_pareto.volumes_of_latin_hypercubes(
    target, counts, run_seeds
)
if target.front is not None:
    front = target.scale(target.front(5000))
else:
    long_search = {"population": 100, "n_evaluations": n_search}
    front = stein_pareto.search_by_nsga2(
        target, session.child_seed("front"), **long_search
    )
reference = torch.tensor(target.reference, dtype=torch.float64)
best_volume = metrics.hypervolume(front, reference).item()

# %%
gaps = {  # the paper's LHD, with its floor
    name: torch.log((best_volume - volume).clamp_min(1e-14))
    for name, volume in volumes.items()
}
learned = {
    name: stein_pareto.measure_learned_set(
        target, results[name].surrogate, results[name].learned, confidence=confidence
    )
    for name in methods
}
rows = {
    name: {
        "hypervolume evaluated": lab.mean(volume[:, -1]),
        "LHD": lab.mean(gaps[name][:, -1]),
    }
    for name, volume in volumes.items()
}
for name, one in learned.items():
    rows[name]["hypervolume learned"] = lab.mean(one.volume)
    rows[name]["front covered (%)"] = lab.mean(100 * one.stretch(front))
lab.glue("best-volume", best_volume, ".3f")
lab.glue("n-seeds", n_seeds, "d")
lab.glue("n-evaluations", int(counts[-1]), "d")
lab.table(pd.DataFrame.from_dict(rows, orient="index").fillna("–"))

# %% tags=["hide-input", "thumbnail", "remove-output"]
fig, (left, right) = lab.figure(1, 2, height=3.2)
order = front[:, 0].argsort()
left.plot(*front[order, :2].T, color="black", lw=0.8, label="true front")
found = results["expected improvement"].objectives[0].cpu()
left.plot(*found[:n_initial, :2].T, "ko", mfc="none", ms=3.5, label="initial designs")
dots = {
    "color": lab.PALETTE[0],
    "ms": 3.5,
    "zorder": 1.5,
    "label": "expected improvement",
}
left.plot(*found[n_initial:, :2].T, "o", **dots)
lines = {
    "PSL-MOBO": {"color": lab.BASELINE, "lw": 6, "alpha": 0.6},
    "SVH-PSL": {"color": lab.ACCENT, "lw": 2.5},
}
for name, style in lines.items():
    curve = learned[name].objectives[0].cpu()
    left.plot(*curve[:, :2].T, label=f"learned by {name}", **style)
axis_names = {"RE21": ("steel volume (scaled)", "displacement (scaled)")}
first_name, second_name = axis_names.get(problem, ("objective 1", "objective 2"))
left.set(xlabel=first_name, ylabel=second_name, xlim=(-0.05, 1.15), ylim=(-0.05, 1.15))
left.legend(loc="upper right")
styles = {
    "Latin hypercube": (lab.BASELINE, ":"),
    "NSGA-II": (lab.BASELINE, "-."),
    "PSL-MOBO": (lab.BASELINE, "-"),
    "uncoupled": (lab.BASELINE, "--"),
    "kernel alone": (lab.PALETTE[4], "-"),
    "SVH-PSL": (lab.ACCENT, "-"),
    "expected improvement": (lab.PALETTE[0], "-"),
}
for name, (colour, line) in styles.items():
    right.plot(counts, gaps[name].mean(dim=0), line, color=colour, label=name)
right.set(xlabel="evaluations", ylabel="log hypervolume difference")
right.legend(loc="lower left", fontsize=7)
lab.glue("answer", fig)

# %% [markdown]
# ### What the kernel gains


# %%
def lead(better, worse):
    """By how much `better` has the lower LHD after the last batch, in pairs."""
    n_pairs = min(len(gaps[better]), len(gaps[worse]))
    return lab.paired_difference(gaps[worse][:n_pairs, -1], gaps[better][:n_pairs, -1])


def learned_lead(better, worse):
    """The same for the hypervolume of what was learned, by the true objectives."""
    return lab.paired_difference(learned[better].volume, learned[worse].volume)


pairs = [
    ("SVH-PSL", "PSL-MOBO"),
    ("SVH-PSL", "uncoupled"),
    ("kernel alone", "uncoupled"),
    ("SVH-PSL", "kernel alone"),
]
gains = {pair: lead(*pair) for pair in pairs}
quality = {pair: learned_lead(*pair) for pair in pairs}
against_rival = lead("SVH-PSL", "expected improvement")
rows = {
    f"{better} over {worse}": {
        "what was evaluated (LHD)": gains[better, worse],
        "what was learned (hypervolume)": quality[better, worse],
    }
    for better, worse in pairs
}
for name, pair in zip(("base", "twin", "weights", "repulsion"), pairs, strict=True):
    lab.glue(f"gain-{name}", gains[pair])
for name, pair in zip(("base", "twin"), pairs, strict=False):
    lab.glue(f"gap-{name}", 100 * (1 - np.exp(-gains[pair].value)), ".0f", "%")
    lab.glue(f"quality-{name}", quality[pair])
lab.glue("rival-factor", np.exp(-against_rival.value), ".1f")
share = results["SVH-PSL"].repulsion_share.median().item()
lab.glue("share", 100 * share, ".2g", "%")
lab.glue(
    "variation", 100 * results["SVH-PSL"].weight_variation.mean().item(), ".0f", "%"
)
lab.table(pd.DataFrame.from_dict(rows, orient="index"))

# %% tags=["hide-input", "remove-output"]
fig, panels = lab.figure(1, 2, height=2.3, sharey=True)
for row, (better, worse) in enumerate(reversed(pairs)):
    differences = (
        (gaps[worse] - gaps[better])[:, -1],
        (learned[better].volume - learned[worse].volume).cpu(),
    )
    for panel, each, pair in zip(panels, differences, (gains, quality), strict=True):
        dots = {"color": lab.ACCENT, "mfc": "none", "ms": 4, "alpha": 0.7}
        panel.plot(each, np.full(n_seeds, row), "o", **dots)
        mean = pair[better, worse]
        bar = {"fmt": "|", "color": "black", "ms": 14, "capsize": 3}
        panel.errorbar(mean.value, row, xerr=2 * mean.error, **bar)
labels = [f"{better} over {worse}" for better, worse in reversed(pairs)]
panels[0].set(
    yticks=range(len(pairs)), yticklabels=labels, ylim=(-0.5, len(pairs) - 0.5)
)
panels[0].set(title="what was evaluated", xlabel="advantage in LHD")
panels[1].set(title="what was learned", xlabel="advantage in hypervolume")
for panel in panels:
    panel.axvline(0, color=lab.BASELINE, lw=1)
    panel.grid(axis="x")
lab.glue("pairs", fig)

# %% [markdown]
# ```{glue:figure} pairs
# :name: fig-stein-pareto-pairs
# :alt: Two panels of four rows of dots. The first three rows lie mostly to the right of zero, the first farthest; the fourth is centred on zero.
#
# By how much the first method is ahead of the second after the last batch: one dot a seed, bars for the mean and two
# standard errors. Right of zero the first is better. Left: in the LHD of all evaluations. Right: in the hypervolume
# of the learned set, by the true objectives. The kernel helps in both, with the repulsion or without it; what the
# repulsion adds is small and of no certain sign.
# ```
#
# Against PSL-MOBO the advantage is {glue:text}`gain-base` in LHD, and {glue:text}`quality-base` in the hypervolume of
# the learned set. But SVH-PSL differs from PSL-MOBO in more than the kernel: it multiplies by $r$ where PSL-MOBO
# divides, scales gradients by parameter where PSL-MOBO scales them by solution, and keeps the best network of a
# training instead of the last. Its twin without a kernel shares all that, and against the twin the advantages are
# {glue:text}`gain-twin` and {glue:text}`quality-twin`. These are the kernel's. They have two parts, and a fourth
# method tells them apart. With the weights $w_j$ but no repulsion the advantage over the twin is
# {glue:text}`gain-weights` in LHD; the repulsion adds {glue:text}`gain-repulsion`, a part whose sign changes from one
# set of seeds to another. The gain is the weighting.
#
# Why should it help that crowded preferences count more? Here is a guess. The ten preferences of a step are random,
# and where several have similar values, several gradients say the same; after the scaling, a lone preference far out
# weighs as much as they do together. The weights give the step back to the majority. If that is it, larger steps of
# more preferences should gain less (exercise 2).

# %% [markdown]
# ### Repulsion, diversity, and false optima
#
# The scaling of $\hat g_j$ gives every parameter's gradients the same length over the preferences, one, however flat
# the surrogate. It makes the drive as long as the square root of the number of parameters, in order of magnitude. The
# repulsion is not scaled, and so at the published $\alpha$ it is nearly nothing. To make repulsion and drive
# comparable takes an $\alpha$ of about one. What does that buy?
#
# On the fixed surrogates the learned sets are judged twice. The surrogate *promises* values, and a false optimum
# counts there as a good one; so hypervolume and diversity are taken from the *true* objectives, and the promise is
# shown beside them. Then we look for the traps themselves. For each preference, descent on the surrogate starts from
# its learned solution; where it ends clearly above the best descent that we can find, the solution lies in the basin
# of a false optimum ({func}`~regularity.stein.stein_pareto.trapped_shares`). The same descent from a random point
# tells how a preference fares alone, without any network. The *uncertainty* at the learned solutions, the processes'
# standard deviation, says how far a set ventures into what is underexplored. And the *regret* of a preference is by
# how much the true Tchebycheff value of its answer exceeds the best on the true front.

# %%
on_fixed = {
    name: stein_pareto.measure_learned_set(
        thin, fixed, results["fixed", name], confidence=confidence
    )
    for name in scanned
}
coupled = {name: results["fixed", name] for name in list(scanned)[1:]}
trapped = stein_pareto.trapped_shares(
    fixed,
    coupled,
    [randomness.stream(one, "traps") for one in thin_seeds],
    confidence=confidence,
)
rows = {
    name: {
        "true hypervolume": lab.mean(one.volume),
        "promised": lab.mean(one.optimistic_volume),
        "neighbours": lab.mean(one.neighbours),
        "uncertainty": lab.mean(one.uncertainty),
        "trapped": lab.mean(trapped[name]) if name in trapped else "–",
        "repulsion / drive": results["fixed", name].repulsion_share.median().item(),
    }
    for name, one in on_fixed.items()
}
for name, key in (("alone", "each alone"), ("twin", "uncoupled")):
    lab.glue(f"trapped-{name}", 100 * trapped[key].mean().item(), ".0f", "%")
lab.glue("surrogate-name", surrogate_problem)
lab.glue("n-surrogates", n_surrogates, "d")
lab.glue("surrogate-size", surrogate_size, "d")
lab.table(pd.DataFrame.from_dict(rows, orient="index"), {"repulsion / drive": ".1e"})

# %%
middle = min(repulsions, key=lambda alpha: abs(alpha - 1))
none, published, strong, most = (
    f"α = {alpha:g}" for alpha in (*repulsions[:2], middle, repulsions[-1])
)


def of_fixed(measure, better, worse):
    """Difference of a measure on the same surrogates."""
    ours, theirs = (getattr(on_fixed[name], measure) for name in (better, worse))
    return lab.paired_difference(ours, theirs)


def ratio_on_fixed(measure, better, worse):
    """Ratio of the means of a measure on the same surrogates."""
    return lab.ratio(*(getattr(on_fixed[name], measure) for name in (better, worse)))


diversity = ratio_on_fixed("neighbours", published, "uncoupled")
strong_diversity = ratio_on_fixed("neighbours", strong, published)
strong_volume = of_fixed("volume", strong, none)
most_volume = of_fixed("volume", most, none)
exploration = of_fixed("uncertainty", published, "uncoupled")
escape = lab.paired_difference(trapped["uncoupled"], trapped[published])
thin_front = thin.scale(thin.front(500))
regrets = [
    stein_pareto.preference_regret(thin, fixed, results["fixed", name], thin_front)
    for name in ("uncoupled", published)
]
regret_lead = lab.paired_difference(*regrets)
company = lab.paired_difference(trapped["each alone"], trapped["uncoupled"])

# %% tags=["hide-input"]
published_share = results["fixed", published].repulsion_share.median().item()
lab.glue("share-fixed", 100 * published_share, ".1g", "%")
lab.glue("diversity", diversity)
lab.glue("strong-diversity", strong_diversity)
lab.glue("regret", lab.mean(regrets[1]))
lab.glue("regret-lead", regret_lead)
lab.glue("exploration", exploration)
lab.glue("strong-alpha", strong)
lab.glue("strong-volume", strong_volume)
lab.glue("most-alpha", most)
lab.glue("most-volume", most_volume)
lab.glue("most-promise", ratio_on_fixed("optimistic_volume", most, none))
lab.glue("most-trapped", 100 * trapped[most].mean().item(), ".0f", "%")

# %% tags=["hide-input", "remove-output"]
spots = torch.linspace(0, 1, n_preferences, dtype=torch.float64)
spreads = torch.logspace(-1.5, 1.5, 61, dtype=torch.float64)
squares = (spreads[:, None, None] * (spots[:, None] - spots)).square()
apart = 1 - torch.eye(n_preferences)
fig, (left, middle, right) = lab.figure(1, 3, height=2.7)
kernels = {1: (lab.BASELINE, "h ∝ med (SVGD)"), 2: (lab.ACCENT, "h ∝ med² (SVH-PSL)")}
for power, (colour, name) in kernels.items():
    h = particles.median_bandwidth(squares, power=power)
    entries = torch.exp(-squares / h[:, None, None]) * apart
    left.semilogx(
        spreads, entries.sum(dim=(1, 2)) / apart.sum(), color=colour, label=name
    )
widths = torch.cat([one.spread for one in learned.values()]).cpu()
shade = {"color": lab.BASELINE, "alpha": 0.2, "lw": 0}
left.axvspan(*widths.quantile(torch.tensor([0.05, 0.95]).to(widths)).tolist(), **shade)
left.set(xlabel="spread of the values", ylabel="mean kernel of a pair", ylim=(0, 1.25))
left.legend(loc="upper left", fontsize=7)
columns = np.arange(len(repulsions))
curves = [
    (middle, "neighbours", lab.PALETTE[0], "o-", "true objectives"),
    (middle, "optimistic_neighbours", lab.BASELINE, "s--", "promised"),
    (right, "volume", lab.ACCENT, "o-", "true objectives"),
    (right, "optimistic_volume", lab.BASELINE, "s--", "promised"),
]
for panel, measure, colour, line, name in curves:
    ratios = [ratio_on_fixed(measure, f"α = {alpha:g}", none) for alpha in repulsions]
    means, errors = [one.value for one in ratios], [2 * one.error for one in ratios]
    panel.errorbar(
        columns, means, errors, fmt=line, color=colour, capsize=2, label=name
    )
for panel, name in ((middle, "neighbours' distance"), (right, "hypervolume")):
    panel.axhline(1, color="black", lw=0.6)
    panel.set(xticks=columns, xticklabels=[f"{alpha:g}" for alpha in repulsions])
    panel.set(xlabel="weight α of the repulsion", title=name)
    panel.legend(loc="upper left", fontsize=7)
middle.set(ylabel="relative to α = 0")
lab.glue("crowd", fig)

# %% [markdown]
# ```{glue:figure} crowd
# :name: fig-stein-pareto-crowd
# :alt: Left, a grey horizontal line and a blue curve that rises from zero to one as the spread grows over three decades. Middle and right, curves over the weight of the repulsion that stay at one up to 0.1 and leave it beyond, those of the true objectives and those of the promise in different ways.
#
# Left: the mean kernel between two of ten evenly spread preferences, against the spread of their values
# (standardised). With the bandwidth of SVGD (grey) it is the same at any spread; with that of SVH-PSL (blue) the
# crowd is uncoupled where it is tight, and one lump where it is wide. The shaded spreads are those of what the
# networks of the main runs have learned. Middle and right: what the repulsion does on fixed surrogates, relative to
# none at all, over its weight α; bars are two standard errors. At the published α = 0.001 nothing happens. At large α
# what the surrogate promises gets worse, and what is true need not.
# ```
#
# **Diversity.** At the published $\alpha$ the repulsion's length was, on the mean of the training and the median of
# the runs, {glue:text}`share-fixed` of the drive's here, and {glue:text}`share` on the truss. Neighbours of the
# learned set are {glue:text}`diversity` times as far apart as without any kernel. At {glue:text}`strong-alpha` they
# are {glue:text}`strong-diversity` times as far apart as at the published one.
#
# **The true hypervolume.** At {glue:text}`strong-alpha` it changes by {glue:text}`strong-volume` against $\alpha =
# 0$. At {glue:text}`most-alpha` the promised hypervolume is {glue:text}`most-promise` times what it was, and the true
# one changes by {glue:text}`most-volume`. The two do not move together: on a surrogate this poor the best promises
# are not where the best designs are, and a set that is pushed off them need not lose.
#
# **Preferences and exploration.** At the published $\alpha$ the kernel lowers the regret, which is
# {glue:text}`regret`, by {glue:text}`regret-lead`, and raises the uncertainty at the learned solutions by
# {glue:text}`exploration`. One training on one surrogate shows little of the kernel.
#
# **False optima.** They are there: {glue:text}`trapped-alone` of the preferences that descend alone end in one. But of
# those that share a network {glue:text}`trapped-twin` do, without any kernel. The network is the crowd: one step for a
# few preferences moves the answers to all, and drags them out of basins that would hold each alone. To this the kernel
# has little to add, at any strength: at {glue:text}`most-alpha`, {glue:text}`most-trapped` sit in false optima.

# %% [markdown]
# ### Why expected improvement is so far ahead
#
# It uses the same Gaussian processes, and chooses greedily too, if by the mean improvement over joint samples of the
# posterior {cite:p}`daulton2020differentiable` and not by that of one optimistic value. What differs most is where
# its candidates come from: {glue:text}`pool` at random, half of them close to designs that are good already.

# %%
lab.show(stein_pareto.acquire_by_expected_improvement)

# %% [markdown]
# So the surrogate is not to blame. The learned sets are. {numref}`fig-stein-pareto-answer` (left) shows them: they
# are on the front, but they end before it does.

# %%
errors = torch.cat([one.error for one in learned.values()])
for key, name in (("stretch", "SVH-PSL"), ("stretch-base", "PSL-MOBO")):
    lab.glue(key, 100 * learned[name].stretch(front).mean().item(), ".0f", "%")
lab.glue("surrogate-error", errors.median().item(), ".4f")
lab.glue("pool", pool_size, "d")

# %% [markdown]
# The processes err by {glue:text}`surrogate-error` on them (median of the runs), in objectives scaled to the front's
# range: after a few batches the surrogate of the truss is nearly perfect. The networks cover {glue:text}`stretch` of
# the front with SVH-PSL and {glue:text}`stretch-base` with PSL-MOBO. A network of this size, trained for this long
# from ten random preferences a step, rarely sees a preference near a corner of the simplex, and a smooth function
# that is pulled by the middle does not reach the ends. What it does not cover is never proposed. Longer training
# lengthens all curves (exercise 1).

# %% [markdown]
# ## The claims
#
# Comparisons must keep two standard errors from zero, in pairs over the seeds or surrogates. Every rule was fixed on
# seeds that are not this run's; what was changed after this run's seed had been seen is marked in its row. What the
# repulsion adds to the LHD is so close to zero that a rule of its sign would be a toss-up; it is held to its share of
# the gain instead. Claims on the learned set are judged by the true objectives; those on traps and uncertainty are
# about the surrogate, and judged there.
#
# The paper's numbers are read off the plot in the authors' repository, to ±0.1, after 120 evaluations. Its panel for
# the truss says little. The reference front that comes with the code has displacements ten times too small for any
# truss, so no method can get below an LHD of about −1.0, and four of the ten methods end there.

# %% tags=["hide-input"]
ahead = {"rule": lab.above(0, standard_errors=2), "kind": "statistical"}
paper = partial(lab.Claim, source="paper", **ahead)
base, twin, weights, _ = pairs
claims = [
    paper(
        "SVH-PSL learns a better set than PSL-MOBO (gain in its true hypervolume)",
        "“significantly improves the quality of the learned Pareto set”",
        quality[base],
    ),
    paper(
        "SVH-PSL evaluates better designs than PSL-MOBO (advantage in LHD)",
        "its plot: better on 11 of 12 problems; RE21: −1.02 to −0.95",
        gains[base],
    ),
    paper(
        "SVH-PSL beats expected hypervolume improvement (advantage in LHD)",
        "its plot, RE21: −1.02 to −0.68",
        against_rival,
    ),
    paper(
        "The kernel keeps the learned set diverse (gain in true neighbours' distance)",
        "“helps maintain diversity”",
        of_fixed("neighbours", published, "uncoupled"),
    ),
    paper(
        "The kernel frees preferences from false optima (fall of the share trapped)",
        "“prevents particles from clustering around pseudo-local optima”",
        escape,
    ),
    paper(
        "The kernel leads into what is underexplored (gain in uncertainty there)",
        "“encourages the exploration of underexplored regions”",
        exploration,
    ),
]

# %% tags=["hide-input"]
implied = partial(lab.Claim, source="implied")
exact = partial(implied, kind="exact")
claims += [
    paper(
        "The kernel ties preferences to true solutions (fall of the regret)",
        "“robust relationships between … vectors and their … true Pareto solutions”",
        regret_lead,
        revised="taken on the truss at first, where two other seeds disagreed",
    ),
    lab.NotChecked(
        "SVH-PSL is ahead on synthetic and real-world problems alike",
        "“across both synthetic and real-world MOO benchmarks”",
        "one problem stands for the twelve, at half the evaluations; seven can be run",
    ),
    exact(
        "The double sum is a weighted sum of gradients and one gradient (difference)",
        "exact, implied by its update",
        loop_error,
        lab.below(1e-10),
    ),
    exact(
        "A bandwidth of zero or infinity is no kernel (difference of the directions)",
        "exact, implied by its update",
        ends_error,
        lab.below(1e-8),
    ),
    implied(
        "SVH-PSL learns a better set than without a kernel (gain in true hypervolume)",
        "“kernel-based interaction … promotes convergence towards globally optimal …”",
        quality[twin],
        **ahead,
    ),
]

# %% tags=["hide-input"]
changed = "its form was changed after this seed had been seen"
claims += [
    implied(
        "SVH-PSL evaluates better designs than without a kernel (advantage in LHD)",
        "the method's reason; no number",
        gains[twin],
        **ahead,
    ),
    implied(
        "At the published α the repulsion takes part (its length over the drive's)",
        "α = 0.001 in the code",
        published_share,
        lab.at_least(0.1),
        "qualitative",
        revised=changed,
    ),
    implied(
        "Strong repulsion spreads the learned set (distance at α = 1 over α = 0.001)",
        "“helps maintain diversity”, at an active α",
        strong_diversity,
        lab.at_least(1.2, standard_errors=2),
        "statistical",
        revised="judged on the true values; on the surrogate's when this seed was seen",
    ),
    implied(
        "Strong repulsion improves the learned set (true hypervolume at α = 1 less 0)",
        "“promotes convergence towards globally optimal solutions”, at an active α",
        strong_volume,
        **ahead,
    ),
]

# %% tags=["claims", "hide-input"]
ours = partial(lab.Claim, paper="no such run", source="ours")
less = (gaps["uncoupled"] + gaps["SVH-PSL"] - 2 * gaps["kernel alone"])[:, -1]
claims += [
    ours(
        "The kernel's weights alone help, without repulsion (advantage in LHD)",
        measured=gains[weights],
        **ahead,
    ),
    ours(
        "The weights gain more than the repulsion (their part less its, in LHD)",
        measured=lab.mean(less),
        revised=changed,
        **ahead,
    ),
    ours(
        "A shared network needs no kernel to escape (share trapped alone, less its)",
        measured=company,
        rule=lab.above(0.1, standard_errors=2),
        kind="statistical",
    ),
    ours(
        "The strongest repulsion raises the true hypervolume (at α = 10 less 0)",
        measured=most_volume,
        **ahead,
        revised="added when its value at seed 21 had been seen",
    ),
    ours(
        "SVH-PSL beats NSGA-II at equal evaluations (hypervolume ahead)",
        measured=lab.paired_difference(
            volumes["SVH-PSL"][:, -1], volumes["NSGA-II"][:, -1]
        ),
        rule=lab.above(0.02, standard_errors=2),
        kind="statistical",
    ),
]
lab.show_claims(claims)

# %% [markdown]
# ## Where it breaks
#
# ZDT2 {cite:p}`zitzler2000comparison` has a front that bulges the wrong way, $F_2 = 1 - F_1^2$ over twenty variables,
# and a corner at $(0, 1)$ that is easy to find. There the loop traps itself. It standardises the objectives by the
# data, and puts $z$ a tenth below the lowest values *seen*. A run that has found the corner has seen both its lowest
# values there: the corner is almost $z$ itself, and by {eq}`stein_pareto-tchebycheff` hardly any preference can do
# better elsewhere. All preferences want the same, the learned set shrinks to a point, and the kernel, which does not
# feel a tight crowd, lets it. New data come from the corner, and the next surrogate says the same.
#
# With the raw objectives, and $z$ starting at zero, the corner is 1 above $z$ in the second objective, and
# preferences for it move on. But zero is the true ideal point, which somebody with costly simulations does not know.
# On the ZDT problems the authors' code gives the raw objectives to SVH-PSL, and standardised ones to PSL-MOBO. Here
# both get both.

# %%
kinds = [f"{name}, {units}" for units in ("standardised", "raw") for name in lines]
collapse = {
    kind: stein_pareto.measure_learned_set(
        bulge, results[kind].surrogate, results[kind].learned, confidence=confidence
    )
    for kind in kinds
}
bulge_front = bulge.scale(bulge.front(2000))
bulge_reference = torch.tensor(bulge.reference, dtype=torch.float64)
corner, whole = (
    metrics.hypervolume(part, bulge_reference).item()
    for part in (bulge_front[:1], bulge_front)
)
lengths = {kind: collapse[kind].stretch(bulge_front) for kind in kinds}
rows = {
    kind: {
        "hypervolumes": "  ".join(
            f"{one:.3f}" for one in results[kind].hypervolume[:, -1]
        ),
        "lengths of the learned sets": "  ".join(f"{one:.2f}" for one in lengths[kind]),
    }
    for kind in kinds
}
opened = {kind: int((lengths[kind] > 0.1).sum()) for kind in kinds}
lab.glue("opened-standardised", sum(opened[kind] for kind in kinds[:2]), "d")
lab.glue("opened-raw-base", opened["PSL-MOBO, raw"], "d")
lab.glue("opened-raw", opened["SVH-PSL, raw"], "d")
lab.glue("n-collapse", n_collapse, "d")
lab.glue("n-collapse-twice", 2 * n_collapse, "d")
lab.glue("corner", corner, ".3f")
lab.glue("whole", whole, ".3f")
lab.glue("corner-share", 100 * corner / whole, ".0f", "%")
lab.table(pd.DataFrame.from_dict(rows, orient="index"))

# %% tags=["hide-input", "remove-output"]
fig, both = lab.figure(1, 2, height=2.8, sharey=True)
for panel, units in zip(both, ("standardised", "raw"), strict=True):
    panel.plot(*bulge_front.T, color="black", lw=0.8)
    for name, style in lines.items():
        kind, colour = f"{name}, {units}", style["color"]
        met = results[kind].objectives.flatten(0, 1).cpu()
        panel.plot(*met.T, ".", color=colour, ms=2, alpha=0.4)
        for answer in collapse[kind].objectives.cpu():
            panel.plot(*answer.T, color=colour, lw=2)
            panel.plot(*answer[::99].T, "o", color=colour, ms=5)
    panel.set(title=f"{units} objectives", xlabel="objective 1")
    panel.set(xlim=(-0.04, 1.04), ylim=(-0.05, 2))
both[0].set_ylabel("objective 2")
lab.glue("collapse", fig)

# %% [markdown]
# ```{glue:figure} collapse
# :name: fig-stein-pareto-collapse
# :alt: Two panels with a concave front. Left, all learned sets sit at the upper left corner. Right, several learned curves follow the front.
#
# ZDT2: what the networks of the last iteration have learned (lines and filled circles) and the evaluations (small
# dots), of all runs, with PSL-MOBO in grey and SVH-PSL in blue. Left: on standardised objectives, where the sets end
# at the corner. Right: on raw objectives, as the authors' code has it for SVH-PSL alone, where some follow the front.
# ```
#
# On standardised objectives {glue:text}`opened-standardised` of {glue:text}`n-collapse-twice` learned sets, of either
# method, are longer than a tenth of the front. On raw ones {glue:text}`opened-raw` of {glue:text}`n-collapse` are
# with SVH-PSL, and {glue:text}`opened-raw-base` of {glue:text}`n-collapse` with PSL-MOBO. The units decide whether
# any set opens, and the training how many do. The hypervolume hides it. The authors' reference point lies far above
# the front, so that the corner alone has {glue:text}`corner` of the front's {glue:text}`whole`,
# {glue:text}`corner-share`, and evaluations along the front that miss the corner have less. On this problem the paper
# reports one of its two largest advantages over PSL-MOBO. A comparison that changes the units and the training at
# once cannot say how much is owed to which.
#
# ## Bigger
#
# ```bash
# regularity run stein_pareto -f gpu     # 20 runs of 120 evaluations, the authors' networks and training
# regularity run stein_pareto -f paper   # the authors' five runs
# regularity sweep stein_pareto -f gpu --over problem=ZDT1,ZDT2,ZDT3,F2,VLMOP2,RE21,RE37
# ```
#
# or, by hand,
#
# ```bash
# papermill notebooks/stein/stein_pareto.ipynb out.ipynb -f notebooks/stein/stein_pareto.gpu.yaml -p problem ZDT1
# ```
#
# Both sizes train networks of 256 units for 1,000 steps in each of 20 iterations, and choose among 1,000 candidates.
# No run at these sizes has been recorded yet. Some things differ from the authors' code at any size. It takes the
# processes' variance for their standard deviation in SVH-PSL, judges the learned front with a reference point that
# moves, and lets a batch repeat a candidate; here all methods have the standard deviation, a fixed reference and
# batches without repetition. One oddity is kept: $z$ is the lowest of all iterations, though each standardises in
# units of its own.
#
# ## Exercises
#
# Predict first, then run.
#
# 1. **Longer training.** Double `n_steps`. Whose learned set grows more, that of PSL-MOBO or that of SVH-PSL? Does
#    expected improvement stay ahead?
# 2. **A larger crowd.** Set `n_preferences` to 40. If the weights help because ten preferences are a noisy sample,
#    what    becomes of the advantage over the uncoupled twin?
# 3. **The other bandwidth.** In {func}`~regularity.stein.stein_pareto.local_kernel` set the `power` of
#    {func}`~regularity.foundations.particles.median_bandwidth` to 1, as SVGD has it. What happens to the weights'
#    variation, and on ZDT2 to the collapse?
# 4. **The global kernel.** Replace `SVH_PSL` by `replace(SVH_PSL, kernel="global")` in `methods`. Is the local
#    kernel,    a point of the paper, better?
# 5. **Corners.** Draw half of the preferences of a step near the corners of the simplex: in
#    {func}`~regularity.stein.stein_pareto.sample_preferences`, raise the exponentials to the power 3 before they are
#    scaled. How much of the distance to expected improvement does this make up?
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
