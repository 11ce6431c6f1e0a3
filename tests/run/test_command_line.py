"""The command line as scripts use it, where nothing needs to run: exit codes, streams, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.run.cli.main import app

FLOW = Path(sys.executable).parent / "flow"


def run(*arguments: str) -> Result:
    """The command inside this process; its streams are kept apart."""
    return CliRunner().invoke(app, arguments)


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, as a shell runs it."""
    return subprocess.run([str(FLOW), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["down"],
        ["token", "ada"],
        ["train"],
        ["outbox", "list"],
        ["outbox", "causes", "--json"],
        ["outbox", "replay", "--all"],
        ["import", "events", "file"],
        ["import", "interactions", "file"],
    ],
    ids=" ".join,
)
def test_what_needs_a_running_flow_says_that_there_is_none(command: list[str], tmp_path: Path) -> None:
    done = run(*command, "--data-dir", str(tmp_path / "nothing"))
    assert done.exit_code == 3, done.stderr
    assert done.stderr.startswith("flow: No Flow runs for")
    assert done.stderr.endswith("[not_running]\n")
    if "--json" in command:
        assert json.loads(done.stdout)["error"]["code"] == "not_running"
    else:
        assert done.stdout == ""
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("command", [["nothing"], ["up", "--port", "many"], ["token"], ["outbox", "replay"]])
def test_wrong_use_is_exit_code_two(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*command).exit_code == 2


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_settings_file_that_cannot_be_used_stops_the_start(detach: list[str], tmp_path: Path) -> None:
    path = tmp_path / "ray_config.yaml"
    path.write_text("flow:\n  prot: 9\n")
    done = run_program("up", *detach, "--config", str(path), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "flow.prot in ray_config.yaml is not a setting. Did you mean flow.port? [settings_invalid]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_settings_file_of_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray_config.yaml").write_text("flow:\n  prot: 9\n")
    monkeypatch.chdir(tmp_path)
    assert "flow.prot" in run("up", "--data-dir", str(tmp_path / "data")).stderr


def test_doctor_looks_without_changing_anything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = run("doctor", "--json", "--port", "0", "--data-dir", str(data))
    report = json.loads(done.stdout)
    assert {check["name"] for check in report["checks"]} >= {"python", "settings", "mongod", "redis-server", "port"}
    assert report["ok"] is (done.exit_code == 0)
    assert not data.exists()


def test_doctor_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray_config.yaml").write_text("flow:\n  hosts: 0\n")
    monkeypatch.chdir(tmp_path)
    done = run("doctor", "--data-dir", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "flow.hosts in ray_config.yaml is 0" in done.stdout


def test_models_can_be_listed_without_a_running_flow(tmp_path: Path) -> None:
    done = run("models", "list", "--json", "--data-dir", str(tmp_path))
    assert json.loads(done.stdout) == {"live": None, "versions": []}
    assert run("models", "promote", "nothing", "--data-dir", str(tmp_path)).exit_code == 1
