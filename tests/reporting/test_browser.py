"""The report in a real browser without a network: no error occurs, every image loads, tables sort and filter."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from naevi.reporting.result import ReportData
from tests.browser import load, needs_browser

pytestmark = [pytest.mark.slow, needs_browser]

# The first script on the page records errors.
WATCH = """<script>
const errors = [];
addEventListener('error', event => errors.push(event.message || `not loaded: ${event.target.alt}`), true);
addEventListener('unhandledrejection', event => errors.push(String(event.reason)));
addEventListener('securitypolicyviolation', event => errors.push(`blocked: ${event.blockedURI}`));
console.error = (...words) => errors.push(words.join(' '));
</script>"""

# The last script uses the page as a person would, and records what is visible then.
USE = """<script>
addEventListener('load', () => {
  const table = document.getElementById('image-table'), heads = [...table.tHead.rows[0].cells];
  const visible = () => [...table.tBodies[0].rows].filter(row => row.checkVisibility());
  const column = index => visible().map(row => row.cells[index].textContent);
  const sorted = [];
  for (const [index, head] of heads.entries()) {
    for (let press = 0; press < 2; press++) {
      head.querySelector('button').click();
      const marked = heads.filter(other => other.ariaSort !== 'none').length;
      sorted.push({name: head.textContent, direction: head.ariaSort, cells: column(index), marked});
    }
  }
  const choose = (id, value) => {
    const field = document.getElementById(id);
    field.value = value;
    field.dispatchEvent(new Event('input', {bubbles: true}));
  };
  const filtered = {};
  for (const [id, value] of [['by-diagnosis', 'melanoma'], ['by-dice', '0.7'], ['by-area', 'small']]) {
    choose(id, value);
    filtered[id] = {images: column(0), count: document.getElementById('count').textContent};
    choose(id, '');
  }
  choose('by-diagnosis', 'common');
  choose('by-dice', '0.7');
  filtered.both = {images: column(0)};
  choose('by-diagnosis', '');
  choose('by-dice', '');
  filtered.none = {images: column(0)};

  const buttons = [...document.querySelectorAll('.examples button')], dialog = document.getElementById('large');
  const view = document.getElementById('large-overlay'), large = {before: dialog.open};
  buttons[0].click();
  large.open = dialog.open;
  large.first = view.src === buttons[0].querySelector('img').src && view.alt !== '';
  large.text = document.getElementById('large-text').textContent;
  dialog.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
  large.second = view.src === buttons[1].querySelector('img').src;
  document.getElementById('close').click();
  large.after = dialog.open;

  const links = [...table.querySelectorAll('a')];
  const images = [...document.images].filter(image => image.hasAttribute('src'));
  Promise.all(images.map(image => image.decode().catch(() => errors.push(`not decoded: ${image.alt}`)))).then(() => {
    const findings = {
      errors, sorted, filtered, large,
      images: images.length,
      loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
      links: links.length,
      leading: links.filter(link => document.querySelector(link.hash)?.closest('.examples')).length,
      width: innerWidth,
      wide: document.documentElement.scrollWidth,
    };
    const element = document.createElement('pre');
    element.id = 'findings';
    element.textContent = JSON.stringify(findings);
    document.body.append(element);
  });
});
</script>"""


def open_page(page: str, folder: Path, size: str = "1280,900") -> dict[str, Any]:
    """Return what the scripts recorded in a window of this size, in px. The browser can reach no other machine."""
    file = folder / "page.html"
    text = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{USE}</body>", 1)
    file.write_text(text, encoding="utf-8")
    offline = ("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:1")
    done = load(file.as_uri(), folder, size, *offline)
    match = re.search(r'<pre id="findings">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    findings: dict[str, Any] = json.loads(html.unescape(match[1]))
    findings["errors"] += [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return findings


@pytest.fixture(scope="module")
def findings(full_page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return open_page(full_page, tmp_path_factory.mktemp("browser"))


def test_no_error_occurs(findings: dict[str, Any]) -> None:
    assert findings["errors"] == []


def test_every_image_loads(findings: dict[str, Any]) -> None:
    """18 of the 20 images are examples, each with and without the overlay."""
    assert findings["images"] >= 2 * 18
    assert findings["loaded"] == findings["images"]


def test_every_column_sorts_both_ways(findings: dict[str, Any]) -> None:
    """Ascending after the first click, descending after the second; numbers by value."""
    assert len(findings["sorted"]) == 2 * 10
    for order in findings["sorted"]:
        cells = order["cells"]
        if order["name"] not in ("image", "diagnosis", "touches frame"):
            cells = [float(cell) for cell in cells]
        assert cells == sorted(cells, reverse=order["direction"] == "descending"), order["name"]
        assert order["marked"] == 1
    directions = [order["direction"] for order in findings["sorted"] if order["name"] == "Dice"]
    assert directions == ["ascending", "descending"]


def test_filters_leave_the_right_images(findings: dict[str, Any], result: ReportData) -> None:
    images = result.per_image
    fraction = images.lesion_fraction
    expected = {
        "by-diagnosis": images.diagnosis == "melanoma",
        "by-dice": images.dice < 0.7,
        "by-area": fraction <= fraction.sort_values().iloc[6],  # 7 of 20 are the smallest third
        "both": (images.diagnosis == "common") & (images.dice < 0.7),
        "none": images.dice >= 0,
    }
    for name, kept in expected.items():
        assert 0 < kept.sum() <= 20, name
        assert sorted(findings["filtered"][name]["images"]) == sorted(images.image_id[kept]), name
    assert findings["filtered"]["by-area"]["count"] == "7 of 20 images"


def test_selecting_an_example_enlarges_it(findings: dict[str, Any]) -> None:
    large = findings["large"]

    assert (large["before"], large["open"], large["after"]) == (False, True, False)
    assert large["first"]
    assert large["second"]
    assert re.search(r"Dice 0\.\d{3}, confidence 0\.\d{3}, confidence rank 1, IoU ", large["text"])


def test_names_in_the_table_lead_to_their_examples(findings: dict[str, Any]) -> None:
    assert findings["links"] == findings["leading"] == 18


def test_a_phone_needs_no_horizontal_scrolling(full_page: str, tmp_path: Path) -> None:
    findings = open_page(full_page, tmp_path, size="390,800")

    assert findings["errors"] == []
    assert findings["width"] <= 500  # the narrowest window that headless browsers make
    assert findings["wide"] <= findings["width"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("<script>nothing.there()</script>", "nothing is not defined"),
        ('<img src="data:image/jpeg;base64,AAAA" alt="broken">', "not loaded"),
        ('<img src="https://example.org/x.png" alt="elsewhere">', "blocked"),
    ],
)
def test_errors_are_recorded(full_page: str, tmp_path: Path, broken: str, message: str) -> None:
    findings = open_page(full_page.replace("<main>", f"<main>{broken}", 1), tmp_path)

    assert any(message in line for line in findings["errors"])
