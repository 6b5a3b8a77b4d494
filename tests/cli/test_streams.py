"""Standard streams that are closed, full or in another encoding, and text that would control a terminal."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastv import cli
from fastv.cli import streams
from fastv.errors import printable

FULL = Path("/dev/full")


def run(code: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in which ``say(text)`` is a command line that prints a text, with a redirection of the shell."""
    start = (
        "import sys\nfrom fastv.cli.streams import guarded\n@guarded\ndef say(text):\n    print(text)\n    return 0\n"
    )
    command = ["/bin/sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, start + code]
    changed = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=changed)


pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs a shell and /dev/full")


@pytest.mark.parametrize("text", ["'short'", "'x' * 10**6"])
def test_results_that_cannot_be_written_are_an_error(text: str) -> None:
    done = run(f"sys.exit(say({text}))", ">/dev/full")
    assert done.returncode == 2
    assert done.stderr == f"fastv: cannot write to standard output: {os.strerror(errno.ENOSPC)}\n"


def test_a_closed_output_takes_no_part_in_files() -> None:
    """Without a replacement, the next file that is opened would be standard output."""
    code = "import os\n@guarded\ndef go(_):\n    sys.exit(os.open('/dev/null', os.O_RDONLY))\ngo()"
    assert run(code, ">&-").returncode == 3
    assert run("sys.exit(say('a'))", ">&-").returncode == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_progress_that_cannot_be_written_ends_nothing(redirection: str) -> None:
    code = (
        "from tqdm import tqdm\n@guarded\ndef go(_):\n"
        "    for _ in tqdm(range(3)): pass\n    print('oh', file=sys.stderr, flush=True)\n"
        "    print('done')\n    return 0\n"
        "sys.exit(go())"
    )
    done = run(code, redirection)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_an_encoding_that_lacks_characters() -> None:
    done = run("sys.exit(say('1 \\u00b1 2 \\u00d7 3 \\u2202'))", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "1 +- 2 x 3 \\u2202\n")
    assert run("sys.exit(say('1 \\u00b1 2'))", PYTHONIOENCODING="utf-8").stdout == "1 ± 2\n"


def test_streams_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)

    @streams.guarded
    def command(_: object) -> int:
        print("hello")
        return 7

    assert command() == 7
    assert mine.getvalue() == "hello\n"
    assert sys.stdout is mine


def test_names_of_files_do_not_control_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["info", str(tmp_path / "a\x1b[2J\nb\u202e.h5")]) == 2
    assert "a\\x1b[2J\\nb\\u202e.h5: no such file\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["ev\x1b[2J"])
    assert "\x1b" not in capsys.readouterr().err


def test_printable_keeps_what_is_harmless() -> None:
    assert printable("1 ± 2 µm, 'a b'") == "1 ± 2 µm, 'a b'"
