"""Summarize a session for its readers, and render the summary for each output.

``summary`` computes; a renderer returns text: terminal, markdown, html, json_report, github,
dry_run, references, progress. Model output may be hostile, so each renderer escapes it for
its format. The public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
