"""Random sequences of everyday steps: the scores of each run in MLflow belong to its parameters and data.

For each combination of parameters and data, the pipeline runs once in a separate repository. Its scores there are the
truth for every FINISHED result in the repository in which the sequences run.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from naevi.config import flatten
from naevi.datasets.synthetic import synthetic_image
from naevi.experiments.demo import set_parameters
from naevi.files import read_json
from naevi.record import read_scores
from tests import pipeline
from tests.helpers import HERE

SEQUENCES, STEPS = 20, 10
OWN = Path("own")
SETTINGS = [
    "data.source=folder",
    f"data.path={OWN}",
    "preprocess.size=32",
    "split.folds=2",
    "split.validation=0.5",
    "model.architecture=segnet",
    "train.epochs=1",
    "train.batch_size=2",
    "evaluate.resamples=100",
    "runtime.threads=1",
    "cv.models=[0, 1, all]",
]
# The values that are set for parameters. Another value of the last parameter changes no score.
EDITS: dict[str, list[Any]] = {
    "evaluate.threshold": [0.5, 0.4],
    "train.lr": [0.001, 0.003],
    "preprocess.near_duplicates": [0.985, 0.999],
}
CHANGED_MASKS = 2  # masks that are edited and restored, so there are four versions of the data


class Truth(NamedTuple):
    digest: str  # of the data set
    scores: dict[str, float]  # all, flat


def write_own_images(folder: Path) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(12):
        generated = synthetic_image(index, height=64, width=64, seed=5)
        Image.fromarray(generated.image).resize((32, 32)).save(folder / "images" / f"{index:02}.png")
        Image.fromarray(generated.mask * 255).resize((32, 32), Image.Resampling.NEAREST).save(
            folder / "masks" / f"{index:02}.png"
        )


def toggle_mask(folder: Path, index: int) -> None:
    """Invert the first nine pixels of a mask; a second call restores it."""
    file = folder / "masks" / f"{index:02}.png"
    mask = Image.open(file).copy()
    for x in range(3):
        for y in range(3):
            mask.putpixel((x, y), 255 - mask.getpixel((x, y)))
    mask.save(file)


def data_version(repository: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((repository / OWN / "masks").iterdir()))


class References:
    """The truth for each combination of parameters and data, computed when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder
        pipeline.make(folder)
        set_parameters(folder / HERE.params, SETTINGS)
        self.known: dict[tuple[str, bytes], Truth] = {}

    def truth(self, parameters: dict[str, Any], own: Path) -> Truth:
        key = (json.dumps(parameters), data_version(own.parent))
        if key not in self.known:
            shutil.rmtree(self.repository / OWN, ignore_errors=True)
            shutil.copytree(own, self.repository / OWN)
            set_parameters(self.repository / HERE.params, [f"{name}={value}" for name, value in parameters.items()])
            # Without the run cache, so that every result is computed.
            shutil.rmtree(self.repository / ".dvc/cache/runs", ignore_errors=True)
            pipeline.run(self.repository, "dvc", "repro", "evaluate", MLFLOW_TRACKING_URI="sqlite:///reference.db")
            digest = read_json(self.repository / HERE.statistics_source)["digest"]
            scores = read_scores(self.repository / HERE.metrics, self.repository / HERE.details_source)
            self.known[key] = Truth(digest, flatten(scores))
        return self.known[key]


