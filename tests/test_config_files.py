"""The files in config/ that services, containers and Kubernetes start from: each is valid, and what it starts runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from processes import BIN, Commands, assert_trees_equal, clean_environment, wait_until

from ml_logger.agent.config import AgentConfig
from ml_logger.server.config import ServerConfig

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
UNITS = ["ml-logger-server.service", "ml-logger-agent.service"]
STOPS_WITHIN_S = {"server": ServerConfig(Path()).stop_timeout_s, "agent": AgentConfig(Path(), "").drain_timeout_s}
COMPOSE = yaml.safe_load((CONFIG / "compose.yaml").read_text(encoding="utf-8"))
MANIFEST = {one["kind"]: one for one in yaml.safe_load_all((CONFIG / "kubernetes-sidecar.yaml").read_text("utf-8"))}

AS_ROOT_ONLY = {"fchown"}
"""What SQLite asks for as root, as tests may run, and never as the units' user."""


# --- systemd


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a unit whose command is the installed one."""
    text = (CONFIG / request.param).read_text(encoding="utf-8").replace("/opt/ml-logger/bin", str(BIN))
    (tmp_path / request.param).write_text(text, encoding="utf-8")
    return Path(tmp_path / request.param)


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, or skip the test."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


def test_systemd_takes_the_units(unit: Path) -> None:
    """systemd knows every key and value, and finds the command."""
    result = analyze("verify", "--man=no", unit)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_units_are_hardened(unit: Path) -> None:
    """systemd counts an exposure of at most 2.0 of 10."""
    result = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit)
    assert result.returncode == 0, result.stdout[-300:]


def test_services_are_given_the_time_they_take_to_stop(unit: Path) -> None:
    """Nobody is killed while it finishes, and what a person has to mend is not tried for ever."""
    text = unit.read_text(encoding="utf-8")
    stop_s = re.search(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert stop_s is not None
    assert int(stop_s[1]) > STOPS_WITHIN_S[unit.stem.removeprefix("ml-logger-")]
    assert "\nRestartPreventExitStatus=2\n" in text


def test_both_ask_the_kernel_for_nothing_that_their_units_forbid(commands: Commands, tmp_path: Path) -> None:
    """Every system call of a receiver and an agent that ship something and stop is one that the units let through."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    allowed = system_calls("@system-service") - system_calls("@privileged")
    traces = [tmp_path / "receiver.trace", tmp_path / "agent.trace"]
    traced, traced_too = (("strace", "-D", "-f", "-c", "-o", str(trace)) for trace in traces)
    receiver = commands.start_receiver(tmp_path / "mirror", before=traced)
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/metrics.jsonl").write_bytes(b"{}\n" * 1000)
    (spool / "run/model.pt").write_bytes(bytes(2 << 20))
    commands.drain(commands.write_agent_config(spool, receiver.url), before=traced_too)
    assert receiver.running.terminate() == 0
    for trace, telling in zip(traces, ("fdatasync", "flock"), strict=True):
        wait_until(lambda trace=trace: trace.exists() and "total" in trace.read_text(encoding="utf-8"))
        used = {line.split()[-1] for line in trace.read_text(encoding="utf-8").splitlines()[2:-2]}
        assert {"openat", telling} <= used
        assert used - AS_ROOT_ONLY <= allowed, used - allowed


