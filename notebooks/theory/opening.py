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
# # Theory: what networks can learn
#
# A network has more weights than data, and fits them; what does it compute elsewhere? No theory answers for all
# networks. There are answers at corners, where something becomes large, or small, and what is left can be calculated. The
# chapters of this part each work in one corner. This page shows that they are corners of one thing.
#
# ```{gallery} theory
# ```
#
# ## One network
#
# Two layers, $m$ hidden neurons, inputs $x \in \mathbb{R}^d$, and one number besides, the scale $s$ of the output:
#
# $$
# f(x) = s\,\sqrt{\tfrac2m}\; A\,\max(0, W x), \qquad W \in \mathbb{R}^{m \times d},\; A \in \mathbb{R}^{k \times m},
# $$ (two-layers)
#
# with standard normal weights at the start. The *features* of $x$ are $\phi(x) = \sqrt{2/m}\,\max(0, Wx)$, and $A$
# reads them. What the network can learn from few samples hangs on the features, and what the features become hangs on
# $m$, on $s$, and on what is added to the loss.
#
# **Infinite width.** At the start the inner products $\phi(x)^\top\phi(x')$ are means over $m$ independent neurons. As
# $m$ grows they tend to a kernel, with a closed form for the ReLU
# ({func}`~regularity.foundations.kernels.wide_network_kernels`, {cite:t}`cho2009kernel`).
#
# **Lazy.** With a large $s$ a small change of the weights is enough to fit. The features stay what they were, and training is
# regression with a fixed kernel {cite:p}`chizat2019lazy`. What it learns first is what the kernel finds large.
#
# **Rich.** With a small $s$ the weights must travel, and the features turn towards the task.
#
# **Collapsed.** Charge for the weights, $\frac\lambda2(\|W\|^2 + \|A\|^2)$, and train on. Features that do not serve to
# tell classes apart are given up, in the end until those of $k$ classes span $k - 1$ directions {cite:p}`papyan2020prevalence`.
#
# **Extensive width.** Let $m$ be proportional to $d$. Then the weights are too many to be learned from $n \sim d$ samples and
# too few to be averaged away, and the natural number of samples is $n \sim d^2$.
#
# ## One data set
#
# The spectrum of the features tells the first four apart. On handwritten digits, with inputs of length one:

# %% tags=["hide-input"]
import pandas as pd
import torch

from regularity import lab
from regularity.data import load_digits
from regularity.foundations import kernels

session = lab.begin(seed=0)

# %%
n_train, n_test, width = 300, 1000, 256
images, labels = load_digits()
images = torch.nn.functional.normalize(images.flatten(1))
order = torch.randperm(len(labels), generator=session.stream("split"))
train, test = order[:n_train], order[n_train : n_train + n_test]
targets = torch.nn.functional.one_hot(labels, 10).float() - 0.1

# %%
draw = session.stream("weights")
first = torch.randn(width, images.shape[1], generator=draw)
last = torch.randn(10, width, generator=draw)


def features(weights, inputs):
    """Hidden layer, one row an image."""
    return (2 / width) ** 0.5 * (inputs @ weights.T).relu()


def spectrum(gram):
    """Eigenvalues of centred features, as shares of their sum."""
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    values = torch.linalg.eigvalsh(centred.double()).flip(0).clamp_min(1e-12)
    return values / values.sum()


def fit(scale, price, n_steps=1500):
    """Minimise squared errors and the price of the weights with Adam."""
    inner, outer = first.clone().requires_grad_(), last.clone().requires_grad_()
    at_start = features(first, images) @ last.T
    if price > 0:  # others have it taken off, so as to begin at zero
        at_start.zero_()
    optimiser = torch.optim.Adam([inner, outer], lr=0.02 / max(scale, 1))
    for _ in range(n_steps):
        outputs = scale * (features(inner, images[train]) @ outer.T - at_start[train])
        squares = inner.square().sum() + outer.square().sum()
        loss = (outputs - targets[train]).square().sum(1).mean() + price * squares
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        outputs = scale * (features(inner, images[test]) @ outer.T - at_start[test])
    right = (outputs.argmax(1) == labels[test]).float().mean().item()
    return inner.detach(), 100 * right


