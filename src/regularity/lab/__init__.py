"""What a notebook uses to speak to its reader: claims and verdicts, numbers, sources, figures, devices.

Importing this package loads neither torch nor matplotlib: each name is imported when it is first asked for.
How chapters are found, executed and run at other sizes is in its modules `chapters`, `execution` and `cli`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "claims": ["Claim", "above", "at_least", "at_most", "below", "between", "show_claims"],
        "figures": ["ACCENT", "BASELINE", "PALETTE", "figure", "use_book_style"],
        "session": ["progress", "resolve_device", "seeded_generator"],
        "telling": ["glue_number", "glue_text", "show"],
    },
)
