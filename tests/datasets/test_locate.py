"""PH2 is read from NAEVI_SOURCE, otherwise from data/external, otherwise from an address; own images from data.path."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from naevi.datasets.locate import find_own_images, find_source
from naevi.errors import UserError
from naevi.workspace import Workspace
from tests.datasets.archive_files import FILES, IMAGES, contents, pack
from tests.helpers import HERE


@pytest.fixture
def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a server with ph2.zip and page.zip (a web page), but without gone.zip."""
    (folder / "site").mkdir()
    pack(FILES, folder / "site" / "ph2.zip")
    (folder / "site" / "page.zip").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder / "site"))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_environment_variable_has_priority(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()
    monkeypatch.setenv("NAEVI_SOURCE", str(unpacked))

    assert find_source(HERE, (), "nothing is here") == unpacked


def test_a_source_that_does_not_exist_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", "PH2Dataset.rar")

    message = r"^NAEVI_SOURCE is PH2Dataset.rar, which doesn't exist\. Set it to a folder or an archive \(.zip, .tar, "
    with pytest.raises(UserError, match=message):
        find_source(HERE, (), "nothing is here")


def test_an_address_in_the_environment_variable_is_downloaded(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", f"{site}/ph2.zip")

    source = find_source(HERE, (), "nothing is here")

    assert re.fullmatch(r"data/external/ph2-[0-9a-f]{8}\.zip", str(source))
    assert contents(source) == IMAGES


def test_an_address_in_the_environment_variable_that_is_a_web_page_is_an_error(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", f"{site}/page.zip")

    with pytest.raises(UserError) as error:
        find_source(HERE, [f"{site}/ph2.zip"], "nothing is here")

    assert str(error.value) == (
        f"{site}/page.zip is a web page (a login or a list of links), not an archive. "
        "Download it in another way and set NAEVI_SOURCE to the file."
    )
    assert list(Path("data/external").iterdir()) == []


def test_data_external_is_used_if_it_contains_anything(folder: Path) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()

    assert find_source(HERE, ["http://127.0.0.1:1/ph2.zip"], "nothing is here") == Path("data/external")


@pytest.mark.parametrize("ignored", [[], [".gitignore", "ph2-12345678.zip.part", "ph2-12345678.zip.etag.part"]])
def test_the_first_address_with_an_archive_is_used(
    site: str, ignored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    Path("data/external").mkdir()
    for name in ignored:
        Path("data/external", name).touch()

    source = find_source(HERE, [f"{site}/{name}.zip" for name in ("gone", "page", "ph2", "never")], "nothing is here")

    assert contents(source) == IMAGES
    assert caplog.messages == [
        f"{site}/gone.zip can't be downloaded (404 File not found). "
        "Download it in another way and set NAEVI_SOURCE to the file.",
        f"{site}/page.zip is a web page (a login or a list of links), not an archive. "
        "Download it in another way and set NAEVI_SOURCE to the file.",
    ]
    assert find_source(HERE, (), "nothing is here") == source


@pytest.mark.parametrize("empty_folder", [True, False])
@pytest.mark.parametrize("addresses", [[], ["http://127.0.0.1:1/ph2.zip"]])
def test_without_a_source_the_error_says_what_to_do(
    folder: Path, empty_folder: bool, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if empty_folder:
        Path("data/external").mkdir()

    with pytest.raises(UserError, match=r"^nothing is here\nbut this may help$"):
        find_source(HERE, addresses, "nothing is here\nbut this may help")


def test_own_data_sets_in_data_external_are_not_ph2(folder: Path) -> None:
    """`dvc add data/external/ham.zip` writes ham.zip.dvc. A name with PH2 is PH2's, also if it is tracked."""
    Path("data/external").mkdir()
    for name in ("ham.zip", "ham.zip.dvc"):
        Path("data/external", name).touch()

    with pytest.raises(UserError, match="nothing is here"):
        find_source(HERE, (), "nothing is here")

    for name in ("PH2Dataset.tar.xz", "PH2Dataset.tar.xz.dvc"):
        Path("data/external", name).touch()
    assert find_source(HERE, (), "nothing is here") == Path("data/external/PH2Dataset.tar.xz")


def test_data_external_belongs_to_the_workspace(folder: Path) -> None:
    workspace = Workspace(folder / "other")
    workspace.external_data.mkdir(parents=True)
    (workspace.external_data / "image.bmp").touch()

    assert find_source(workspace, (), "nothing is here") == folder / "other" / "data" / "external"


@pytest.mark.parametrize("named", ["ph2", "../beside/ph2", None])
def test_an_experiment_finds_files_of_the_repository_that_it_was_started_from(
    named: str | None, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc exp run --temp` runs in a folder that has only what git and DVC track."""
    temporary = tmp_path_factory.mktemp("temporary")
    started = folder / "repository"
    expected = started / (named or "data/external")
    expected.mkdir(parents=True)
    (folder / "beside").mkdir(exist_ok=True)
    (expected / "image.bmp").touch()
    monkeypatch.chdir(temporary)
    if named:
        monkeypatch.setenv("NAEVI_SOURCE", named)

    assert find_source(Workspace(Path(), started), (), "nothing is here").resolve() == expected.resolve()


def own_images(path: Path) -> Path:
    """Make a folder for own images, and return it."""
    path.mkdir(parents=True)
    return path


def test_own_images_are_where_data_path_says(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    own_images(Path("data/mine"))

    assert find_own_images(HERE, "data/mine/") == Path("data/mine")
    assert caplog.messages == [
        "data.path, data/mine, isn't tracked by DVC yet. Run `dvc add data/mine` and commit data/mine.dvc, so that "
        "each result can be reproduced."
    ]


@pytest.mark.parametrize("tracked", ["data/mine.dvc", "data/mine/inner.dvc"])
def test_own_images_that_dvc_tracks_need_no_advice(
    folder: Path, tracked: str, caplog: pytest.LogCaptureFixture
) -> None:
    own_images(Path("data/mine/inner"))
    Path(tracked).touch()

    assert find_own_images(HERE, "data/mine/inner") == Path("data/mine/inner")
    assert caplog.messages == []


@pytest.mark.parametrize("absolute", [True, False])
def test_own_images_outside_of_the_repository_are_a_warning(
    folder: Path, absolute: bool, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path, inside = str(elsewhere) if absolute else f"../{elsewhere.name}", f"data/{elsewhere.name}"

    assert find_own_images(HERE, path).resolve() == elsewhere.resolve()
    assert caplog.messages == [
        f"data.path is {path}, outside this repository. dvc.lock will contain this path, so others can't reproduce the "
        f"result. To avoid this, copy it to {inside}, run `dvc add {inside}` and set data.path to {inside}."
    ]


def test_own_images_that_do_not_exist_are_an_error(folder: Path) -> None:
    layout = (
        "They are a folder or an archive with images/<id>.png, masks/<id>.png (or other image formats) and, "
        "optionally, labels.csv."
    )
    with pytest.raises(UserError) as error:
        find_own_images(HERE, "data/mine")
    assert str(error.value) == f"data.path is data/mine, which doesn't exist. Set data.path to your images. {layout}"

    Path("data/mine.dvc").touch()
    with pytest.raises(UserError) as error:
        find_own_images(HERE, "data/mine")
    assert str(error.value) == (
        f"data.path is data/mine, which doesn't exist. Run `dvc pull`, or set data.path to your images. {layout}"
    )


def test_the_environment_variable_is_not_for_own_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own_images(Path("data/mine"))
    Path("data/mine.dvc").touch()
    monkeypatch.setenv("NAEVI_SOURCE", "elsewhere")

    assert find_own_images(HERE, "data/mine") == Path("data/mine")
    assert caplog.messages == [
        "NAEVI_SOURCE (elsewhere) is used for PH2 only. Your images are read from data.path, data/mine."
    ]


def test_links_to_folders_are_refused_because_dvc_does_not_follow_them(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "a.png").touch()
    Path("mine").mkdir()
    Path("mine/b.png").symlink_to(folder / "elsewhere" / "a.png")
    Path("linked").symlink_to(folder / "elsewhere")
    for allowed in ("mine", "linked"):
        find_own_images(HERE, allowed)
    Path("mine/images").symlink_to(folder / "elsewhere")
    Path("mine/gone.png").symlink_to(folder / "nowhere")

    with pytest.raises(UserError) as error:
        find_own_images(HERE, "mine")
    assert str(error.value) == (
        "data.path contains links to folders or to nothing, which DVC doesn't follow: mine/gone.png, mine/images. "
        "Replace each with the folder itself. data.path may be a link, and so may single files in it."
    )
