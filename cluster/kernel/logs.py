"""Where log lines go and what they look like; configured once by whoever composes a process.

A line is: time in UTC, level, process, logger, text. Files rotate, so logs have a bound. Secrets never reach a line:
credentials inside URLs and bearer tokens are cut out of the text, wherever it came from. Nothing else in the project
adds a handler.
"""

import logging
import re
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 10 * 1024 * 1024
KEPT_FILES: Final = 3

_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]*@", re.IGNORECASE)
_TOKEN = re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]+")


def redacted(text: str) -> str:
    """The text without credentials in URLs and without tokens."""
    return _TOKEN.sub("[token]", _CREDENTIALS.sub(r"\g<scheme>[credentials]@", text))


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {process} %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def configure(process: str, level: str, directory: Path | None) -> None:
    """Send this process's log to `<directory>/<process>.log`, or to standard error when there is no such directory."""
    handler: logging.Handler
    if directory is not None and directory.is_dir():
        handler = RotatingFileHandler(
            directory / f"{process}.log", maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, delay=True
        )
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("flow").setLevel(level.upper())


def adopt(*names: str) -> None:
    """Send what these libraries log on their own where everything else goes; from WARNING on."""
    for name in names:
        logger = logging.getLogger(name)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def rotate(path: Path) -> None:
    """For a log that another program writes: set it aside before that program starts, when it has grown too large."""
    if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
        path.replace(path.with_suffix(f"{path.suffix}.1"))
