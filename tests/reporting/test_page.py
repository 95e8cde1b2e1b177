"""The page loads nothing, is complete and shows each image."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from naevi.config import Config
from naevi.reporting.data_checks import PH2_CITATION
from naevi.reporting.literature import PH2_RESULTS
from naevi.reporting.result import ReportData
from naevi.reporting.selection import ExampleImage
from tests.reporting.report_data import as_ph2, page


class Elements(HTMLParser):
    """All elements with their attributes. Each must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_an_example_has_its_confidence_and_rank(result: ReportData, examples: list[ExampleImage]) -> None:
    assert f"confidence <b>{examples[0].score['confidence']:.3f}</b><br>confidence rank <b>1</b><" in page(
        result, examples
    )


def test_the_table_of_all_images_has_each_once_and_links_to_the_examples(
    result: ReportData, examples: list[ExampleImage]
) -> None:
    html = page(result, examples)
    table = html[html.index('id="image-table"') :]
    table = table[: table.index("</table>")]

    assert table.count("<tr data-") == 20
    assert "<button" not in table  # a script adds them, so without it there is no dead button
    for score in result.per_image.to_dict("records"):
        assert f">{score['image_id']}<" in table
        assert f"<td>{score['dice']:.3f}</td>" in table
    assert len(re.findall(r'<a href="#image-\d+">', table)) == len(examples)
    ids = {attributes.get("id") for _, attributes in Elements(html).found}
    assert set(re.findall(r'href="#([^"]*)"', html)) <= ids


def test_the_page_loads_nothing(full_page: str) -> None:
    for tag, attributes in Elements(full_page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        source = attributes.get("src")
        assert source is None or (tag == "img" and source.startswith("data:image/jpeg;base64,"))
    assert "default-src 'none'" in full_page
    assert "@import" not in full_page
    assert not re.search(r"url\((?!#)", full_page)


def test_links_lead_to_sources_only(
    result: ReportData, examples: list[ExampleImage], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    html = page(as_ph2(result, config_with), examples)
    links = [attributes["href"] for _, attributes in Elements(html).found if "href" in attributes]

    assert [link for link in links if not str(link).startswith("#")] == [
        *(each.source for each in PH2_RESULTS),
        PH2_CITATION["url"],
    ]


def test_the_page_is_complete(full_page: str, examples: list[ExampleImage]) -> None:
    """Every element is closed, every id is used once, every image has an alternative text."""
    elements = Elements(full_page)

    assert elements.open == []
    ids = Counter(attributes["id"] for _, attributes in elements.found if "id" in attributes)
    assert not [name for name, number in ids.items() if number > 1]
    images = [attributes for tag, attributes in elements.found if tag == "img" and "src" in attributes]
    assert len(images) == 2 * len(examples) == 36
    assert all(attributes["alt"] for attributes in images)


def test_names_are_text_not_markup(result: ReportData, examples: list[ExampleImage]) -> None:
    odd = replace(examples[0], score=examples[0].score | {"image_id": "<script>x</script>"})

    assert "<script>x" not in page(result, [odd, *examples[1:]])


def test_an_example_says_how_much_was_missed_and_false(result: ReportData, examples: list[ExampleImage]) -> None:
    """The mask has 40 px, of which 10 were missed; 2 px are false."""
    example = replace(examples[0], score=examples[0].score | {"image_id": "a", "tp": 30, "fn": 10, "fp": 2})

    assert "25 % of the area missed, a false area of 5 % of its size." in page(result, [example])
