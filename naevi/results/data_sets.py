"""Which data set a result belongs to. Scores on different images must not be compared."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from naevi.config import data_set_name
from naevi.record import Record

UNKNOWN = "unknown"
DIGEST_CHARACTERS = 8  # shown if two data sets have the same name


class DataSet(NamedTuple):
    """What is known about the data set of a result. A field is empty if it isn't known."""

    source: str = ""  # data.source, which is also in the column `dataset` of tables
    name: str = ""  # from data.name or data.path
    digest: str = ""  # of its images and masks

    @property
    def label(self) -> str:
        """Return the name of the data set, as far as it is known."""
        return self.name or self.source or UNKNOWN


UNKNOWN_DATA_SET = DataSet()


def recorded_data_set(record: Record, statistics: Mapping[str, Any] | None) -> DataSet:
    """Return the data set of a record. `statistics` is the content of its reports/data.json, if there is one.

    Results without data.path have no name for own images. The parameters of other sections aren't read, because early
    records have some that this version doesn't know.
    """
    data = record.values.get("data", {})
    source = str(data.get("source", ""))
    named = source != "folder" or "path" in data
    name = data_set_name(source, str(data.get("path", "")), str(data.get("name", "auto"))) if named else ""
    return DataSet(source, name, (statistics or {}).get("digest") or "")


def is_same(a: DataSet, b: DataSet) -> bool:
    """Return whether two data sets are the same: by their digests, otherwise their names, otherwise their sources.

    Fields that are unknown in one of them are not compared.
    """
    for known_a, known_b in ((a.digest, b.digest), (a.name, b.name), (a.source, b.source)):
        if known_a and known_b:
            return known_a == known_b
    return True


def are_versions(a: DataSet, b: DataSet) -> bool:
    """Return whether two data sets have the same name but different images or masks, such as after a correction."""
    return not is_same(a, b) and a.name != "" and a.name == b.name


def data_set_labels(data_sets: Sequence[DataSet]) -> list[str]:
    """Return a label for each data set. Equal data sets have equal labels, different ones have different labels."""
    groups: list[DataSet] = []
    # Those with the most known fields come first, so that each of the others joins one of them.
    for data_set in sorted(data_sets, key=lambda known: (not known.digest, not known.name, not known.source)):
        if not any(is_same(data_set, group) for group in groups):
            groups.append(data_set)
    found = [next(group for group in groups if is_same(data_set, group)) for data_set in data_sets]
    names = [group.label for group in groups]
    return [
        f"{group.label} ({group.digest[:DIGEST_CHARACTERS]})" if names.count(group.label) > 1 else group.label
        for group in found
    ]
