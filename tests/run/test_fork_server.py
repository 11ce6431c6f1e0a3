"""The fork server: a copy becomes what whoever asked it for would have become, once, or nothing comes of it."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.run.fork_server import entrance

SERVER = """
import json, os, signal, sys
from pathlib import Path
from cluster.run.fork_server.program import listen, serve

def become(request):
    words = {**request._asdict(), "process": os.getpid(), "group": os.getpgid(0), "parent": os.getppid()}
    words["processors"] = sorted(os.sched_getaffinity(0))
    words["children"] = signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    print(json.dumps(words), flush=True)
    os._exit(0)

listener = listen(Path(sys.argv[1]))
print("listens", flush=True)
serve(listener, become)
"""
ASK = """
import sys
from cluster.run.fork_server.entrance import ask
print("asked" if ask(sys.argv[1], sys.argv[2:], 10.0) else "refused", file=sys.stderr)
"""


class Server:
    """A fork server whose copies say what they were asked."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        command = [sys.executable, "-c", SERVER, self.address]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listens\n"

    def said(self) -> str:
        """The next line of the server or of a copy that became nothing."""
        return str(self.process.stderr.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "fork")
    yield one
    one.stop()


def ask(server: Server, *arguments: str, directory: Path | None = None, **environment: str) -> dict[str, Any]:
    """Ask from a process of its own; what the copy wrote to that process's output."""
    command = [sys.executable, "-c", ASK, server.address, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=directory, capture_output=True, text=True, check=True
    )
    assert done.stderr == "asked\n"
    words: dict[str, Any] = json.loads(done.stdout)
    return words


def test_a_copy_has_the_words_of_whoever_asked(server: Server, tmp_path: Path) -> None:
    words = ask(server, "--worker-id", "ä b", directory=tmp_path, FLOW_TEST="1 \n2")
    assert words["arguments"] == ["--worker-id", "ä b"]
    assert words["environment"]["FLOW_TEST"] == "1 \n2"
    assert words["directory"] == str(tmp_path)
    assert words["parent"] == server.process.pid
    assert words["children"], "it may wait for children of its own"


def test_each_copy_is_a_process_and_a_group_of_its_own(server: Server) -> None:
    first, second = ask(server), ask(server)
    assert first["process"] == first["group"] != second["process"] == second["group"]
    assert server.process.pid not in (first["group"], second["group"])


def test_without_a_fork_server_nothing_is_forked(tmp_path: Path) -> None:
    assert not entrance.ask(str(tmp_path / "nobody"), [], 1.0)


def test_another_module_path_is_not_forked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert not entrance.ask(server.address, [], 5.0)
    assert "another interpreter or module path" in server.said()


def test_another_interpreter_is_not_forked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert not entrance.ask(server.address, [], 5.0)
    assert "another interpreter or module path" in server.said()


def test_another_form_of_request_is_not_forked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "FORM", "1")
    assert not entrance.ask(server.address, [], 5.0)
    assert "another form" in server.said()


def test_where_the_directory_is_gone_nothing_is_forked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert not entrance.ask(server.address, [], 5.0)
    monkeypatch.chdir(tmp_path)
    assert ask(server, "next")["arguments"] == ["next"]


def test_words_that_are_too_many_are_not_sent(server: Server) -> None:
    assert not entrance.ask(server.address, ["x" * entrance.MOST_BYTES], 1.0)
    assert ask(server, "next")["arguments"] == ["next"]


def test_nothing_comes_of_a_request_that_was_given_up(server: Server) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        assert not entrance.ask(server.address, ["late"], 0.05)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert server.said().startswith("no worker:")
    assert ask(server, "next")["arguments"] == ["next"]


def send_nothing(connection: socket.socket) -> None:
    """Only look whether it listens, as the supervisor does."""


def send_no_outputs(connection: socket.socket) -> None:
    connection.sendall((2).to_bytes(entrance.SIZE_BYTES) + b"{}")


def send_an_enormous_size(connection: socket.socket) -> None:
    socket.send_fds(connection, [(2**32 - 1).to_bytes(entrance.SIZE_BYTES)], [0, 1, 2])


def send_half(connection: socket.socket) -> None:
    socket.send_fds(connection, [(100).to_bytes(entrance.SIZE_BYTES)], [0, 1, 2])
    connection.sendall(b"{")


