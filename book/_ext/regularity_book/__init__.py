"""The book's own Sphinx extension: gallery, ledger, API pages, speed page, and what every page carries.

All that is said of chapters and claims is read out of the executed notebooks through `regularity.lab`.
"""

import gc
import importlib
import os
from functools import cache
from pathlib import Path

import pybtex.plugin
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style
from pybtex.style.template import field, first_of, href, join, optional, sentence
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.search.en import SearchEnglish

from . import api, gallery, ledger, pages, part_figures, placeholders, speed


class BookReferences(Style):
    """References that end in one link: the DOI, else arXiv, else an address."""

    default_sorting_style = "author_year_title"
    default_label_style = "alpha"

    def format_web_refs(self, entry: object) -> Text:
        doi, eprint, url = (field(name, raw=True) for name in ("doi", "eprint", "url"))
        return sentence[
            first_of[
                optional[href(join["https://doi.org/", doi])[join["doi:", doi]]],
                optional[href(join["https://arxiv.org/abs/", eprint])[join["arXiv:", eprint]]],
                optional[href(url)[url]],
            ]
        ]


def work_in_parallel(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Read and write pages on all cores, for which Jupyter Book has no option; a few pages are not worth it."""
    if len(docnames) < 20:
        return
    app.parallel = min(os.cpu_count() or 1, 4)
    for extension in app.extensions.values():  # some that touch no page do not say so
        extension.parallel_read_safe = extension.parallel_read_safe is not False
        extension.parallel_write_safe = extension.parallel_write_safe is not False
    for module in api.public_modules(Path(app.srcdir)):
        importlib.import_module(f"{api.PACKAGE}.{module}")  # once, not in each process


def save_time() -> None:
    """Spare a third of the build: what is looked up, stemmed and swept again and again, once or seldom."""
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
    SearchEnglish.stem = cache(SearchEnglish.stem)
    gc.set_threshold(200_000, 20, 100)


def setup(app: Sphinx) -> dict[str, object]:
    save_time()
    pybtex.plugin.register_plugin("pybtex.style.formatting", "book", BookReferences)
    app.connect("config-inited", api.write_pages, priority=100)  # before the table of contents is read
    app.connect("autodoc-process-signature", api.annotations_as_written)
    app.connect("autodoc-process-docstring", api.plain_prose, priority=400)  # before napoleon
    app.connect("missing-reference", api.resolve_reexport)
    for name, render in {
        "gallery": gallery.render,
        "ledger": ledger.render,
        "api-modules": api.render_modules,
        "command-help": api.render_command_help,
        "part-figure": part_figures.render,
        "speed": speed.render,
    }.items():
        placeholders.add_directive(app, name, render)
    app.connect("env-before-read-docs", work_in_parallel)
    app.connect("env-get-outdated", placeholders.documents_to_read_again)
    app.connect("env-purge-doc", placeholders.forget)
    app.connect("env-merge-info", placeholders.merge)
    app.connect("doctree-read", api.thin_signatures)
    app.connect("doctree-read", pages.demand_alternative_text)
    app.connect("doctree-read", pages.drop_empty_heads)
    app.connect("doctree-read", gallery.remember)
    app.connect("doctree-resolved", placeholders.fill)
    app.connect("html-page-context", pages.offer_downloads, priority=900)  # after the theme's buttons
    app.connect("html-page-context", pages.mend_theme, priority=900)
    app.connect("html-page-context", pages.describe, priority=400)  # before sphinxext-opengraph
    app.connect("build-finished", pages.finish)
    # Where this extension lies is no part of it: Sphinx keeps what it read unless the version changes.
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
