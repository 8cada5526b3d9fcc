"""The search of a book that is built again: Sphinx forgets the glossary's words of pages that did not change."""

import pickle
from pathlib import Path

from sphinx.application import ENV_PICKLE_FILENAME, Sphinx
from sphinx.environment import BuildEnvironment


def keep_words(app: Sphinx, exception: Exception | None) -> None:
    """Sphinx writes its environment down before the search has gone through the pages; write it once more after."""
    if exception is None and app.builder.name == "html":
        Path(app.doctreedir, ENV_PICKLE_FILENAME).write_bytes(pickle.dumps(app.env))


def forget_words(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """A page that is gone leaves no words behind."""
    env._search_index_index_entries.pop(docname, None)


def setup(app: Sphinx) -> None:
    app.connect("build-finished", keep_words)
    app.connect("env-purge-doc", forget_words)
