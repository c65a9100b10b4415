"""Sphinx: what docs/make.py laid out becomes pages that ask nothing of the outside."""

import sys
from pathlib import Path

import mathjax  # MathJax's own files, in a package

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import advdepth_nb

project = "advdepth_nb"
author = copyright = "The advdepth_nb authors"
version = release = advdepth_nb.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinxcontrib.bibtex", "comments", "citations"]
root_doc = "index"

# Notebooks arrive with their outputs.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # else two scripts from a CDN on every page with a widget
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/markdown", 5)]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
# A study's page begins with a table, and its headings two levels down; two modules have a class `Rig`.
suppress_warnings = ["myst.header", "ref.python"]

# MathJax in one file, with all its extensions and its fonts as paths.
mathjax_path = "tex-svg-full.js"
html_static_path = ["static", str(Path(mathjax.__file__).parent / "static" / "mathjax" / "es5" / mathjax_path)]
html_css_files = ["site.css"]

html_theme = "furo"
html_title = f"advdepth_nb {version}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

bibtex_bibfiles = ["references.bib"]
bibtex_cite_id = "{key}"  # where citations.py leads
bibtex_default_style = "author_year"  # registered by citations.py

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
add_module_names = False
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
# Types of other libraries, of which nothing is known without a network, and our own aliases of them.
nitpick_ignore_regex = [("py:.*", ".*")]
