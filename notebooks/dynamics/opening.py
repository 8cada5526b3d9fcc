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
# # Dynamics: the optimiser regularises
#
# A network has many more parameters than data, and its loss has many minima. Which one does training keep? Nothing in the
# loss decides it. The optimiser does: its steps are finite, its gradients come from a few samples, and both make some
# minima impossible to stay at. The chapters of this part ask what an optimiser cannot see, and what is left when it has
# looked.
#
# ```{gallery} dynamics
# ```
#
# ## One bowl
#
# Near a minimum every smooth loss is a quadratic. Let it be the loss of $n$ samples $x_i \in \mathbb{R}^d$ that a linear
# model fits exactly, with $\theta$ the distance to the minimum:
#
# $$
# \begin{gathered}
# E(\theta) = \frac{1}{2n} \sum_{i=1}^n (x_i^\top \theta)^2, \qquad H = \frac1n \sum_i x_i x_i^\top, \\
# \lambda_1 \ge \lambda_2 \ge \dots \ge \lambda_d \text{ the eigenvalues of } H.
# \end{gathered}
# $$ (bowl)
#
# The *sharpness* is $\lambda_1$. The flow $\dot\theta = -\nabla E$, which is what gradient descent would be with steps of no length, reaches
# the minimum of every bowl, $\theta(t) = e^{-tH}\theta(0)$. It prefers none.
#
# **Gradient descent** multiplies by $I - \eta H$ at each step, and grows along $u_1$ unless
#
# $$
# \lambda_1 \le \frac{2}{\eta}.
# $$ (gd-edge)
#
# To know what it does on the way, one asks for the flow that its steps follow. On {eq}`bowl` the eigenvalue
# $\lambda$ acts as $-\log(1 - \eta\lambda)/\eta$ would: more than $\lambda$, and without bound towards $\eta\lambda = 1$.
#
# **Stochastic gradient descent** sees the bowl of $B$ samples, another one at each step. What must stay bounded is
# $M = \mathbb{E}\,\theta\theta^\top$, which one step turns into
#
# $$
# M - \eta(HM + MH) + \eta^2\Big[\big(1 - \tfrac1B\big) HMH
# + \tfrac1B\, \tfrac1n \sum_i x_i x_i^\top M x_i x_i^\top\Big].
# $$ (sgd-moments)
#
# The noise adds up over all directions. Where all samples have one length, it is enough that
#
# $$
# \Big(1 - \frac1B\Big) \lambda_1 + \frac1B \operatorname{Tr} H \le \frac{2}{\eta},
# $$ (sgd-edge)
#
# and at $B = 1$ also necessary: the trace has taken the place of the largest eigenvalue. Read for $\eta$, it is the
# largest learning rate for a batch size: in proportion to $B$ while the trace rules, and level once $\lambda_1$ does.
#
# **A ball** of radius $\rho$ that rolls on the graph of the loss in place of a point touches the bottom of the bowl only
# where it fits,
#
# $$
# \lambda_1 \le \frac1\rho.
# $$ (ball-edge)
#
# In a narrower bowl it rests on two walls, $\sqrt{\rho^2 - 1/\lambda_1^2}$ away from the minimum.

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch

from regularity import lab

session = lab.begin(seed=0)

# %%
n, d, learning_rate, radius, n_steps = 64, 8, 0.5, 0.2, 100
draw = torch.randn(n, d, generator=session.stream("samples"), dtype=torch.float64)
samples = draw * torch.linspace(1.5, 0.5, d, dtype=torch.float64)
samples /= samples.norm(dim=1, keepdim=True)
hessian = samples.T @ samples / n  # of trace one
sharpness = torch.linalg.eigvalsh(hessian)[-1].item()
steepness = np.geomspace(0.1, 10, 200)
scales = torch.tensor(steepness / sharpness)[:, None, None]
bowls = scales * hessian  # one a sharpness


def distances_after(batch_size):
    """Root mean square of the distance after the steps; at the start it is one."""
    moments = torch.eye(d, dtype=torch.float64).expand_as(bowls) / d
    for _ in range(n_steps):
        drift = bowls @ moments + moments @ bowls
        lengths = ((samples @ moments) * samples).sum(dim=-1, keepdim=True)
        noise = scales**2 * (samples.T @ (lengths * samples)) / n
        mixed = bowls @ moments @ bowls
        change = learning_rate * (mixed + (noise - mixed) / batch_size)
        moments = moments + learning_rate * (change - drift)
    squares = moments.diagonal(dim1=1, dim2=2).sum(dim=1)
    return squares.clamp_min(0).sqrt().numpy()


def ball_distance(steepness):
    """Where a ball at rest touches the bowl, measured in its own radius."""
    return np.sqrt(np.clip(1 - 1 / (radius * steepness) ** 2, 0, None))