class Everyday:
    """A repository, and the steps that people take in it. A step may fail with a message, which isn't checked."""

    def __init__(self, folder: Path, references: References, choose: random.Random) -> None:
        self.folder, self.references, self.choose = folder, references, choose
        pipeline.make(folder)
        set_parameters(folder / HERE.params, SETTINGS)
        write_own_images(folder / OWN)
        self.run("dvc", "add", str(OWN))
        self.commit()
        self.first_commit = self.run("git", "rev-parse", "HEAD").strip()
        self.versions: dict[bytes, Path] = {}
        self.remember_data()

    def run(self, *command: str) -> str:
        return pipeline.run(self.folder, *command, check=False)

    def remember_data(self) -> None:
        """Keep a copy of each version of the data."""
        version = data_version(self.folder)
        if version not in self.versions:
            kept = self.folder.parent / "versions" / str(len(self.versions)) / OWN.name
            self.versions[version] = Path(shutil.copytree(self.folder / OWN, kept))

    def random_parameter(self) -> str:
        name = self.choose.choice(list(EDITS))
        return f"{name}={self.choose.choice(EDITS[name])}"

    def edit_parameter(self) -> None:
        set_parameters(self.folder / HERE.params, [self.random_parameter()])

    def edit_data(self) -> None:
        self.run("dvc", "unprotect", str(OWN))
        toggle_mask(self.folder / OWN, self.choose.randrange(CHANGED_MASKS))
        self.remember_data()

    def repro(self) -> None:
        self.run("dvc", "repro")

    def experiment(self) -> None:
        options = self.choose.choice([[], ["--temp"]])
        self.run("dvc", "exp", "run", *options, "-S", self.random_parameter())

    def track(self) -> None:
        self.run("dvc", "repro", "--single-item", "--force", "track")

    def promote(self) -> None:
        self.run("naevi", "promote", self.choose.choice(["workspace", "default"]), "--force")

    def verify(self) -> None:
        self.run("naevi", "verify")

    def commit(self) -> None:
        self.run("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
        self.run("git", *identity, "commit", "--quiet", "--message", "A step")

    def checkout(self) -> None:
        """Go to an earlier commit that has the images, with or without the version of its data."""
        commits = self.run("git", "rev-list", "--all", "--max-count=5", f"^{self.first_commit}~1").split()
        self.run("git", "checkout", "--force", "-B", "work", self.choose.choice(commits))
        if self.choose.random() < 0.7:
            self.run("dvc", "checkout", "--force")

    def delete_store(self) -> None:
        for path in [*self.folder.glob("mlflow.db*")]:
            path.unlink()
        if self.choose.random() < 0.5:
            shutil.rmtree(self.folder / "mlartifacts", ignore_errors=True)

    def steps(self) -> list[Callable[[], None]]:
        frequent = [self.edit_parameter, self.edit_data, self.repro, self.repro, self.track, self.experiment]
        return [*frequent, self.promote, self.verify, self.commit, self.checkout, self.delete_store]

    def check(self) -> int:
        """Compare each FINISHED result in MLflow with the truth for its parameters and data; return their number."""
        runs = pipeline.runs(self.folder, "result") if (self.folder / "mlflow.db").exists() else []
        for run in runs:
            parameters = {name: type(EDITS[name][0])(run.data.params[name]) for name in EDITS}
            truths = (self.references.truth(parameters, own) for own in reversed(self.versions.values()))
            truth = next((each for each in truths if each.digest == run.data.tags["data"]), None)
            assert truth is not None, f"no version of the data has the digest of run {run.info.run_id}"
            logged = {name: run.data.metrics[name] for name in truth.scores}
            assert logged == pytest.approx(truth.scores, abs=1e-9), run.info.run_id
        return len(runs)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory.mktemp("reference") / "repository")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_runs_belong_to_their_parameters_and_data(seed: int, tmp_path: Path, references: References) -> None:
    """To run a part: make soak-sequences SEEDS="0 1 2 3 4"."""
    if (chosen := os.environ.get("SEEDS")) and str(seed) not in chosen.split():
        pytest.skip("SEEDS doesn't name it")
    everyday = Everyday(tmp_path / "repository", references, random.Random(seed))
    taken, checked = [], 0
    for _ in range(STEPS):
        step = everyday.choose.choice(everyday.steps())
        taken.append(step.__name__)
        print(f"seed {seed}: {' '.join(taken)}", flush=True)
        step()
        checked += everyday.check()
    print(f"seed {seed}: {checked} comparisons of a result with the truth", flush=True)
