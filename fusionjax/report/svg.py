"""A Matplotlib figure as inline SVG: text stays text, and the browser's own fonts draw it."""

import io
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from fusionjax.report.palette import INK, QUIET, RULE

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
POINTS = 72  # Matplotlib's SVG counts 72 to the inch: one unit of the figure is one CSS pixel

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fusionjax",
    "text.parse_math": False,  # a class may be called "$x$"
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "axes.formatter.use_mathtext": False,
}


def draw(name: str, label: str, width: int, height: int, paint: Callable[[Figure], None]) -> Markup:
    """Paint a figure of so many CSS pixels and return it as `<svg role="img">`.

    `name` sets its ids apart from those of other figures on the page; `label` says in words what
    the figure shows.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Matplotlib measures with its own font, which may lack a glyph that the browser's has.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width / POINTS, height / POINTS))
        paint(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_inline(file.getvalue(), name, label))


def fit(text: str, columns: int) -> str:
    """The text cut with an ellipsis to so many columns; an East Asian wide letter takes two."""
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text.rstrip() + "…"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _inline(source: str, name: str, label: str) -> str:
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(source)
    for child in root.findall(f"{{{SVG}}}metadata"):
        root.remove(child)
    for element in root.iter():
        _own_ids(element, name)
    left, top, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"{left} {top} {width} {height}",
        "width": width,
        "height": height,
        "role": "img",
        "aria-label": label,
    }
    title = ElementTree.Element(f"{{{SVG}}}title")
    title.text = label
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _own_ids(element: ElementTree.Element, name: str) -> None:
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.attrib[key] = f"{name}-{value}"
        elif key == LINK:
            del element.attrib[key]
            element.attrib["href"] = f"#{name}-{value[1:]}"
        elif value.startswith("url(#"):
            element.attrib[key] = f"url(#{name}-{value[5:]}"
