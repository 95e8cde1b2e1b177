"""What the review takes from other stages, and what it prints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi.config import Config
from naevi.datasets.decoding import TAG_IGNORED
from naevi.datasets.pairs import APPLIED, BY_OUTLINE, BY_SIZE, DOUBTFUL, OF_IMAGE, OWN
from naevi.preprocessing.prepare import Prepared
from naevi.review import reasons
from naevi.review.review import review_data
from naevi.review.suspicion import NOT_COMPARED
from naevi.tables import Decision, write_decisions
from naevi.workspace import Workspace
from tests.review.data import NO_PAIRS, NOTHING_VANISHED, make_images, reviewed, write_prepared

TEXTS = [APPLIED, DOUBTFUL, f"{OWN}, {BY_OUTLINE}", f"{OF_IMAGE}, {BY_OUTLINE}", f"{OWN}, {BY_SIZE}"]


def test_only_orientations_in_doubt_are_a_reason(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], caplog: pytest.LogCaptureFixture
) -> None:
    """The sizes of image and mask decide, or params.yaml ignores the tags: neither needs a look."""
    workspace = Workspace(tmp_path)
    images = make_images(7)
    table = write_prepared(workspace.prepared, images)
    decided = zip(table.image_id, [*TEXTS, TAG_IGNORED.decision], strict=False)
    workspace.raw.mkdir()
    write_decisions(
        workspace.reading_decisions, [Decision(text, [name], "data.reading.orientation") for name, text in decided]
    )
    workspace.review_html.parent.mkdir()
    data = config_with({}).data
    caplog.set_level("INFO")

    prepared = Prepared(table, NO_PAIRS, pd.DataFrame(), NOTHING_VANISHED, "", reviewed(images))
    checks = review_data(workspace, data, prepared, {"decisions": []})

    assert (checks[reasons.ORIENTATION.name] > 0).tolist() == [True] * 4 + [False] * 3
    assert checks.details[1] == f"{DOUBTFUL}."
    assert "EXIF orientation 4" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"See reports/review.html. {NOT_COMPARED}")