# %% [markdown]
# The same bowl, steeper and steeper: which optimiser still stays at its minimum? The expectation {eq}`sgd-moments` is
# iterated as it stands, so that no luck of a draw enters.

# %%
batch_sizes = {"gradient descent": np.inf, "SGD, B = 8": 8, "SGD, B = 1": 1}
distances = {name: distances_after(size) for name, size in batch_sizes.items()}


def edge(size):
    """The steepness at which the bound on SGD's learning rate is met."""
    share = 0 if np.isinf(size) else 1 / size
    return 2 / learning_rate / (1 - share + share / sharpness)


rows = {
    name: {
        "last bowl where it stays": steepness[distances[name] < 1].max(),
        "the bound": edge(size),
    }
    for name, size in batch_sizes.items()
}
rows["ball at rest"] = {
    "last bowl where it stays": steepness[ball_distance(steepness) == 0].max(),
    "the bound": 1 / radius,
}
table = pd.DataFrame(rows).T
lab.table(table, dict.fromkeys(table, ".2f"))
lab.glue("alone", rows["SGD, B = 1"]["last bowl where it stays"], ".1f")
lab.glue("descent", rows["gradient descent"]["last bowl where it stays"], ".1f")
lab.glue("touch", rows["ball at rest"]["last bowl where it stays"], ".1f")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure(height=3.4)
flow = np.exp(
    -learning_rate
    * n_steps
    * np.linalg.eigvalsh(hessian.numpy() / sharpness)[None]
    * steepness[:, None]
)
axes.loglog(
    steepness,
    np.sqrt((flow**2).mean(axis=1)),
    color=lab.BASELINE,
    label="gradient flow",
)
styles = {"gradient descent": "-", "SGD, B = 8": "--", "SGD, B = 1": ":"}
for name, values in distances.items():
    axes.loglog(steepness, values, styles[name], color=lab.ACCENT, label=name)
    axes.axvline(edge(batch_sizes[name]), color=lab.ACCENT, linewidth=0.5)
axes.loglog(
    steepness, ball_distance(steepness), color=lab.PALETTE[1], label="ball at rest"
)
axes.axvline(1 / radius, color=lab.PALETTE[1], linewidth=0.5)
axes.set(
    xlabel="sharpness of the bowl, $\\lambda_1$",
    ylabel="distance to the minimum",
    ylim=(1e-4, 1e2),
)
axes.legend(loc="upper left")
lab.glue("blind", fig)

# %% [markdown]
# ```{glue:figure} blind
# :name: fig-dynamics-blind
# :alt: Distance to the minimum against the sharpness of the bowl, both logarithmic. The grey curve of the gradient flow falls throughout. Three blue curves fall and then shoot up: SGD with one sample first, then with eight, then gradient descent. A fourth curve, of the ball, rises from nothing where the bowl becomes narrower than the ball.
#
# One quadratic in eight dimensions, scaled to every sharpness; learning rate 1/2, 100 steps, a ball of radius 1/5.
# Thin lines: the bounds {eq}`gd-edge`, {eq}`sgd-edge` and {eq}`ball-edge`. The flow reaches the minimum of every
# bowl. Gradient descent loses it beyond a sharpness of {glue:text}`descent`, stochastic gradient descent with one
# sample a step already beyond {glue:text}`alone`; the ball leaves the bottom beyond {glue:text}`touch`.
# ```
#
# ## What the part does with it
#
# The step
# : Gradient descent follows a flow of its own, with a penalty on the gradient that nobody wrote down. The flow tells
#   when training becomes unstable, chooses the next step, and in games shows a term that drives the players apart and can
#   be cancelled.
#
# The noise
# : Where an interpolating network can rest under stochastic gradient descent, the trace of its Hessian is small; for
#   two-layer networks that is a norm of the weights, and a small norm generalises.
#
# The batch
# : The Hessian of a batch is the full one plus noise, which pushes its largest eigenvalue out. So the learning rate
#   that a batch allows can be told from random matrices, or measured on the fly.
#
# The ball
# : What is smaller than the ball cannot be felt. Wrinkles of the loss are ironed, and sharp minima are out of reach.
#
# All of them live on products with a Hessian that is never formed, on its extreme eigenvalues and its trace
# ({func}`~regularity.foundations.curvature.hessian_product`,
# {func}`~regularity.foundations.curvature.extreme_eigenvalues`,
# {func}`~regularity.foundations.curvature.hutchinson_trace`).
#
# ## Where it ends
#
# The bounds are those of a quadratic. A network's loss is none: when gradient descent passes {eq}`gd-edge`, it does not
# fly off but moves to where the bowl is wider, and hovers at the edge {cite:p}`cohen2021gradient`. Sharpness is no
# property of the function that a network computes, either: a rescaling of its layers changes it and leaves every
# output as it was {cite:p}`dinh2017sharp`. What a bound on it says of generalisation has to be shown for each kind of network.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
