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
# # How fast
#
# Each method has a peer, the public implementation that you would otherwise pick. In {glue:text}`faster` of
# {glue:text}`comparisons` comparisons the method takes no longer than its peer. These are the slowest, by the ratio
# of the times; above 1 the peer is faster.

# %% tags=["hide-input"]
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.lines import Line2D

import regularity
from regularity import lab

session = lab.begin(seed=0)
path = Path(regularity.__file__).parents[2] / "benchmarks" / "results.json"
if not path.is_file():  # the library was installed without the book
    path = f"{lab.sources.REPOSITORY}/raw/main/benchmarks/results.json"
results = pd.read_json(path, typ="series")
rows = pd.DataFrame(results["rows"])
intervals = rows.apply("({0.low:.2f}–{0.high:.2f})".format, axis=1)
rows["interval"] = rows.ratio.map("{:.2f} ".format) + intervals
lab.glue("faster", (rows.ratio <= 1).sum(), "d")
lab.glue("comparisons", len(rows), "d")
lab.glue("machine", results["machine"])
lab.glue("date", results["date"])
lab.glue("versions", ", ".join(f"{k} {v}" for k, v in results["versions"].items()))

# %% tags=["hide-input"]
worst = rows.groupby(["chapter", "task"], as_index=False).ratio.max()
worst = worst.sort_values("ratio", ascending=False).head(5)
worst = worst.set_index(worst.chapter + ": " + worst.task).rename_axis("task")
lab.table(worst[["ratio"]], {"ratio": ".2f"})

# %% [markdown]
# Both are given the same inputs, first shown to reach the same accuracy, and then timed in turns in one process. What
# counts is the ratio in one run; seconds belong to the machine. Measured on {glue:text}`machine`, {glue:text}`date`,
# with {glue:text}`versions`. Each task is timed with one thread and with all; the interval holds the median of the
# ratios with 95 % confidence.


# %% tags=["hide-input"]
def draw(part):
    """Ratios of a part's tasks: dots for one thread, rings for all, with intervals."""
    chosen = rows[rows.part == part]
    labels, places = [], {}
    for chapter, tasks in chosen.groupby("chapter", sort=False):
        labels.append(chapter)
        for task in tasks.task.unique():
            places[chapter, task] = len(labels)
            labels.append(textwrap.fill(task, 38))
    fig, axes = lab.figure(height=0.8 + 0.36 * len(labels))
    axes.axvline(1, color=lab.BASELINE, linestyle="--", linewidth=1)
    for row in chosen.itertuples():
        one = row.threads == 1
        place = places[row.chapter, row.task] + (-0.13 if one else 0.13)
        axes.plot([row.low, row.high], [place, place], color=lab.ACCENT)
        fill = lab.ACCENT if one else "white"
        axes.plot(row.ratio, place, "o", color=lab.ACCENT, markerfacecolor=fill)
    axes.set(xscale="log", xlabel="time of the method over time of its peer")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(yticks=range(len(labels)), yticklabels=labels)
    axes.set(ylim=(len(labels) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    for number, label in enumerate(axes.get_yticklabels()):
        label.set_fontweight("bold" if number not in places.values() else "normal")
    style = {"marker": "o", "linestyle": "", "color": lab.ACCENT}
    one_thread = Line2D([], [], **style, label="1 thread")
    all_threads = Line2D([], [], **style, label="all threads", markerfacecolor="white")
    axes.legend(handles=[one_thread, all_threads], loc="upper right")
    lab.glue(part, fig)


# %% tags=["hide-input"]
def show(part):
    """The numbers behind the figure, one row a task."""
    shown = {}
    for (chapter, task), runs in rows[rows.part == part].groupby(["chapter", "task"]):
        first, last = runs.iloc[0], runs.iloc[-1]
        quality = f"{first.quality_method:.4g} / {first.quality_peer:.4g}"
        shown[f"{chapter}: {task}"] = {
            "peer": f"{first.peer} {first.peer_version}",
            "1 thread": first.interval,
            "all threads": last.interval,
            "seconds": f"{first.seconds_method:.3g} / {first.seconds_peer:.3g}",
            "quality": f"{quality} {first.quality_name}",
            "note": first.note,
        }
    lab.table(pd.DataFrame.from_dict(shown, orient="index").rename_axis("task"))


# %% [markdown]
# ## Stein
#
# ```{glue:figure} stein
# :name: fig-how-fast-stein
# :alt: Dots on a logarithmic axis of ratios, grouped by chapter. Nearly all lie left of the dashed line at one.
#
# Times of the methods of part *Stein* over those of their peers. Left of the dashed line the method is faster. Dots:
# one thread; rings: all threads; lines: the interval of the median. In the table, seconds and qualities are those of
# the method / of its peer, with one thread.
# ```

# %% tags=["hide-input", "remove-output"]
draw("stein")

# %% tags=["hide-input"]
show("stein")

# %% [markdown]
# ## Tuning
#
# ```{glue:figure} tuning
# :name: fig-how-fast-tuning
# :alt: Dots on a logarithmic axis of ratios, grouped by chapter, all of them left of the dashed line at one.
#
# Times of the methods of part *Tuning* over those of their peers. Left of the dashed line the method is faster. Dots:
# one thread; rings: all threads; lines: the interval of the median. In the table, seconds and qualities are those of
# the method / of its peer, with one thread.
# ```

# %% tags=["hide-input", "remove-output"]
draw("tuning")

# %% tags=["hide-input"]
show("tuning")

# %% [markdown]
# ## Dynamics
#
# ```{glue:figure} dynamics
# :name: fig-how-fast-dynamics
# :alt: Dots on a logarithmic axis of ratios, grouped by chapter. Most lie left of the dashed line at one.
#
# Times of the methods of part *Dynamics* over those of their peers. Left of the dashed line the method is faster. Dots:
# one thread; rings: all threads; lines: the interval of the median. In the table, seconds and qualities are those of
# the method / of its peer, with one thread.
# ```

# %% tags=["hide-input", "remove-output"]
draw("dynamics")

# %% tags=["hide-input"]
show("dynamics")

# %% [markdown]
# ## Theory
#
# ```{glue:figure} theory
# :name: fig-how-fast-theory
# :alt: Dots on a logarithmic axis of ratios, grouped by chapter, left of the dashed line at one.
#
# Times of the methods of part *Theory* over those of their peers. Left of the dashed line the method is faster. Dots:
# one thread; rings: all threads; lines: the interval of the median. In the table, seconds and qualities are those of
# the method / of its peer, with one thread.
# ```

# %% tags=["hide-input", "remove-output"]
draw("theory")

# %% tags=["hide-input"]
show("theory")
