"""Where it runs changes no output byte: folder, locale, time zone, umask, hash seed, a read-only checkout."""

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from naevi.config import flatten
from naevi.experiments.demo import set_parameters
from naevi.provenance import read_description
from naevi.record import read_scores
from tests import pipeline
from tests.helpers import HERE, ROOT

# Of root, chmod asks nothing; without capabilities it is a user like others.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def outputs(folder: Path) -> dict[str, bytes]:
    """The lock, which has the MD5 of every output, and what people and programs read."""
    files = [HERE.lock, HERE.metrics, HERE.per_image, HERE.report_html, HERE.report_md]
    files += [HERE.model(item) / name for item in ("0", "1", "all") for name in ("model.safetensors", "model.json")]
    files += sorted(path.relative_to(folder) for path in (folder / HERE.figures).iterdir())
    return {str(file): (folder / file).read_bytes() for file in files}


@pytest.fixture
def turkish(tmp_path: Path) -> dict[str, str]:
    """What makes programs speak Turkish, whose lower case of I is no i."""
    sources = Path("/usr/share/i18n/locales/tr_TR")
    if not shutil.which("localedef") or not sources.exists():
        pytest.skip(f"localedef or {sources} is missing")
    (tmp_path / "locales").mkdir()
    made = tmp_path / "locales" / "tr_TR.UTF-8"
    subprocess.run(["localedef", "--no-archive", "-i", "tr_TR", "-f", "UTF-8", str(made)], check=True)
    return {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(made.parent)}


@pytest.mark.parametrize("language", [pytest.param("C", marks=pytest.mark.soak), "Turkish"])
def test_the_pipeline_makes_the_same_bytes(
    small_repository: Path, tmp_path: Path, language: str, request: pytest.FixtureRequest
) -> None:
    locale = {"LC_ALL": "C"} if language == "C" else request.getfixturevalue("turkish")
    zone = "Pacific/Kiritimati" if language == "C" else "America/St_Johns"
    folder = tmp_path / "Muttermale, çok güzel 痣" / "a copy"
    folder.parent.mkdir()
    with contextlib.chdir(ROOT):
        pipeline.make(folder)

    command = ["sh", "-c", "umask 077; dvc repro"]
    pipeline.run(folder, *command, **locale, TZ=zone, PYTHONHASHSEED="random")

    assert outputs(folder) == outputs(small_repository)
    assert not stat.S_IMODE((folder / HERE.report_html).stat().st_mode) & 0o077  # the umask held
    printed = pipeline.run(
        folder, "python", "-c", "import locale; print(locale.setlocale(locale.LC_ALL, ''))", **locale
    )
    assert printed == f"{locale['LC_ALL']}\n"


def test_report_writes_to_reports_alone(small_repository: Path, tmp_path: Path) -> None:
    """The checkout and the home are read-only but for reports/."""
    if POWERLESS and not shutil.which(POWERLESS[0]):
        pytest.skip("this is root, for whom nothing is read-only, and setpriv is missing")
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    before = outputs(folder)
    for path in (HERE.report_html, HERE.report_md):
        (folder / path).unlink()
    shutil.rmtree(folder / HERE.figures)
    home = tmp_path / "home"
    home.mkdir()
    surroundings = {"HOME": str(home), "MPLCONFIGDIR": str(home / "matplotlib"), "XDG_CACHE_HOME": str(home / "cache")}

    with read_only(folder, home, but=folder / HERE.metrics.parent):
        refused = pipeline.run(folder, *POWERLESS, "touch", "x", str(home / "x"), check=False)
        pipeline.run(folder, *POWERLESS, "python", "-m", "stages.report", **surroundings)

    assert refused.count("Permission denied") == 2
    assert outputs(folder) == before


@contextlib.contextmanager
def read_only(*folders: Path, but: Path) -> Iterator[None]:
    """Nothing in the folders can be written, but in one."""
    inside = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    changed = {path: path.stat().st_mode for path in inside if not path.is_symlink() and not path.is_relative_to(but)}
    for path, mode in changed.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in changed.items():
            path.chmod(mode)


def test_another_number_of_threads_gives_nearly_the_same_metrics(small_repository: Path, tmp_path: Path) -> None:
    """Sums in another order have other last digits; of these phantoms 0.000012 was the largest difference seen.

    `kept` is left out: two images of nearly the same confidence may change places, which adds another image.
    """
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    set_parameters(folder / HERE.params, ["runtime.threads=2", "cv.models=[0, 1]"])

    pipeline.run(folder, "dvc", "repro", "evaluate")

    here, there = (
        flatten(read_scores(each / HERE.metrics, each / HERE.details_source) | {"kept": 0})
        for each in (folder, small_repository)
    )
    assert here.keys() == there.keys()
    assert here == pytest.approx(there, abs=0.001, nan_ok=True)
    # The number was heard; on some machines the figures are the very same.
    described = [read_description(each / HERE.model("0")) for each in (folder, small_repository)]
    assert [each["runtime"]["threads"] for each in described] == [2, 1]
