"""Chromium without a window, steered through chromedriver's own protocol."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


class Browser:
    """A session of chromedriver."""

    def __init__(self, address, profile):
        self.address = address
        chrome = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": chromium()}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self.ask("session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"session/{answer['sessionId']}"

    def ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path, size=(1000, 700)):
        self.ask(f"{self.session}/window/rect", {"width": size[0], "height": size[1]})
        self.ask(f"{self.session}/url", {"url": path.resolve().as_uri()})

    def run(self, script):
        return self.ask(f"{self.session}/execute/sync", {"script": script, "args": []})

    def wait(self, script, seconds=60):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({script})"):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.1)

    def problems(self):
        """What the console was told that is worse than information."""
        log = self.ask(f"{self.session}/se/log", {"type": "browser"})
        return [
            line["message"]
            for line in log
            if line["level"] in ("WARNING", "SEVERE") and "GPU stall" not in line["message"]
        ]

    def screenshot(self):
        """The page as the bytes of a PNG."""
        return base64.b64decode(self.ask(f"{self.session}/screenshot"))

    def close(self):
        self.ask(self.session, method="DELETE")


def chromium():
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@contextmanager
def browser(folder):
    """A browser, or a skipped test where there is none."""
    driver = shutil.which("chromedriver")
    if not driver or not chromium():
        pytest.skip("needs chromium and chromedriver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        session = Browser(f"http://127.0.0.1:{port}", folder / "profile")
        try:
            yield session
        finally:
            session.close()
    finally:
        process.terminate()
        process.wait(10)
