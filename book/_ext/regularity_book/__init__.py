"""The book's own Sphinx extension: gallery, ledger, API pages, speed page, and what every page carries.

All that is said of chapters and claims is read out of the executed notebooks through `regularity.lab`.
"""

import os
from functools import cache

import pybtex.plugin
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style
from pybtex.style.template import field, first_of, href, join, optional, sentence
from sphinx.application import Sphinx

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


def write_in_parallel(app: Sphinx, env: object) -> list[str]:
    """Write pages on all cores: Jupyter Book has no option for it, and reading gains nothing from it."""
    app.parallel = min(os.cpu_count() or 1, 4)
    for extension in app.extensions.values():  # some that write nothing themselves do not say so
        extension.parallel_write_safe = extension.parallel_write_safe is not False
    return []


def setup(app: Sphinx) -> dict[str, object]:
    # pybtex looks through all installed packages again for each reference that it formats.
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
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
    app.connect("env-updated", write_in_parallel)
    app.connect("env-get-outdated", placeholders.documents_to_read_again)
    app.connect("env-purge-doc", placeholders.forget)
    app.connect("env-merge-info", placeholders.merge)
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
