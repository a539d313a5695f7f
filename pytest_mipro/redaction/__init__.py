"""Keep credentials out of whatever is shown or stored.

``SECRETS`` has the secrets that this process knows: those of the environment, of the
models that are called, and of the objects that a task holds. It replaces them in texts,
with the passwords that a text shows to be ones, such as those of URLs.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
