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
# # Stein: knowing the risk without the truth
#
# How wrong is an estimate? The answer seems to need the truth. For noise of a known kind it does not: one integration
# by parts turns the unknown truth into a quantity that the noisy data alone supply. The chapters of this part all live
# on that identity.
#
# ```{gallery} stein
# ```
#
# ## The identity
#
# Let $y = x + \sigma n$ be a noisy observation of an unknown $x \in \mathbb{R}^d$, with $n \sim \mathcal{N}(0, I)$. The
# density of the noise satisfies $\sigma^2 \nabla_y\, p(y \mid x) = -(y - x)\, p(y \mid x)$. Multiply by a map
# $f : \mathbb{R}^d \to \mathbb{R}^d$ that does not grow too fast, and integrate by parts:
#
# $$
# \mathbb{E}\big[(y - x)^\top f(y)\big] = \sigma^2\, \mathbb{E}\big[\operatorname{div} f(y)\big].
# $$ (stein-identity)
#
# The left side contains $x$; the right side does not. This is Stein's identity {cite:p}`stein1981estimation`.
#
# ## What follows from it
#
# **The risk of an estimate.** Write the error of a denoiser $D$ as $D(y) - x = (D(y) - y) + (y - x)$, square it, and
# use {eq}`stein-identity` for the cross term. With $\mathbb{E}\|y - x\|^2 = d\sigma^2$,
#
# $$
# \mathbb{E}\|D(y) - x\|^2
# = \mathbb{E}\Big[\|D(y) - y\|^2 - d\sigma^2 + 2\sigma^2 \operatorname{div} D(y)\Big].
# $$ (sure)
#
# The bracket is *Stein's unbiased risk estimate*, SURE for short ({func}`~regularity.foundations.risk.sure_gaussian`). It can be
# computed, compared between settings, and minimised, and no clean image, no hold-out set and no second look at the same
# scene is needed. The first term alone would reward copying the noise. The divergence counts how much of it was copied.
# A denoiser need not come as a formula: one random direction estimates its divergence
# ({func}`~regularity.foundations.risk.monte_carlo_divergence`, {cite:t}`ramani2008monte`).
#
# Soft thresholding, $D(y) = \operatorname{sign}(y) \max(|y| - t, 0)$, shows how near the estimate comes. Its divergence is
# the number of coordinates that it keeps.

# %% tags=["hide-input"]
import torch

from regularity import lab
from regularity.foundations import risk

session = lab.begin(seed=0)

# %%
signal = torch.zeros(1, 10_000, dtype=torch.float64)
signal[:, :1000] = 4.0
noise = torch.randn(signal.shape, generator=session.stream("noise"), dtype=signal.dtype)
noisy = signal + noise

thresholds = torch.linspace(0, 3.5, 71, dtype=torch.float64)
errors, estimates = [], []
for threshold in thresholds:
    kept = (noisy.abs() - threshold).clamp_min(0)
    denoised = noisy.sign() * kept
    divergence = (kept > 0).double().sum(dim=1)
    errors.append((denoised - signal).square().mean().item())
    estimates.append(
        risk.sure_gaussian(denoised, noisy, 1.0, divergence).item() / signal.numel()
    )

chosen, best = estimates.index(min(estimates)), errors.index(min(errors))
lab.glue("chosen", thresholds[chosen].item())
lab.glue("excess", 100 * (errors[chosen] / errors[best] - 1), ".1f", "%")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure(height=3.2)
axes.plot(thresholds, errors, color=lab.BASELINE, label="error")
axes.plot(thresholds, estimates, color=lab.ACCENT, label="Stein's estimate")
axes.plot(thresholds[best], errors[best], "o", color=lab.BASELINE)
axes.plot(thresholds[chosen], estimates[chosen], "o", color=lab.ACCENT)
axes.set(
    xlabel="threshold, in standard deviations of the noise",
    ylabel="squared error",
    ylim=(0, None),
)
axes.legend()
lab.glue("risk", fig)

# %% [markdown]
# ```{glue:figure} risk
# :name: fig-stein-risk
# :alt: Squared error against the threshold. The grey curve of the true error and the blue curve of Stein's estimate fall together to a lowest point a little above one standard deviation and rise again, close together.
#
# Soft thresholding of 10,000 noisy numbers, of which 9,000 are zero and 1,000 are four, under noise of standard deviation
# one. Grey: the mean squared error, which needs the true numbers. Blue: Stein's estimate of it, which does not. Its
# lowest point is at a threshold of {glue:text}`chosen`; the error there is {glue:text}`excess` above the smallest that
# any threshold reaches.
# ```
#
# **The best estimate.** Average the relation for the noise's density over the unknown $x$, and divide by the density
# $p(y)$ of the data:
#
# $$
# \mathbb{E}[x \mid y] = y + \sigma^2\, \nabla \log p(y).
# $$ (tweedie)
#
# This is Tweedie's formula {cite:p}`efron2011tweedie`: the posterior mean needs the score $\nabla \log p$ of the noisy
# data and nothing else ({func}`~regularity.foundations.tweedie.tweedie_gaussian`).
#
# **They are one.** Put $D(y) = y + \sigma^2 R(y)$ into {eq}`sure`:
#
# $$
# \mathbb{E}\|D(y) - x\|^2
# = d\sigma^2 + \sigma^4\, \mathbb{E}\Big[\|R(y)\|^2 + 2 \operatorname{div} R(y)\Big].
# $$ (score-matching)
#
# The last bracket is the score-matching loss {cite:p}`hyvarinen2005score`, which is smallest for
# $R = \nabla \log p$. To minimise the estimated risk, and to learn the score of the noisy data, is the same.
#
# ## What the part does with it
#
# Counts
# : Binomial data have a Stein identity of their own, with a difference in the place of the derivative. It tells how far
#   many small rates should be shrunk towards a prediction, from the counts alone.
#
# Jumps
# : A regression surface that is smooth except on an unknown set of jumps has two regularisers to tune. SURE tunes them
#   through the whole solver, which is neither linear nor smooth.
#
# Images
# : Tweedie's formula exists for Gaussian, Poisson and Gamma noise. One network learns the score of noisy photographs;
#   the formulas turn it into a denoiser for each kind of noise.
#
# Trade-offs
# : With the score of a density $\pi$ in the place of the noise's, the identity reads
#   $\mathbb{E}_\pi[\nabla \log \pi(z)^\top f(z) + \operatorname{div} f(z)] = 0$. Its failure to hold measures how far a
#   set of particles is from $\pi$, and says where to move them {cite:p}`liu2016stein`. That keeps a learned set of
#   compromises between objectives apart.
#
# ## Where it ends
#
# The noise's family must be known, and for {eq}`sure` its level too. A wrong $\sigma$ gives a wrong risk with no sign of
# it. The estimate is unbiased but not certain: the smallest SURE over many settings is too small, as the smallest of many
# noisy numbers always is. Each chapter shows one such failure.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
