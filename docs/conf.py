"""Sphinx settings; `make docs` builds with warnings as errors."""

import re
from importlib.metadata import version as installed_version

project = "Kintune"
copyright = "the Kintune authors"
release = version = installed_version("kintune")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "contract.md"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write `name`, as Markdown does

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config",
}
autodoc_typehints = "description"

html_theme = "furo"
html_static_path = ["_static"]
html_title = f"Kintune {release}"


def escape_bars(_app, _what, _name, _object, _options, lines):
    """|x| is a length in the docstrings; reStructuredText takes it for a substitution."""
    lines[:] = [re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars)
