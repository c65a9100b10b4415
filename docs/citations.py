"""Sources are cited by authors and year, `Hu et al. 2019` or `Hu et al. (2019)`: the key of an entry of references.bib.

It reads the same in JupyterLab, in a docstring and on paper; on the site it is a link.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from docutils import nodes
from pybtex.database import Entry, parse_file
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from sphinx.transforms.post_transforms import SphinxPostTransform

BIB = Path(__file__).with_name("references.bib")
# What looks like a citation of two authors or more, known or not. One author and a year look like "KITTI 2015".
LOOKS_CITED = re.compile(
    r"[A-Z][\w'-]+\s(?:et\sal\.|(?:and|&)\s(?:van\s)?[A-Z][\w'-]+(?:\s[A-Z][\w'-]+)?),?(?:'s)?\s\(?(?:19|20)\d\d\b"
)


def cited_as(entry: Entry) -> list[tuple[str, str]]:
    """Names and year of an entry in a text: one author, two with "and" or "&", the first of more."""
    last = [" ".join(person.prelast_names + person.last_names).strip("{}") for person in entry.persons["author"]]
    if "year" not in entry.fields:
        return [(f"{last[0]}'s", "project page")]
    named = [f"{last[0]} et al."] if len(last) > 2 else [word.join(last) for word in (" and ", " & ")]
    return [(name, entry.fields["year"]) for name in dict.fromkeys(named)]


@lru_cache(1)
def keys() -> dict[str, str]:
    """Key of references.bib by the citation, such as `Hu et al. 2019`."""
    entries = parse_file(str(BIB), bib_format="bibtex").entries
    return {" ".join(words): key for key, entry in reversed(list(entries.items())) for words in cited_as(entry)}


def plain(found: str) -> str:
    """A citation as it stands in a text, over a line's end or with its year in brackets, as one of `keys`."""
    return " ".join(found.replace("(", " ").replace(",", " ").split())


@lru_cache(1)
def known() -> re.Pattern:
    """Any citation of references.bib in a text."""
    entries = parse_file(str(BIB), bib_format="bibtex").entries.values()
    cited = sorted({words for entry in entries for words in cited_as(entry)}, reverse=True)
    forms = [(re.sub(r"(\\ )+", r"\\s+", re.escape(name)), year.replace(" ", r"\s+")) for name, year in cited]
    return re.compile("|".join(rf"\b{name},?\s+\(?{year}\b" for name, year in forms))


class Labels(BaseLabelStyle):
    """An entry's label is the way it is cited, with a letter where two are cited alike."""

    def format_labels(self, sorted_entries):
        seen: list[str] = []
        for entry in sorted_entries:
            seen.append(" ".join(cited_as(entry)[0]))
            yield seen[-1] + " bcdefg"[seen.count(seen[-1]) - 1].strip()


class AuthorYear(Plain):
    default_label_style = Labels


class Linked(SphinxPostTransform):
    """Citations in running text become links to the bibliography."""

    default_priority = 700

    def run(self, **_) -> None:
        if self.env.docname == "bibliography" or self.app.builder.format != "html":
            return
        page = self.app.builder.get_relative_uri(self.env.docname, "bibliography")
        inside = (nodes.literal, nodes.literal_block, nodes.reference, nodes.title, nodes.raw, nodes.math)
        for text in [text for text in self.document.findall(nodes.Text) if not isinstance(text.parent, inside)]:
            parts, behind = [], 0
            for match in known().finditer(text):
                link = nodes.reference("", match[0], refuri=f"{page}#{keys()[plain(match[0])]}", internal=True)
                parts += [nodes.Text(text[behind : match.start()]), link]
                behind = match.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[behind:])])


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    app.add_post_transform(Linked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
