"""Customers who write while `frontdesk run` is killed, and what they must have seen at the end.

`main([POINT, TIMES, ARGUMENT, ...])` is the command line that kills itself (SIGKILL) when a turn comes to that point of
`agent.tracing.POINTS` for that many times.
"""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from agent.tracing import LOGGER
from tests.journeys.crowds import CODE, Crowd, Thread
from tests.journeys.forked import Forked
from tests.servers.model_server import Call, Play, says

QUESTIONS = (
    "How long do I have to write a review after check-out?",
    "When can I write a review of my stay?",
    "Until when may I still add a review?",
)
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def code_of(number: int) -> str:
    """A word that stands for a question: it is said by the customer, and repeated by the model."""
    letters = ""
    for _ in range(3):
        number, rest = divmod(number, len(_CONSONANTS) * len(_VOWELS))
        letters += _CONSONANTS[rest % len(_CONSONANTS)] + _VOWELS[rest // len(_CONSONANTS)]
    return letters


def repeats_codes(pause: float) -> Callable[[Call], Play]:
    """A model whose answer names all that is asked, word by word."""

    def play(call: Call) -> Play:
        asked = call.said.rpartition("<message>")[2].partition("</message>")[0]
        if call.said.startswith("You prepare"):
            return says(" ".join(asked.split()))
        words = "".join(f" ({code})" for code in CODE.findall(asked))
        return says(f"You have 14 days after check-out to write a review.{words} [1]", pause=pause)

    return play


@dataclass
class Customers:
    """`conversations` people who each ask `questions` things, the next when the last is answered; some ask two at once.

    `fresh` bounds how many conversations are under way.
    """

    crowd: Crowd
    conversations: int = 40
    questions: int = 6
    seed: int = 1
    fresh: int = 1_000
    threads: list[Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._number = 0
        self._said: dict[str, float] = {}
        people, channels = self.crowd.settle(10, 5)
        for number in range(self.conversations):
            self.threads.append(Thread(channels[number % 5], people[number % 10]))

    @property
    def all_answered(self) -> bool:
        return all(len(one.codes) == self.questions and self._answered(one) for one in self.threads)

    def go_on(self) -> None:
        """Say what is due."""
        under_way = [one for one in self.threads if len(one.codes) < self.questions or not self._answered(one)]
        for thread in under_way[: self.fresh]:
            if len(thread.codes) < self.questions and self._answered(thread):
                self._say(thread)
                if len(thread.codes) < self.questions and self._dice.random() < 0.1:
                    self._say(thread)

    def _say(self, thread: Thread) -> None:
        code = code_of(self._number * 37 + 5)
        self._number += 1
        thread.codes.append(code)
        self._said[code] = time.monotonic()
        self.crowd.say(thread, f"{self._dice.choice(QUESTIONS)} ({code})")

    def _answered(self, thread: Thread) -> bool:
        if not thread.codes:
            return True
        return any(f"({thread.codes[-1]})" in one.text and one.final for one in self.crowd.replies(thread))

    def complaints(self) -> list[str]:
        """What customers would complain of: no answer, two answers, answers out of order, a piece of an answer.

        Out of order is an answer before that of an earlier question which was safe when the later one was asked.
        """
        found: list[str] = []
        heard = self.crowd.heard(self._said)
        for thread in self.threads:
            replies = self.crowd.replies(thread)
            said = [CODE.findall(reply.text) for reply in replies]
            together = [code for one in said for code in one]
            where = f"{thread.channel}/{thread.root}"
            late = [
                f"{later} before {code}"
                for code, later in combinations(thread.codes, 2)
                if code in together
                and later in together
                and together.index(code) > together.index(later)
                and heard.get(code, math.inf) < self._said[later]
            ]
            if sorted(together) != sorted(thread.codes) or late:
                found.append(f"{where}: asked {thread.codes}, answered {said}")
            found += [f"{where}: unfinished: {reply.text[:80]!r}" for reply in replies if not reply.final]
        return found

    @property
    def replies(self) -> int:
        return sum(len(self.crowd.replies(one)) for one in self.threads)


@contextmanager
def suicidal(point: str, times: int, *arguments: str, log: Path, **settings: str) -> Iterator[Forked]:
    """A process that dies at this point; an ordinary one if the point is empty."""
    dying = ["--die-at", point, str(times)] if point else []
    with log.open("ab") as out, open(os.devnull) as nothing:
        process = Forked([*dying, *arguments], settings, nothing, out, out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def keep_asking(customers: Customers, until: Callable[[], bool], seconds: float) -> bool:
    """Let the customers go on until something is so; false when it did not become so in time."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            return False
        if customers.crowd.listens():
            customers.go_on()
        time.sleep(0.05)
    return True


class _Killer(logging.Handler):
    def __init__(self, point: str, times: int) -> None:
        super().__init__()
        self._point, self._left = point, times

    def emit(self, record: logging.LogRecord) -> None:
        if record.args and isinstance(record.args, tuple) and record.args[0] == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    from connectors.cli import main as frontdesk

    points = logging.getLogger(LOGGER)
    points.setLevel(logging.DEBUG)
    points.propagate = False
    points.addHandler(_Killer(arguments[0], int(arguments[1])))
    frontdesk(list(arguments[2:]))
