"""HTML and SVG as trees: text from a log always becomes text, never markup."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Element | str | None

DOCTYPE: Final = "<!DOCTYPE html>\n"


def tag(name: str, /, *children: Child, **attributes: str) -> Element:
    """Return an element, without the children that are None.

    `class_` becomes the attribute class, `data_label` data-label; SVG names in camel case are kept.
    """
    element = Element(name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    for child in children:
        _append(element, child)
    return element


def html_of(element: Element) -> str:
    """Return an element as text."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def page_of(root: Element) -> str:
    """Return the document as text."""
    return DOCTYPE + html_of(root) + "\n"


def _append(element: Element, child: Child) -> None:
    if child is None:
        return
    if not isinstance(child, str):
        element.append(child)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + child
    else:
        element.text = (element.text or "") + child
