"""A small writer of SVG: elements of the standard library's ElementTree, which escapes whatever it is given.

A plotting library would bring fifty megabytes for rectangles and text. What is drawn needs nothing else: no script, no
font, no other file. The verdicts' colours are told apart by lightness alone, with any sort of colour vision and in print; a picture
brings its own background, a dark one where the reader has asked for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from xml.etree.ElementTree import Element, SubElement, tostring

from enforcer.cli.render import fitting
from enforcer.core.model import Verdict
from enforcer.core.tally_words import VERDICTS

CHAR = 7.3
"""Width in pixels of a character of the fixed-width font, in which names are written, so that their room is known."""

MARGIN, TITLE, LINE = 24, 22, 17
"""Pixels: around everything, the size of the title, from one line of the head to the next."""

STYLE = """
svg{font-family:system-ui,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif;font-size:12px}
.ground{fill:#ffffff}.stripe{fill:#f3f5f8}.ink{fill:#1b1f24}.dim{fill:#57606a}
.rule{stroke:#d5dae1;stroke-width:1}.edge{stroke:#8c959f;stroke-width:1}
.title{font-size:22px;font-weight:600}.name{font-family:"DejaVu Sans Mono","Noto Sans Mono",Consolas,Menlo,monospace;font-size:12px}
.number{font-variant-numeric:tabular-nums}.end{text-anchor:end}.middle{text-anchor:middle}
.killed{fill:#882255}.denied{fill:#d98c00}.observed{fill:#86c5ee}.allowed{fill:#d0d6dd}
.on-killed{fill:#ffffff}.on-denied,.on-observed,.on-allowed{fill:#14181d}
@media (prefers-color-scheme:dark){
.ground{fill:#14181d}.stripe{fill:#1c2229}.ink{fill:#e6e9ed}.dim{fill:#9aa4b0}
.rule{stroke:#2f3742}.edge{stroke:#67717d}
.killed{fill:#ffc2d6}.denied{fill:#e69f00}.observed{fill:#3f8fc4}.allowed{fill:#5b646f}
.on-killed{fill:#14181d}.on-allowed{fill:#ffffff}}
"""


def element(parent: Element, tag: str, text: str = "", **attributes: object) -> Element:
    """A child of ``parent``. ``class_`` is ``class``; another underscore stands for a hyphen; numbers are rounded."""
    child = SubElement(parent, tag, {_name(key): _value(value) for key, value in attributes.items()})
    child.text = text or None
    return child


def canvas(title: str, description: str, width: float, height: float) -> Element:
    """The root of a picture: its background, and what is read out of it to those who do not see."""
    size = {"width": _value(width), "height": _value(height), "viewBox": f"0 0 {_value(width)} {_value(height)}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    element(root, "title", title)
    element(root, "desc", description)
    element(root, "style", STYLE)
    element(root, "rect", class_="ground", width=width, height=height)
    return root


def header(root: Element, title: str, lines: Iterable[str], width: float) -> None:
    """The title, the lines under it, and the legend of verdicts beside it."""
    element(root, "text", title, class_="ink title", x=MARGIN, y=MARGIN + TITLE)
    for number, line in enumerate(wrapped(lines, width)):
        element(root, "text", line, class_="dim", x=MARGIN, y=MARGIN + TITLE + LINE * (number + 1.4))


def header_height(lines: Iterable[str], width: float) -> float:
    """How far down ``header`` reaches."""
    return MARGIN + TITLE + LINE * (len(wrapped(lines, width)) + 1.4)


def wrapped(lines: Iterable[str], width: float) -> list[str]:
    """Lines that the picture has room for; the font is narrower than a character's room by a tenth."""
    room = int((width - 2 * MARGIN) / (0.9 * CHAR))
    return [part for line in lines for part in wrap(line, room)]


def legend(root: Element, y: float, shown: Iterable[Verdict]) -> None:
    """What each colour means, for the verdicts that occur."""
    x, known = float(MARGIN), set(shown)
    for verdict in (v for v in VERDICTS if v in known):
        word = verdict.name.lower()
        element(root, "rect", class_=word, x=x, y=y - 10, width=12, height=12, rx=2)
        element(root, "text", word, class_="ink", x=x + 18, y=y)
        x += 40 + CHAR * len(word)


def label(root: Element, text: str, room: int, **attributes: object) -> Element:
    """A name, its middle left out if it has more than ``room`` characters; the pointer shows all of it."""
    shown = fitting(text, room)
    child = element(root, "text", "", **attributes)
    if shown != text:
        element(child, "title", text).tail = shown
    else:
        child.text = shown
    return child


def document_text(root: Element) -> str:
    """The picture as the text of a file of its own."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
