"""Autodoc shows what our signatures say in comments: `pred,  # (B,1,H,W) metres` becomes a line of its own.

Docstrings are written as Markdown's plain part (paragraphs, `code`, lists), so they are escaped for reStructuredText.
"""

from __future__ import annotations

import inspect
import re

from fastcore.docments import docments


def as_rst(text: str) -> str:
    """Text with `code` in single backticks as reStructuredText, in which nothing else is markup."""
    parts = re.split(r"(``.+?``|`[^`\n]+(?:\n[^`\n]+)?`)", text)
    escaped = [re.sub(r"([\\*_|`])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{' '.join(part.strip('`').split())}``" for part in parts[1::2]]
    return "".join(plain + mark for plain, mark in zip(escaped, [*code, ""]))


def parameters(thing) -> dict[str, str]:
    """Comments behind the parameters of a function, or behind the fields of a dataclass and of its bases."""
    told = {}
    for owner in reversed(inspect.getmro(thing)) if inspect.isclass(thing) else [thing]:
        if getattr(owner, "__module__", "").startswith("advdepth_nb"):
            try:
                found = docments(owner, full=True)
            except (TypeError, OSError, SyntaxError, ValueError):  # no source, as of an alias
                continue
            told |= {name: entry["docment"] for name, entry in found.items() if entry["docment"]}
    return told


def add_comments(app, what, name, obj, options, lines: list[str]) -> None:
    """The hook: the docstring escaped, and behind it a field for each parameter that has a comment."""
    lines[:] = as_rst("\n".join(lines)).split("\n")
    if what in ("function", "method", "class"):
        told = parameters(obj)
        fields = [f":param {key}: {as_rst(text)}" for key, text in told.items() if key not in ("return", "self")]
        fields += [f":returns: {as_rst(told['return'])}"] if "return" in told else []
        lines += ["", *fields, ""] if fields else []


def name_defaults(app, what, name, obj, options, signature, returns):
    """A dataclass's `<factory>`, which is no Python, as `...`, so that a long signature is broken into lines."""
    return (signature or "").replace("<factory>", "...") or None, returns


def setup(app):
    app.connect("autodoc-process-docstring", add_comments)
    app.connect("autodoc-process-signature", name_defaults)
    return {"parallel_read_safe": True}
