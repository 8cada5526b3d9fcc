"""What makes the build fast at 33 chapters. With or without it, the pages are the same."""

import gc
import importlib
import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pybtex.plugin
import pybtex.richtext
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.search.en import SearchEnglish
from sphinxcontrib.bibtex.citation_target import parse_citation_targets
from sphinxcontrib.bibtex.domain import BibtexDomain, Citation

from . import api


class IndexedBibliography(BibtexDomain):
    """The domain of citations, which looks each one up instead of going through all."""

    index: tuple[list[Citation], dict[str, list[int]]] = ([], {})

    def places(self, every: list[Citation]) -> dict[str, list[int]]:
        """Where each key stands among the citations."""
        if self.index[0] is not every or sum(map(len, self.index[1].values())) != len(every):
            self.index = every, {}
            for place, citation in enumerate(every):
                self.index[1].setdefault(citation.key, []).append(place)
        return self.index[1]

    def resolve_xref(
        self,
        env: BuildEnvironment,
        fromdocname: str,
        builder: Any,
        typ: str,
        target: str,
        node: addnodes.pending_xref,
        contnode: nodes.Element,
    ) -> nodes.Element:
        every = self.data["citations"]
        index = self.places(every)
        cited = {place for found in parse_citation_targets(target) for place in index.get(found.key, ())}
        self.data["citations"] = [every[place] for place in sorted(cited)]
        try:
            return super().resolve_xref(env, fromdocname, builder, typ, target, node, contnode)
        finally:
            self.data["citations"] = every


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


class CachedNumbers(StandardDomain):
    """The domain of labels, which loads a page once, not for each reference to one of its figures."""

    def _resolve_numref_xref(self, env: BuildEnvironment, *arguments: Any) -> nodes.Element | None:
        return super()._resolve_numref_xref(_Reader(env), *arguments)


class _Reader:
    """The environment as references need it: for reading alone."""

    def __init__(self, env: BuildEnvironment) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def get_doctree(self, page: str) -> nodes.document:
        return _load(self._env, page)


@lru_cache(maxsize=2)
def _load(env: BuildEnvironment, page: str) -> nodes.document:
    return env.get_doctree(page)


def leave_environment_out(app: Sphinx, doctree: nodes.document) -> None:
    """Tie what MyST's `eval-rst` has read to its page.

    It comes with a document of its own, whose settings hold the environment: all that is known of the book would be
    kept with each page, and loaded again with it.
    """
    for node in doctree.findall():
        if vars(node).get("_document", doctree) is not doctree:
            node.document = doctree


def setup(app: Sphinx) -> None:
    gc.disable()  # it would go through all that has been read again and again
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
    pybtex.richtext.Text.from_latex = cache(pybtex.richtext.Text.from_latex)
    SearchEnglish.stem = cache(SearchEnglish.stem)
    app.setup_extension("sphinxcontrib.bibtex")
    app.add_domain(IndexedBibliography, override=True)
    app.add_domain(CachedNumbers, override=True)
    app.connect("env-before-read-docs", work_in_parallel)
    app.connect("doctree-read", leave_environment_out, priority=999)
