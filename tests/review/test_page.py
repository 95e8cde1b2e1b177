"""The page is one offline file that shows each image with its reasons."""

import re
from pathlib import Path

import pandas as pd
import pytest

from naevi.review.page import write_review
from naevi.review.suspicion import image_checks
from tests.review.data import NO_DECISIONS, NO_PAIRS, NOTHING_VANISHED, make_images, reviewed, write_prepared


def page_of(folder: Path, **options: object) -> str:
    """Return the page of six images; phantom-00004 is a near-duplicate of phantom-00001."""
    images = make_images(6)
    table = write_prepared(folder, images)
    pairs = pd.DataFrame([("phantom-00001", "phantom-00004", 0.99)], columns=NO_PAIRS.columns)
    checks = image_checks(reviewed(images), table, pairs, NOTHING_VANISHED)
    arguments = {
        "name": "six <b>",
        "classes": ["skin", "lesion"],
        "synthetic_label": "phantoms, not patients",
    } | options
    decisions = arguments.pop("decisions", NO_DECISIONS)
    write_review(folder / "review.html", folder, table, checks, pairs, decisions, **arguments)
    return (folder / "review.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    decisions = pd.DataFrame([("Alpha <i> read", 3, "a, b", "data.alpha")], columns=NO_DECISIONS.columns)
    return page_of(tmp_path_factory.mktemp("page"), decisions=decisions)


def test_each_image_is_shown_once(page: str) -> None:
    assert page.count('class="image"') == 6
    assert len(set(re.findall(r"<b>\d\. (phantom-\d+)</b>", page))) == 6
    assert page.count("data:image/jpeg;base64,") == 6


def test_near_duplicates_are_side_by_side(page: str) -> None:
    place = page[page.index('class="place several"') :]
    place = place[: place.index("</li>")]

    assert place.count('class="image"') == 2
    assert "phantom-00001" in place
    assert "phantom-00004" in place


def test_reasons_and_their_counts_are_listed(page: str) -> None:
    assert '<th scope="row">near-duplicate</th><td>2</td>' in page
    assert '<option value="near-duplicate">near-duplicate (2)</option>' in page
    assert "A reason is a hint, not an error." in page
    assert "The masks weren&#39;t compared with the images. This needs at least 12 images" in page


def test_decisions_are_a_table(page: str) -> None:
    assert '<th scope="row">Alpha &lt;i&gt; read</th><td>3</td><td>a, b</td><td>data.alpha</td>' in page


def test_synthetic_images_are_labelled(page: str) -> None:
    assert page.count("phantoms, not patients") >= 3


def test_names_are_escaped(tmp_path: Path) -> None:
    images = make_images(2)
    odd = "<script>alert(1)<"  # no slash, since it is a file name
    images = {odd: images["phantom-00000"], '"quoted" & more': images["phantom-00001"]}
    table = write_prepared(tmp_path, images)
    checks = image_checks(reviewed(images), table.assign(diagnosis="<i>"), NO_PAIRS, NOTHING_VANISHED)
    write_review(
        tmp_path / "review.html", tmp_path, table.assign(diagnosis="<i>"), checks, NO_PAIRS, NO_DECISIONS,
        name="<b>", classes=["skin", "<u>"], synthetic_label="",
    )  # fmt: skip
    html = (tmp_path / "review.html").read_text(encoding="utf-8")

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;" in html
    assert not re.search(r"<[ibu]>(?!\d)", html.replace("<b>1. ", "").replace("<b>2. ", ""))


def test_the_page_loads_nothing(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"<(link|iframe|object|embed|base)\b", page)
    assert not re.search(r"url\(|@import|https?://", page)


def test_equal_data_gives_equal_bytes(page: str, tmp_path: Path) -> None:
    assert page_of(tmp_path, decisions=NO_DECISIONS) == page_of(tmp_path / "again", decisions=NO_DECISIONS)


def test_a_sample_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naevi.review.places.MAX_IMAGES", 4)
    monkeypatch.setattr("naevi.review.places.RANDOM_IMAGES", 1)
    html = page_of(tmp_path)

    assert html.count('class="image"') == 4
    assert "This page shows 4 of 6 images: the 3 most suspicious ones and a random sample of 1 of the others." in html
