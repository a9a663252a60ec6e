"""Sphinx settings; `make docs` builds with warnings as errors."""

import re
from importlib.metadata import version as installed_version

from sphinx.ext.napoleon import Config, GoogleDocstring

project = "Kintune"
copyright = "the Kintune authors"
release = version = installed_version("kintune")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes = False  # -- begins a flag
default_role = "code"  # docstrings write `name`, as Markdown does

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config",
}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_static_path = ["_static"]
html_title = f"Kintune {release}"


def read_docstring(app, what, name, found, options, lines):
    """Google style; outside `code`, |x| is a length and *.jpg a pattern, not markup."""
    plain = [
        re.sub(r"(`[^`]*`)|\||\*(?=\.)", lambda match: match[1] or "\\" + match[0], line)
        for line in lines
    ]
    # For an attribute napoleon would take what stands before a colon for its type.
    kind = "method" if what in ("attribute", "property") else what
    lines[:] = GoogleDocstring(plain, Config(), app, kind, name, found, options).lines()


def setup(app):
    app.connect("autodoc-process-docstring", read_docstring)
