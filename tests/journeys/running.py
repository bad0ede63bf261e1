"""`frontdesk run` as a process of its own, with the local Slack or Discord."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.journeys.forked import Forked
from tests.servers.discord import DiscordServer
from tests.servers.slack import SlackServer

FRONTDESK = Path(sys.executable).with_name("frontdesk")
START_SECONDS = 60.0


def tokens(slack: SlackServer) -> dict[str, str]:
    """What a `.env` would hold for the local Slack."""
    return {
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "SLACK_API_URL": slack.api_url,
    }


def discord_token(discord: DiscordServer) -> dict[str, str]:
    """The same for the local Discord."""
    return {
        "DISCORD_TOKEN": discord.token,
        "DISCORD_API_URL": discord.api_url,
        "DISCORD_GATEWAY_URL": discord.gateway_url,
    }


def environment(data: Path, **settings: str) -> dict[str, str]:
    """Settings of a process: quoted answers by keywords, and a port for health that is free."""
    usual = {"FRONTDESK_EMBEDDER": "none", "FRONTDESK_MODEL": "quotes", "FRONTDESK_HEALTH_ADDRESS": "127.0.0.1:0"}
    return {**os.environ, "FRONTDESK_DATA": str(data), **usual, **settings}


class Running:
    """A process, and what it printed so far. `anew`: with its imports, which take long."""

    def __init__(self, settings: Mapping[str, str], *arguments: str, anew: bool = True) -> None:
        self.process: subprocess.Popen[bytes] | Forked
        if anew:
            self.process = started = subprocess.Popen(
                [FRONTDESK, *arguments], env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            streams: tuple[IO[bytes] | None, ...] = (started.stdout, started.stderr)
        else:
            (out, to_out), (errors, to_errors) = os.pipe(), os.pipe()
            with open(os.devnull) as nothing, open(to_out, "wb") as made, open(to_errors, "wb") as failed:
                self.process = Forked(arguments, settings, nothing, made, failed)
            streams = (os.fdopen(out, "rb"), os.fdopen(errors, "rb"))
        self._out: list[str] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in zip(streams, (self._out, self._errors), strict=True)
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.decode("utf-8"))

    @property
    def out(self) -> str:
        return "".join(self._out)

    @property
    def errors(self) -> str:
        return "".join(self._errors)

    def said(self, words: str, seconds: float = START_SECONDS) -> str:
        """The line with these words, once it is there."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for line in list(self._out):
                if words in line:
                    return line.strip()
            assert self.process.poll() is None, f"it ended: {self.errors}"
            time.sleep(0.05)
        raise AssertionError(f"it did not say {words!r}, but:\n{self.out}\n{self.errors}")

    def get(self, path: str) -> tuple[int, Any]:
        """What the health server says."""
        url = self.said("Health: ").removeprefix("Health: ").removesuffix("/healthz")
        try:
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read().decode()
        return status, body if path == "/metrics" else json.loads(body)

    def ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until every part works."""
        ends = time.monotonic() + seconds
        while (told := self.get("/readyz"))[0] != 200:
            assert time.monotonic() < ends, f"not ready: {told}\n{self.errors}"
            time.sleep(0.1)

    def ended(self, seconds: float = 40.0) -> int:
        """The exit status, once it ended."""
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        assert "Traceback" not in self.out + self.errors
        return status

    def stop(self) -> int:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()


@contextmanager
def running(*arguments: str, **settings: str) -> Iterator[Running]:
    """A process that is gone at the end, however the test went."""
    started = Running(settings, *(arguments or ("run",)))
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait(10)
