"""A process that started behind the others serves beside them, in all its threads."""

import os
import subprocess
import sys

import pytest

from cluster.kernel import priority

_BACK = """
import os, threading
from cluster.kernel import priority
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
before = [os.getpriority(os.PRIO_PROCESS, number) for number in (0, thread.native_id)]
priority.restore()
after = [os.getpriority(os.PRIO_PROCESS, number) for number in (0, thread.native_id)]
done.set()
print(before, after)
"""


@pytest.mark.skipif(priority.starting_niceness() == 0, reason="this user may not raise a priority")
def test_every_thread_comes_back_to_normal() -> None:
    started = ["nice", "-n", str(priority.STARTING - os.getpriority(os.PRIO_PROCESS, 0)), sys.executable, "-c", _BACK]
    told = subprocess.run(started, capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"{[priority.STARTING] * 2} [0, 0]"
