"""Running the command: within this process, which has all imports, or in one of its own, to be killed."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from advdepth_nb.apps import cli


def command(*words, data: Path) -> subprocess.CompletedProcess:
    """`advdepth WORDS` with the worlds kept in `data`: its exit status, and what it said."""
    told, complained, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, ADVDEPTH_DATA=str(data)),
        mock.patch.object(sys, "argv", ["advdepth", *map(str, words)]),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(complained),
    ):
        try:
            cli.main()
        except SystemExit as done:
            code = done.code or 0
    return subprocess.CompletedProcess(sys.argv, code, told.getvalue(), complained.getvalue())


def run(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """`advdepth WORDS` in a test of its own: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["advdepth", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    told = capsys.readouterr()
    return done.value.code, told.out, told.err


def start(*words, data: Path) -> subprocess.Popen:
    """The same as a user starts it in a terminal, where Ctrl-C is heard even if these tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "advdepth_nb", *map(str, words)], env={**os.environ, "ADVDEPTH_DATA": str(data)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen, seconds=900):
    begun = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - begun < seconds, f"{path} never came"
        time.sleep(0.02)
