"""A reader of test_fuzz.py led by atheris, which keeps what reaches code that no input before it reached.

    pip install atheris
    python -m tests.faults.guided labels -runs=20000

Options are libFuzzer's. Where a reader takes bytes, its valid files are the corpus to begin with; else hypothesis makes
its inputs from atheris's bytes. An exception that isn't ours ends it with a traceback and the input in a file. So does
an input that takes too much memory; each is measured, since -rss_limit_mb is of the process, which grows by itself.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import atheris
import pytest

with atheris.instrument_imports(include=["naevi", "PIL", "rarfile", "tarfile", "zipfile"]):
    from hypothesis import given

    from naevi.errors import UserError
    from tests.faults import test_fuzz


def main(name: str, *options: str) -> None:
    make = next(make for make in test_fuzz.READERS if make.__name__ == name)
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder, corpus = Path(place) / "reader", Path(place) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        if "model" in make.__annotations__:
            model, *options = options
            reader = make(folder, patch, Path(model))
        else:
            reader = make(folder, patch)

        def read(data: object) -> None:
            before = test_fuzz.memory_from_here()
            with contextlib.suppress(UserError), contextlib.redirect_stdout(io.StringIO()):
                reader.read(data)
            grown = test_fuzz.most_memory() - before
            assert grown < test_fuzz.MOST_MEMORY, f"it takes {grown} bytes of memory"

        if isinstance(reader.valid[0], bytes):
            for number, data in enumerate(reader.valid):
                (corpus / str(number)).write_bytes(data)
            once = read
        else:
            once = given(reader.inputs)(read).hypothesis.fuzz_one_input
        atheris.Setup([__file__, *options, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
