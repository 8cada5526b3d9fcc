"""Each method beside its peer, timed in turns; see ``conftest.py``."""
