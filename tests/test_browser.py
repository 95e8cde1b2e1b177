"""The report in a real browser without a network: nothing goes wrong, every image loads, tables sort and filter."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from naevi import figures, paths, reporting
from naevi.reporting import Result
from tests.test_reporting import measured, shifted

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")
Tiny = Any  # conftest's

# Before all else on the page: what goes wrong is kept.
WATCH = """<script>
const wrong = [];
addEventListener('error', event => wrong.push(event.message || `not loaded: ${event.target.alt}`), true);
addEventListener('unhandledrejection', event => wrong.push(String(event.reason)));
addEventListener('securitypolicyviolation', event => wrong.push(`refused: ${event.blockedURI}`));
console.error = (...words) => wrong.push(words.join(' '));
</script>"""

# After all else: what a person would do, and what is then to be seen.
USE = """<script>
addEventListener('load', () => {
  const table = document.getElementById('every-image'), heads = [...table.tHead.rows[0].cells];
  const seen = () => [...table.tBodies[0].rows].filter(row => row.checkVisibility());
  const column = index => seen().map(row => row.cells[index].textContent);
  const sorted = [];
  for (const [index, head] of heads.entries()) {
    for (let press = 0; press < 2; press++) {
      head.querySelector('button').click();
      const marked = heads.filter(each => each.ariaSort !== 'none').length;
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

  const buttons = [...document.querySelectorAll('.lesions button')], dialog = document.getElementById('large');
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
  Promise.all(images.map(image => image.decode().catch(() => wrong.push(`not decoded: ${image.alt}`)))).then(() => {
    const found = {
      wrong, sorted, filtered, large,
      images: images.length,
      loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
      links: links.length,
      leading: links.filter(link => document.querySelector(link.hash)?.closest('.lesions')).length,
      width: innerWidth,
      wide: document.documentElement.scrollWidth,
    };
    const element = document.createElement('pre');
    element.id = 'findings';
    element.textContent = JSON.stringify(found);
    document.body.append(element);
  });
});
</script>"""


def opened(page: str, folder: Path, size: str = "1280,900") -> dict[str, Any]:
    """What the page was found to do in a window of this size, in px, with no way out of the machine."""
    file = folder / "page.html"
    text = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{USE}</body>", 1)
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:1", "--no-first-run"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=20000", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    match = re.search(r'<pre id="findings">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    found["wrong"] += [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return found


@pytest.fixture(scope="module")
def result(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measured(tiny, shifted(tiny, tmp_path_factory.mktemp("predictions")))


@pytest.fixture(scope="module")
def page(result: Result, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The whole report, plots and pictures included."""
    predictions = shifted(tiny, tmp_path_factory.mktemp("predictions"))
    pictures = figures.pictures(figures.chosen(result.per_image), tiny.root / paths.RAW, predictions)
    drawn = {name: figures.svg(figure, name) for name, figure in reporting.plots(result).items()}
    return reporting.render_html(result, pictures, drawn)


@pytest.fixture(scope="module")
def found(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return opened(page, tmp_path_factory.mktemp("browser"))


def test_nothing_goes_wrong(found: dict[str, Any]) -> None:
    assert found["wrong"] == []


def test_every_image_loads(found: dict[str, Any]) -> None:
    """18 of the 20 phantoms are shown, each with and without its outcome."""
    assert found["images"] >= 2 * 18
    assert found["loaded"] == found["images"]


def test_every_column_sorts_both_ways(found: dict[str, Any]) -> None:
    """Upwards at the first press of a column, downwards at the second; numbers go by value."""
    assert len(found["sorted"]) == 2 * 10
    for order in found["sorted"]:
        cells = order["cells"]
        if order["name"] not in ("image", "diagnosis", "touches frame"):
            cells = [float(cell) for cell in cells]
        assert cells == sorted(cells, reverse=order["direction"] == "descending"), order["name"]
        assert order["marked"] == 1
    directions = [order["direction"] for order in found["sorted"] if order["name"] == "Dice"]
    assert directions == ["ascending", "descending"]


def test_filters_leave_the_right_images(found: dict[str, Any], result: Result) -> None:
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
        assert sorted(found["filtered"][name]["images"]) == sorted(images.image_id[kept]), name
    assert found["filtered"]["by-area"]["count"] == "7 of 20 images"


def test_pressing_a_picture_enlarges_it(found: dict[str, Any]) -> None:
    large = found["large"]

    assert (large["before"], large["open"], large["after"]) == (False, True, False)
    assert large["first"]
    assert large["second"]
    assert re.search(r"Dice 0\.\d{3}, confidence 0\.\d{3}, its rank 1 of 20", large["text"])


def test_names_in_the_table_lead_to_their_pictures(found: dict[str, Any]) -> None:
    assert found["links"] == found["leading"] == 18


def test_a_phone_needs_no_sideways_scrolling(page: str, tmp_path: Path) -> None:
    found = opened(page, tmp_path, size="390,800")

    assert found["wrong"] == []
    assert found["width"] <= 500  # the narrowest window that headless browsers make
    assert found["wide"] <= found["width"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("<script>nothing.there()</script>", "nothing is not defined"),
        ('<img src="data:image/jpeg;base64,AAAA" alt="broken">', "not loaded"),
        ('<img src="https://example.org/x.png" alt="elsewhere">', "refused"),
    ],
)
def test_what_is_broken_is_noticed(page: str, tmp_path: Path, broken: str, said: str) -> None:
    found = opened(page.replace("<main>", f"<main>{broken}", 1), tmp_path)

    assert any(said in line for line in found["wrong"])
