"""Summarize a session for its readers, and render the summary for each output.

``summary`` computes, and a renderer returns text. ``formats`` has the renderers of report files;
terminal, github, dry_run, migrations, optimizers, references and progress are for terminals and
logs. Model output may be hostile, so each renderer escapes it for
its format. The public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
