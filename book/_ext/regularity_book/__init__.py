"""The book's own Sphinx extension: gallery, ledger, verdicts, API pages, and what every page carries.

All that is said of chapters and claims is read out of the executed notebooks, through `regularity.press`.
"""

import pybtex.plugin
from sphinx.application import Sphinx

from regularity.press.references import BookReferences

from . import api, gallery, generated, ledger, numbers, pages, search, speedups, theme_fixes, verdicts


def setup(app: Sphinx) -> dict[str, object]:
    pybtex.plugin.register_plugin("pybtex.style.formatting", "book", BookReferences)
    app.connect("env-get-outdated", generated.documents_to_read_again)
    for part in (api, gallery, ledger, numbers, pages, search, speedups, theme_fixes, verdicts):
        part.setup(app)
    # Where this extension lies is no part of it: Sphinx keeps what it read unless the version changes.
    return {"version": "3", "env_version": 3, "parallel_read_safe": True, "parallel_write_safe": True}
