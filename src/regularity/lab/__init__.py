"""What a notebook uses to speak to its reader: a session, estimates, claims, numbers, figures, tables, sources.

Importing this package loads neither torch nor matplotlib: each name is imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "claims": ["Claim", "NotChecked", "above", "at_least", "at_most", "below", "between"],
        "estimates": ["Estimate", "mean", "paired_difference", "ratio"],
        "figures": ["ACCENT", "BASELINE", "PALETTE", "figure"],
        "glued": ["glue"],
        "session": ["Session", "begin", "progress", "resolve_device"],
        "sources": ["show"],
        "tables": ["table"],
        "verdicts": ["show_claims"],
    },
)
