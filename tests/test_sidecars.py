"""The ways to start the sidecar that README and config/ show: each runs as it stands, and the agent ends by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import BIN, Commands, assert_trees_equal, clean_environment, read_mirror, wait_until

from ml_logger.agent.config import load_config

ROOT = Path(__file__).parent.parent
(JOB,) = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
USER_DATA = (ROOT / "config/ec2-user-data.sh").read_text("utf-8")
CONTAINERS = json.loads((ROOT / "config/aws-batch-job.json").read_text("utf-8"))["ecsProperties"]["taskProperties"][0]

TRAIN = """
import signal, sys, time
from ml_logger import ML_Logger

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with ML_Logger(sys.argv[1]) as logger:
    for step in range({steps}):
        logger.log(step, loss=1 / (step + 1), silent=True)
        time.sleep({step_s})
sys.exit({code})
"""


class Place:
    """A folder with a training, a token and a receiver, in which a script finds the installed commands."""

    def __init__(self, commands: Commands, folder: Path) -> None:
        self.folder = folder
        self.receiver = commands.start_receiver(folder / "mirror")
        self.config = commands.write_agent_config(None, self.receiver.url)
        (folder / "agent.yaml").write_bytes(self.config.read_bytes())
        (folder / "bin").mkdir()
        (folder / "bin/python").symlink_to(sys.executable)
        self.environment = clean_environment(
            {"PATH": f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}", "TMPDIR": str(folder), "SLURM_JOB_ID": "4711"}
        )
        self.started: list[subprocess.Popen[bytes]] = []

    def write_training(self, *, steps: int = 50, step_s: float = 0.002, code: int = 0) -> None:
        text = TRAIN.format(steps=steps, step_s=step_s, code=code)
        # the tests' own Python by a link does not find its packages
        (self.folder / "train.py").write_text(f"import sys\nsys.path[1:1] = {sys.path!r}\n{text}", encoding="utf-8")

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.started.append(process)
        return process

    def start_job(self) -> subprocess.Popen[bytes]:
        (self.folder / "job.sh").write_text(JOB, encoding="utf-8")
        return self.start("bash", "job.sh")

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def end_all(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def place(commands: Commands, tmp_path: Path) -> Iterator[Place]:
    made = Place(commands, tmp_path)
    yield made
    made.end_all()


@pytest.mark.parametrize("script", [JOB, USER_DATA], ids=["job", "user data"])
def test_scripts_are_shell(script: str) -> None:
    """bash can read them whole."""
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_ends_once_all_is_shipped(place: Place, code: int) -> None:
    """The script ends with the training's exit code, the agent by itself, and the trees are equal."""
    place.write_training(code=code)
    assert place.start_job().wait(60) == code, place.output()
    assert_trees_equal(place.folder / "ml-logs-4711", place.receiver.data_dir)
    assert len(read_mirror(place.receiver.data_dir)[b"run-4711/metrics.jsonl"].splitlines()) == 50
    assert "has ended: what is left is shipped" in place.output()


def test_a_training_that_is_over_at_once_is_shipped(place: Place) -> None:
    """The training may end before the agent has started."""
    place.write_training(steps=1, step_s=0.0)
    assert place.start_job().wait(60) == 0, place.output()
    assert_trees_equal(place.folder / "ml-logs-4711", place.receiver.data_dir)


def test_a_job_at_its_time_limit_ships_what_there_is(place: Place) -> None:
    """SIGTERM to the script ends the training, whose last words are shipped before the script ends with its exit code."""
    place.write_training(steps=100_000)
    job = place.start_job()
    wait_until(lambda: b"run-4711/metrics.jsonl" in read_mirror(place.receiver.data_dir), 30, place.output())
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 7, place.output()
    assert_trees_equal(place.folder / "ml-logs-4711", place.receiver.data_dir)
    assert b'"event":"end"' in read_mirror(place.receiver.data_dir)[b"run-4711/run.jsonl"]