# %%
regimes = {"lazy": (30.0, 0.0), "rich": (0.1, 0.0), "collapsed": (0.3, 1e-4)}
hidden = features(first, images[train])
spectra, rows = {"at the start": spectrum(hidden @ hidden.T)}, {}
for name, (scale, price) in regimes.items():
    weights, right = fit(scale, price)
    hidden = features(weights, images[train])
    spectra[name] = spectrum(hidden @ hidden.T)
    moved = ((weights - first).norm() / first.norm()).item()
    rows[name] = {"change of W, relative": moved, "test accuracy (%)": right}
limit = kernels.wide_network_kernels(images[train], depth=2).nngp
spectra["infinite width"] = spectrum(limit)
for name, values in spectra.items():
    rows.setdefault(name, {})["effective rank"] = (1 / values.square().sum()).item()
table = pd.DataFrame(rows).T.loc[list(spectra)].astype(object).fillna("–")
lab.table(table)
for name, glued in (("collapsed", "rest"), ("at the start", "rest-start")):
    lab.glue(glued, 100 * spectra[name][9:].sum().item(), ".0f", "%")
lab.glue("n-train", n_train, "d")
lab.glue("width", width, "d")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure(height=3.4)
ranks = range(1, 31)
looks = {
    "at the start": {"color": lab.BASELINE, "lw": 3, "alpha": 0.6},
    "infinite width": {"color": "black", "ls": "--", "lw": 1.2},
    "lazy": {"color": lab.PALETTE[1], "lw": 1.5},
    "rich": {"color": lab.PALETTE[2], "lw": 1.5, "marker": "s", "ms": 3},
    "collapsed": {"color": lab.ACCENT, "lw": 1.5, "marker": "o", "ms": 3},
}
for name, look in looks.items():
    axes.semilogy(ranks, spectra[name][: len(ranks)], label=name, **look)
axes.axvline(9.5, color=lab.BASELINE, lw=0.6)
axes.set(xlabel="rank of the eigenvalue", ylabel="share of the features' variance")
axes.legend()
lab.glue("regimes", fig)

# %% [markdown]
# ```{glue:figure} regimes
# :name: fig-theory-regimes
# :alt: Shares of variance against rank, logarithmic. The curves of the start, of infinite width and of the lazy network lie on one another and fall slowly; that of the rich network falls faster, and that of the collapsed one drops sharply after the ninth.
#
# Eigenvalues of the hidden features of {glue:text}`n-train` digits, from the largest on, in networks of
# {glue:text}`width` neurons that differ in the scale of their output and in the price of their weights alone. The
# lazy network (green) keeps the features of the start (grey), which are those of the limit (dashed). The rich one
# (squares) turns them. In the collapsed one (blue) the features of ten classes retreat into nine directions:
# {glue:text}`rest` of their variance lie behind the ninth (thin line), against {glue:text}`rest-start` at the
# start.
# ```
#
# All of them fit the training images, and the accuracies in the table are close. On such data no corner is the place
# to be. Where the task hides few directions among many, the difference is one of powers of $d$.
#
# ## What the part does with it
#
# The limit
# : In a wide network the tangent kernel is deterministic and stays, so that training becomes a linear differential
#   equation. It says what is learned, in which order, and what stopping early leaves out.
#
# The optimum
# : For quadratic neurons of extensive width the least error that anybody can reach is known in closed form. One
#   algorithm reaches it; so, without being told to, does the average of many trained networks.
#
# ## Where it ends
#
# A corner is not the room. Real networks are neither infinitely wide nor trained for ever, and the scale that separates lazy
# from rich shifts with the width, the depth and the learning rate. Theory in the corners explains what it was made to
# explain, and each chapter shows something nearby that it does not.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
