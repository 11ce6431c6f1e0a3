"""A whole Flow under the hands of an operator: what dies comes back, what stops is gone, what cannot start says why."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.run.installation import Installation
from tests.support.flow_process import FLOW, FlowProcess, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowProcess]:
    running = FlowProcess(tmp_path_factory.mktemp("flow"))
    running.up("--no-recommender", "--edges", "2")
    yield running
    running.down()


def member(flow: FlowProcess, name: str) -> dict[str, Any]:
    [found] = [one for one in flow.status()["members"] if one["name"] == name]
    return found


def eventually(look: Callable[[], bool], what: str) -> None:
    """Look until it is so. Each look is a process or a request, which is pause enough."""
    begun = time.monotonic()
    while not look():
        assert time.monotonic() - begun < PATIENCE_S, what


def answers(flow: FlowProcess, path: str = "/readyz") -> bool:
    try:
        with urllib.request.urlopen(flow.url + path, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("name", ["host-0", "edge-1"])
def test_a_killed_process_is_back_as_a_new_one(flow: FlowProcess, name: str) -> None:
    before = member(flow, name)
    flow.kill(name)

    def is_back() -> bool:
        now = member(flow, name)
        return now["state"] == "running" and now["incarnation"] != before["incarnation"]

    eventually(is_back, f"{name} did not come back")
    eventually(lambda: answers(flow), "not ready again")
    after = member(flow, name)
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


def test_a_process_that_no_longer_answers_is_replaced(flow: FlowProcess) -> None:
    before = member(flow, "edge-0")
    os.kill(before["pid"], signal.SIGSTOP)
    try:
        eventually(lambda: member(flow, "edge-0")["incarnation"] != before["incarnation"], "edge-0 was not replaced")
    finally:
        stopped = [process for process in psutil.process_iter() if process.pid == before["pid"]]
        assert not stopped or stopped[0].status() == psutil.STATUS_ZOMBIE


def test_hosts_and_edges_are_copies_of_the_fork_server(flow: FlowProcess) -> None:
    def are_copies() -> bool:
        status = flow.status()
        copies = {process.pid for process in psutil.Process(status["embedded"]["Fork server"]["pid"]).children()}
        members = [member.get("pid") for member in status["members"]]
        return len(members) >= 3 and copies.issuperset(members)

    eventually(are_copies, "they are not")


@pytest.mark.parametrize("name", ["MongoDB", "Redis", "Fork server"])
def test_an_embedded_server_that_was_killed_is_back(flow: FlowProcess, name: str) -> None:
    before = flow.kill(name)

    def is_back() -> bool:
        server = flow.status()["embedded"][name]
        return server["alive"] and server["pid"] != before

    eventually(is_back, f"{name} did not come back")
    eventually(lambda: answers(flow), "not ready again")


def test_what_the_fork_server_made_is_still_ours_when_it_is_gone(flow: FlowProcess) -> None:
    member_pids = {member["pid"] for member in flow.status()["members"]}
    flow.kill("Fork server")
    flow.kill("host-0")
    eventually(lambda: answers(flow), "not ready again")
    status = flow.status()
    assert {row["pid"] for row in status["processes"]} >= {member["pid"] for member in status["members"]}
    gone = member_pids - {member["pid"] for member in status["members"]}
    assert gone
    assert not any(psutil.pid_exists(pid) for pid in gone), "the dead are buried"


def test_the_token_alone_is_printed_and_opens_the_door(flow: FlowProcess) -> None:
    done = flow.run("token", "somebody")
    assert done.stdout.count("\n") == 1
    request = urllib.request.Request(
        f"{flow.url}/v1/users/me", headers={"Authorization": f"Bearer {done.stdout.strip()}"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        assert json.load(response)["username"] == "somebody"


def test_no_secret_is_in_any_file_that_others_may_read(flow: FlowProcess) -> None:
    lines = (flow.data / "secrets.env").read_text().splitlines()
    values = [line.partition("=")[2] for line in lines if not line.startswith("#")]
    assert len(values) == 2
    for path in [flow.data / "flow.json", *(flow.data / "logs").glob("*.log")]:
        text = path.read_text(errors="replace")
        assert not any(value in text for value in values), path
        assert "eyJ" not in text, path
    status = json.dumps(flow.status())
    assert not any(value in status for value in values)


def test_up_again_says_where_the_other_one_is(flow: FlowProcess) -> None:
    done = flow.run("up", "--detach", "--port", "0", check=False)
    assert done.returncode == 1
    assert flow.url in done.stderr
    assert "[data_directory_in_use]" in done.stderr


def test_in_the_foreground_it_stays_until_interrupted_and_leaves_nothing(tmp_path: Path) -> None:
    command = [str(FLOW), "up", "--json", "--no-recommender", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said: list[str] = []
        drain = threading.Thread(target=lambda: said.append(process.stderr.read()))
        drain.start()
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, said
            text += line
        summary = json.loads(text)
        assert summary["url"].endswith(str(summary["port"]))
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) > 5
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - begun <= 10.0
        drain.join()
    _, alive = psutil.wait_procs(family, timeout=0)
    assert not alive
    assert not Installation(tmp_path / "data").is_locked()


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_cut_off_leaves_nothing(tmp_path: Path, stopped_by: signal.Signals) -> None:
    command = [str(FLOW), "up", "--no-recommender", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        own = psutil.Process(process.pid)
        eventually(lambda: len(own.children(recursive=True)) >= 4, "nothing was started")
        family = own.children(recursive=True)
        process.send_signal(stopped_by)
        process.wait(timeout=20)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [one.cmdline() for one in alive]


def test_a_database_that_is_away_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    nowhere = FlowProcess(
        tmp_path / "data", MONGODB_URI=f"mongodb://user:hunter2@127.0.0.1:{free_port()}/?directConnection=true"
    )
    done = nowhere.run("up", "--detach", "--port", "0", "--no-recommender", check=False)
    assert done.returncode == 1
    assert "MongoDB did not answer" in done.stderr
    assert "[start_failed]" in done.stderr
    assert "hunter2" not in done.stderr + nowhere.tail()
    assert not Installation(nowhere.data).is_locked()


def test_production_names_its_own_servers_and_secrets(tmp_path: Path) -> None:
    path = tmp_path / "ray_config.yaml"
    path.write_text("flow:\n  environment: production\n  port: 0\n")
    bare = FlowProcess(tmp_path / "data")
    assert "FLOW_JWT_SECRET is not set" in bare.run("up", "--config", str(path), check=False).stderr
    signed = FlowProcess(tmp_path / "data", FLOW_JWT_SECRET="j" * 32, FLOW_CLUSTER_SECRET="c" * 32)
    assert "MONGODB_URI and REDIS_URL are not set" in signed.run("up", "--config", str(path), check=False).stderr
