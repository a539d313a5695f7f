"""Build the documentation site: ``python -m sphinx -W -n docs build/site``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pytest_mipro import __version__

project = "pytest-mipro"
author = "The pytest-mipro developers"
project_copyright = author
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_pages"]
exclude_patterns = ["pictures/*"]

# Headings can be linked to as on GitHub, down to the third level.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_member_order = "bysource"
# The sections of the docstrings name the arguments; their types are in the signatures for editors.
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The types of DSPy have no page here, and its site is not asked for them.
nitpick_ignore_regex = [("py:.*", r"dspy\..*")]

html_theme = "furo"
html_title = f"pytest-mipro {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

# Sites that people read, not pages of this one; `tox run -e links` asks for them.
linkcheck_timeout = 30
linkcheck_retries = 2
