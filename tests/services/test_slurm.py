"""examples/slurm under the real SLURM (`apt-get install slurm-wlm`), with one node: this machine."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pipeline
from tests.faults.kills import bytes_of, run_problems

CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of SLURM's commands."""
    missing = [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip("it needs root and SLURM (apt-get install slurm-wlm)")
    folder = tmp_path / "slurm"
    for name in (".", "state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    munge = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *files]
    text = CONFIGURATION.format(
        host=socket.gethostname(),
        folder=folder,
        cpus=len(os.sched_getaffinity(0)),
        controller_port=pipeline.free_port(),
        node_port=pipeline.free_port(),
    )
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    started = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            with (folder / command[0]).open("wb") as log:
                started.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))
            time.sleep(2)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)


def test_an_array_job_gives_the_bytes_of_dvc_repro(
    slurm: dict[str, str], small_repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "repository"
    pipeline.make(folder)
    told = pipeline.run(folder, "sh", "examples/slurm/submit.sh", "--cpus-per-task=1", **slurm)
    assert told == "Submitted: data (1), 3 trainings (2), result (3). Logs: .cache/slurm/\n"
    end = time.monotonic() + 600
    while pipeline.run(folder, "squeue", "--noheader", **slurm):
        assert time.monotonic() < end, pipeline.run(folder, "squeue", **slurm)
        time.sleep(1)

    logs = {log.name: log.read_text(encoding="utf-8") for log in (folder / ".cache" / "slurm").iterdir()}
    assert logs["result-3.log"].count("is cached - skipping run, checking out outputs") == 3, logs
    assert bytes_of(folder) == bytes_of(small_repository)
    assert run_problems(folder) == []
