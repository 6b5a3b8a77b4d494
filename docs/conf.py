"""The site: what Sphinx builds of these pages. Nothing it writes loads anything from the network."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx

from fastv import __version__

ROOT = Path(__file__).parents[1]

project = "FastV"
author = "the FastV developers"
copyright = author  # noqa: A001  (Sphinx names it)
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nitpicky = False  # docstrings name functions that have no page of their own
suppress_warnings = ["mystnb.unknown_mime_type"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

# `make docs` runs the tutorial, so that its plots are those of this version.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_output_stderr = "remove"
nb_execution_in_temp = True

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"FastV {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"

SOURCES = ("src", "tests", "benchmarks", "docs", "examples")
"""Folders of the repository whose files have a page, for the links that point at them."""
SUFFIXES = {".py": "python", ".yaml": "yaml", ".css": "css", ".js": "javascript"}


def repository_file(docname: str, target: str) -> str | None:
    """Where a link leads in the repository, None if not to a file that has a page; included pages lie in its root."""
    for start in ((ROOT / "docs" / docname).parent, ROOT):
        path = (start / target.partition("#")[0]).resolve()
        if (
            path.is_relative_to(ROOT)
            and path != ROOT
            and (path.is_dir() or (path.is_file() and path.suffix in SUFFIXES))
        ):
            return path.relative_to(ROOT).as_posix()
    return None


def link_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Links to files and folders of the repository lead to their pages in the site."""
    docname = app.env.docname
    for node in list(doctree.findall(addnodes.pending_xref)) + list(doctree.findall(addnodes.download_reference)):
        target = node["reftarget"]
        if node.get("reftype") not in ("myst", None) or "://" in target:
            continue
        name = repository_file(docname, target)
        if name is None:
            continue
        uri = app.builder.get_relative_uri(docname, f"source/{name}")
        text = nodes.literal(text=node.astext()) if "`" in node.rawsource else None
        children = [text] if text else node.children
        node.replace_self(nodes.reference("", "", *children, refuri=uri, internal=True))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each source file, and one for each folder that lists what is in it."""
    for top in SOURCES:
        for path in [ROOT / top, *sorted((ROOT / top).rglob("*"))]:
            name = path.relative_to(ROOT).as_posix()
            if "__pycache__" in name or "/." in name:
                continue
            if path.is_dir():
                inside = [p for p in sorted(path.iterdir()) if p.is_dir() or p.suffix in SUFFIXES]
                links = [f'<li><a href="{path.name}/{p.name}.html">{html.escape(p.name)}</a></li>' for p in inside]
                body = f"<ul>{''.join(links)}</ul>"
            elif path.suffix in SUFFIXES:
                body = app.builder.highlighter.highlight_block(path.read_text(encoding="utf-8"), SUFFIXES[path.suffix])
            else:
                continue
            yield f"source/{name}", {"title": name, "body": f"<h1>{name}</h1>{body}"}, "page.html"


def short_signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """A signature with short names of arrays, and without the stand-in of a default that is made each time."""
    return _short(signature), _short(returned)


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    plain = re.sub(r"~|\b(?:numpy|typing)\.", "", text).replace("<factory>", "...")
    return re.sub(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]", r"NDArray[\1]", plain)


def visit_math(writer: Any, node: nodes.Element) -> None:
    """A formula as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    tree = latex2mathml.tex2mathml(node.astext().replace(r"\dots", r"\ldots"), as_block=block)
    writer.body.append(f'<div class="math">{tree}</div>' if block else str(tree))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas, and links to the sources."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("autodoc-process-signature", short_signature)
    app.connect("doctree-read", link_sources)
    app.connect("html-collect-pages", source_pages)
