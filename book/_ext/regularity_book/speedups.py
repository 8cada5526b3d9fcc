"""What makes the build fast at 33 chapters. With or without it, the pages are the same."""

import gc
import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import pybtex.plugin
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
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


def setup(app: Sphinx) -> None:
    gc.disable()  # what is swept again and again is the pages, which stay; the process ends with the build
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
    SearchEnglish.stem = cache(SearchEnglish.stem)
    app.setup_extension("sphinxcontrib.bibtex")
    app.add_domain(IndexedBibliography, override=True)
    app.connect("env-before-read-docs", work_in_parallel)