def system_calls(group: str) -> set[str]:
    """Return the calls of one of systemd's groups, those of the groups in it too."""
    found: set[str] = set()
    for line in analyze("syscall-filter", "--no-pager", group).stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= system_calls(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


# --- containers


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the Containerfile's instructions and what follows them."""
    for line in (CONFIG / "Containerfile").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest


def last(word: str) -> str:
    """Return what follows the last instruction of that name."""
    return [rest for name, rest in instructions() if name == word][-1]


def test_the_image_is_not_roots() -> None:
    """Its user is a number above 0, which owns its folders; every instruction is one, and what is copied is the repository."""
    known = {"FROM", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in instructions()} == known
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert f"-o {user} -g {group} {last('VOLUME')} " in last("RUN")
    assert ("COPY", ". /source") in list(instructions())


def test_the_image_serves_and_knows_its_health(commands: Commands, tmp_path: Path) -> None:
    """Its command, with a folder and a token, is a receiver that its health check finds well, and gone when it is gone."""
    words = json.loads(last("CMD"))
    ours = {"/data": str(tmp_path / "data"), "0.0.0.0": "127.0.0.1", words[-1]: str(commands.token_file())}
    receiver = commands.start_receiver(tmp_path / "data", *[ours.get(word, word) for word in words[1:]])
    check = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    script = check[2].replace(":8081", f":{receiver.address[1]}")
    assert script != check[2]
    assert commands.run("python", check[1], script).wait() == 0
    receiver.kill()
    assert subprocess.run([BIN / "python", check[1], script], capture_output=True, timeout=60).returncode == 1


def test_the_compose_file_is_one() -> None:
    """It follows the compose specification, and every volume and secret that a service names is there."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", CONFIG / "compose.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    services = COMPOSE["services"].values()
    assert {volume.split(":")[0] for service in services for volume in service["volumes"]} == set(COMPOSE["volumes"])
    assert {secret for service in services for secret in service.get("secrets", ())} == set(COMPOSE["secrets"])
    assert (CONFIG / COMPOSE["services"]["receiver"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / COMPOSE["services"]["receiver"]["build"]["dockerfile"]).is_file()


def test_what_compose_starts_ships(commands: Commands, tmp_path: Path) -> None:
    """The training's and the agent's commands, on one folder, leave the whole run on the receiver, and both end with 0."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    ours = {
        "/spool": str(spool),
        "http://receiver:8081": receiver.url,
        "/run/secrets/ml-logger-token": str(commands.token_file()),
        "$$": "$",
    }
    train, agent = (
        [re.sub("|".join(map(re.escape, ours)), lambda found: ours[found[0]], word) for word in service["command"]]
        for service in (COMPOSE["services"]["train"], COMPOSE["services"]["agent"])
    )
    sidecar = commands.start(agent[0], *agent[1:])
    environment = clean_environment({"PATH": f"{BIN}:{os.environ['PATH']}"})
    assert subprocess.run(train, env=environment, capture_output=True, timeout=60).returncode == 0
    assert sidecar.wait() == 0, sidecar.tail()
    assert_trees_equal(spool, receiver.data_dir)
    assert (receiver.data_dir / "run1/metrics.jsonl").read_bytes().count(b"\n") == 100


# --- Kubernetes


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_the_manifest(version: str) -> None:
    """Every field is known and of its type, in the oldest version with sidecars and in a new one."""
    command = [BIN / "kubernetes-validate", "--strict", "-k", version, CONFIG / "kubernetes-sidecar.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, "ERROR" in result.stdout + result.stderr) == (0, False), result.stdout + result.stderr


def test_the_parts_of_the_manifest_fit() -> None:
    """The service finds the receiver, each mount has its volume, the agent is a sidecar, and both have time to stop."""
    receiver = MANIFEST["StatefulSet"]["spec"]["template"]
    job = MANIFEST["Job"]["spec"]["template"]["spec"]
    assert receiver["metadata"]["labels"] == MANIFEST["Service"]["spec"]["selector"]
    (agent,), (train,) = job["initContainers"], job["containers"]
    assert agent["restartPolicy"] == "Always"
    server = urlsplit(agent["command"][agent["command"].index("--server") + 1])
    assert (server.hostname, server.port) == (
        MANIFEST["Service"]["metadata"]["name"],
        MANIFEST["Service"]["spec"]["ports"][0]["port"],
    )
    volumes = {volume["name"] for volume in job["volumes"]}
    assert {mount["name"] for one in (agent, train) for mount in one["volumeMounts"]} == volumes
    assert job["terminationGracePeriodSeconds"] > STOPS_WITHIN_S["agent"]
    assert receiver["spec"]["terminationGracePeriodSeconds"] > STOPS_WITHIN_S["server"]
    assert_unprivileged(receiver["spec"], receiver["spec"]["containers"])
    assert_unprivileged(job, [agent, train])


def test_the_probes_ask_what_they_are_for() -> None:
    """No requests come where they would be refused; a receiver is started again only where it does not answer at all."""
    (receiver,) = MANIFEST["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    probes = {name: receiver[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")}
    assert probes == {"readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def assert_unprivileged(pod: dict[str, Any], containers: list[dict[str, Any]]) -> None:
    """Assert what Kubernetes calls the restricted standard, and a root file system that is read-only."""
    user = int(last("USER").split(":")[0])
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, user)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers:
        confined = container["securityContext"]
        assert (confined["allowPrivilegeEscalation"], confined["capabilities"]) == (False, {"drop": ["ALL"]})
        assert confined["readOnlyRootFilesystem"] is True


# --- shell


def test_shell_files_pass_shellcheck() -> None:
    """shellcheck finds nothing in any of them."""
    files = [*CONFIG.glob("*.sh"), ROOT / ".ci/run"]
    result = subprocess.run([BIN / "shellcheck", *files], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")
    assert len(files) > 1