def send_too_few_words(connection: socket.socket) -> None:
    packed = entrance.FORM.encode()
    socket.send_fds(connection, [len(packed).to_bytes(entrance.SIZE_BYTES)], [0, 1, 2])
    connection.sendall(packed)


def send_no_number(connection: socket.socket) -> None:
    packed = entrance.END.join([entrance.FORM, sys.executable, "/", "many"]).encode()
    socket.send_fds(connection, [len(packed).to_bytes(entrance.SIZE_BYTES)], [0, 1, 2])
    connection.sendall(packed)


@pytest.mark.parametrize(
    "send",
    [send_nothing, send_no_outputs, send_an_enormous_size, send_half, send_too_few_words, send_no_number],
)
def test_what_is_not_a_request_harms_nobody(server: Server, send: Callable[[socket.socket], None]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(server.address)
        send(connection)
    if send is not send_nothing:
        assert server.said().startswith("no worker:")
    assert ask(server, "next")["arguments"] == ["next"]


def test_a_socket_that_was_left_is_taken(server: Server, tmp_path: Path) -> None:
    server.stop()
    again = Server(tmp_path / "fork")
    try:
        assert ask(again, "x")["parent"] == again.process.pid
    finally:
        again.stop()


def test_the_entrance_becomes_rays_own_program_where_there_is_no_fork_server() -> None:
    command = [sys.executable, entrance.__file__, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--worker-launch-time-ms" in done.stdout


def test_the_entrance_becomes_rays_own_program_where_there_is_no_flow() -> None:
    """In an interpreter that has Ray and not Flow; `-S` leaves out what would make it found."""
    packages = Path(importlib.util.find_spec("ray").origin).parents[1]
    code = (
        "import runpy, sys; sys.modules['cluster'] = None; import os; "
        "os.execv = lambda program, words: print(*words); "
        f"sys.argv = [{entrance.__file__!r}, 'x']; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {"PYTHONPATH": str(packages), "PATH": os.defpath, entrance.ADDRESS: "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "default_worker.py x" in done.stdout


def test_the_entrance_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import cluster.run.fork_server.entrance; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cluster"], "the package it is imported from, and nothing else"


def test_the_entrance_imports_nothing_that_takes_long(tmp_path: Path) -> None:
    """`-S` leaves out what an installation imports before any program."""
    code = (
        "import sys; from cluster.run.fork_server import entrance; "
        f"assert not entrance.ask({str(tmp_path / 'nobody')!r}, [], 1.0); "
        "print(*{'json', 'pathlib', 're', 'typing', 'importlib.util'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(Path(entrance.__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_everything_that_is_preloaded_leaves_one_thread_and_draws_no_random_numbers() -> None:
    """Ray makes its ids in its own library: two copies must not make the same."""
    code = """
import os
os.environ |= {"RAY_RAYLET_PID": "1", "RAY_JOB_ID": "01000000"}
from cluster.run.fork_server.program import preload
preload()
import random
import ray
assert len(os.listdir("/proc/self/task")) == 1
for _ in range(2):
    if os.fork() == 0:
        print(ray.WorkerID.from_random().hex(), ray.ObjectID.from_random().hex(), random.random(), flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = (line.split() for line in done.stdout.splitlines())
    assert not set(first) & set(second)


def test_copies_start_on_one_processor_and_take_turns(server: Server) -> None:
    first, second = ask(server)["processors"], ask(server)["processors"]
    assert len(first) == len(second) == 1
    assert first != second or len(os.sched_getaffinity(0)) == 1


def test_all_threads_of_a_copy_have_all_processors_after_its_start() -> None:
    code = """
import os
import threading
from cluster.run.fork_server.one_processor import keep_to_one

everywhere = os.sched_getaffinity(0)
keep_to_one(1)
released = threading.Event()
early = threading.Thread(target=released.wait)  # made meanwhile, and so kept with it
early.start()
assert os.sched_getaffinity(early.native_id) == os.sched_getaffinity(0)
for thread in threading.enumerate():
    if isinstance(thread, threading.Timer):  # none where there is one processor
        thread.join()
assert all(os.sched_getaffinity(int(thread)) == everywhere for thread in os.listdir("/proc/self/task"))
released.set()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
