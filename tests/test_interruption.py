"""Signals: noticed even where Python swallows an exception, and a second one ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from fastv import interruption

if sys.platform == "win32":
    pytest.skip("needs POSIX signals", allow_module_level=True)


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Those of Python, whatever a library has installed in this process: dask-jobqueue does so when it is imported."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Doomed:
    """Gets a signal in its destructor, where Python swallows every exception."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        for _ in range(1000):  # the signal is handled between two steps of Python
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_swallowed_signal_is_raised_at_the_next_safe_place(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with interruption.handled():
        interruption.check()
        doomed = Doomed(number)
        del doomed
        assert interruption.received() == number
        thread = threading.Thread(target=interruption.check)  # only the main thread is interrupted
        thread.start()
        thread.join()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert capfd.readouterr().err == ""


def test_a_signal_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interruption.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass


def test_handlers_are_as_before_and_those_of_others_stay() -> None:
    before = signal.getsignal(signal.SIGTERM)
    mine = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.handled():
            assert signal.getsignal(signal.SIGTERM) is not before
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGHUP, mine)


def test_a_second_signal_ends_a_process_that_hangs() -> None:
    code = (
        "import os, signal, time\nfrom fastv import interruption\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interruption.handled():\n"
        "    for _ in range(2):\n"
        "        try:\n            os.kill(os.getpid(), signal.SIGINT); time.sleep(20)\n"
        "        except KeyboardInterrupt: pass\n"
        "    time.sleep(20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\n")
