"""A headless browser for the pages that FastV writes, spoken to through a pipe; a plugin of the tests."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""The browser reads from file 3 and writes to file 4."""


class Browser:
    """Chromium without a window, by its DevTools protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        arguments = [
            program,
            "--headless=new",
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--disable-background-networking",
            "--window-size=800,700",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ]
        self._errors = (folder / "browser.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(to_read), str(from_write), *arguments],
            pass_fds=(to_read, from_write),
            stdout=self._errors,
            stderr=self._errors,
        )
        os.close(to_read)
        os.close(from_write)
        self._out = os.fdopen(to_write, "wb", 0)
        self._in = os.fdopen(from_read, "rb", 0)
        self._rest = b""
        self._calls = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        (target,) = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], 120)
            received = self._in.read(2**20) if ready else b""
            if not received:
                self._errors.seek(0)
                raise EOFError(self._errors.read()[-2000:])
            self._rest += received
        message, _, self._rest = self._rest.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._calls:
            self._events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path) -> None:
        """Load a page and wait for its first pictures."""
        self._events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._message())
        self.drawn()

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; ``view`` is the first view of it."""
        words = f"(async () => {{ const view = document.querySelector('.fastv-view')?.fastvView; {expression} }})()"
        answer = self.call("Runtime.evaluate", expression=words, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drawn(self) -> None:
        """Wait until all that was asked for is on the screen, in full resolution."""
        for _ in range(300):
            if self.js("return !view || !view.scenes[0].gl || !view.pending && !view.resting"):
                break
            time.sleep(0.05)
        self.js("await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A movement or a button of the mouse."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def problems(self) -> list[str]:
        """Exceptions, errors and warnings of the console, and addresses that were asked for beside the page itself."""
        found = []
        for event in self._events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(str(parameters["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                    found.append(str(parameters["args"]))
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    found.append(str(parameters["entry"]))
                case "Network.requestWillBeSent":
                    url = parameters["request"]["url"]
                    if not url.startswith("data:") and url != parameters["documentURL"]:
                        found.append(url)
        return found

    def screenshot(self) -> np.ndarray[Any, Any]:
        """The window as (height, width, 3)."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image: np.ndarray[Any, Any] = imread(io.BytesIO(data), format="png")[..., :3]
        return image

    def close(self) -> None:
        """End it."""
        with suppress(Exception):
            self._session = None
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()
        self._in.close()
        self._errors.close()


def program() -> str | None:
    """The first browser that is installed."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests; they are skipped where there is none, or none with WebGL 2."""
    found = program()
    if found is None:
        pytest.skip(f"no browser found: {', '.join(BROWSERS)}")
    started = Browser(found, tmp_path_factory.mktemp("browser"))
    try:
        answer = started.call(
            "Runtime.evaluate", expression="!!document.createElement('canvas').getContext('webgl2')", returnByValue=True
        )
        if not answer["result"]["value"]:
            pytest.skip("the browser has no WebGL 2")
        yield started
    finally:
        started.close()