def test_a_job_whose_logs_could_not_be_shipped_says_so(place: Place) -> None:
    """Without a receiver the script ends with the agent's exit code, and the spool holds everything."""
    place.write_training()
    place.receiver.kill()
    with (place.folder / "agent.yaml").open("a", encoding="utf-8") as config:
        config.write("drain_timeout_s: 0.5\n")
    assert place.start_job().wait(60) == 1, place.output()
    assert len((place.folder / "ml-logs-4711/run-4711/metrics.jsonl").read_bytes().splitlines()) == 50


def test_two_containers(place: Place, commands: Commands) -> None:
    """The job definition's two commands, side by side on one volume: the agent ends with 0 after the training has ended."""
    place.write_training(code=3)
    (place.folder / "logs").mkdir()
    train, agent = (
        [
            word.replace("/logs", str(place.folder / "logs")).replace("http://storage:8081", place.receiver.url)
            for word in container["command"]
        ]
        for container in CONTAINERS["containers"]
    )
    token = commands.token_file().read_text(encoding="utf-8").strip()
    sidecar = place.start(*agent, ML_LOGGER_TOKEN=token)
    training = place.start(*train)
    assert training.wait(60) == 3, place.output()
    assert sidecar.wait(60) == 0, place.output()
    assert_trees_equal(place.folder / "logs", place.receiver.data_dir)


def test_the_job_definition_is_one() -> None:
    """Each container has what Batch asks for, the volume is shared, and one container is essential."""
    volumes = {volume["name"] for volume in CONTAINERS["volumes"]}
    containers = CONTAINERS["containers"]
    assert [container["essential"] for container in containers] == [False, True]
    for container in containers:
        assert {mount["sourceVolume"] for mount in container["mountPoints"]} == volumes
        assert {need["type"] for need in container["resourceRequirements"]} == {"VCPU", "MEMORY"}


STUBS = {
    "python3": 'mkdir -p "$3/bin"; printf "#!/bin/sh\\nexit 0\\n" > "$3/bin/pip"; chmod +x "$3/bin/pip"',
    "aws": "echo a-token-for-tests",
    "systemctl": 'echo "systemctl $*"',
}


def test_user_data_sets_up_a_service_that_ships(place: Place) -> None:
    """Run with stubs for what a test can't have, it leaves a config and a unit whose command ships with its token."""
    root = place.folder / "root"
    for folder in ("etc/systemd/system", "opt", "var/lib"):
        (root / folder).mkdir(parents=True)
    for name, body in STUBS.items():
        (place.folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (place.folder / "bin" / name).chmod(0o755)
    script = re.sub(r"(?<![\w.])/(etc|opt|var)/", rf"{root}/\1/", USER_DATA)
    script = script.replace("user=ec2-user ", f"user={os.getuid()} ")
    script = script.replace("https://storage.example.com:8081", place.receiver.url)
    assert place.start("bash", "-c", script).wait(60) == 0, place.output()
    assert "systemctl enable --now ml-logger-agent" in place.output()
    token = root / "etc/ml-logger/token"
    assert (token.read_text(encoding="utf-8"), token.stat().st_mode & 0o777) == ("a-token-for-tests\n", 0o600)
    config = load_config(root / "etc/ml-logger/agent.yaml", {}, {})
    assert (config.spot_notice, config.token_file) == (True, token)
    unit = (root / "etc/systemd/system/ml-logger-agent.service").read_text(encoding="utf-8")
    stop_s = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop_s is not None
    assert int(stop_s[1]) > config.drain_timeout_s
    started = re.search(r"ExecStart=\S+/ml-logger-agent (.*)", unit)
    assert started is not None
    (config.spools()[0] / "metrics.jsonl").write_bytes(b"{}\n")
    agent = place.start("ml-logger-agent", *started[1].split(), "--once")
    assert agent.wait(60) == 0, place.output()
    assert read_mirror(place.receiver.data_dir) == {f"{os.uname().nodename}/metrics.jsonl".encode(): b"{}\n"}
