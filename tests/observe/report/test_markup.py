"""HTML as trees: a text can never become markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from processor.observe.report.markup import DOCTYPE, page_of, tag


class Seen(HTMLParser):
    """The tags and the texts of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_and_elements_keep_their_order() -> None:
    assert page_of(tag("p", "a", tag("b", "c"), "d", None, "e", tag("i", "f"), "g")) == (
        f"{DOCTYPE}<p>a<b>c</b>de<i>f</i>g</p>\n"
    )


def test_attributes_have_their_names_in_html() -> None:
    assert page_of(tag("td", class_="n", data_label="lag", viewBox="0 0 1 1")) == (
        f'{DOCTYPE}<td class="n" data-label="lag" viewBox="0 0 1 1"></td>\n'
    )


def test_an_element_without_children_is_empty() -> None:
    assert page_of(tag("p", None)) == f"{DOCTYPE}<p></p>\n"


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_a_text_is_shown_as_it_is_and_adds_no_tag(text: str) -> None:
    seen = Seen(page_of(tag("p", text, title=text)))
    assert seen.tags == ["p"]
    assert seen.text.removeprefix(DOCTYPE).strip("\n") == text
