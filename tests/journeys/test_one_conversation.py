"""The same conversation on every platform: the customer sees the same words, the same sources, and the same controls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from connectors import wording
from tests.journeys import forked
from tests.journeys.discord_house import DiscordHouse, discord_housing
from tests.journeys.house import PERSON, PETS, QUESTION, House, housing, sync

SCRIPT = (QUESTION, PETS, "How do I teach my parrot to ski?", PERSON)
CONTROLS = {getattr(wording, name) for name in ("HELPFUL", "UNHELPFUL", "PERSON", "SOLVED", "STOP", "SHARE")}
ANSWERED = [wording.HELPFUL, wording.UNHELPFUL, wording.PERSON, wording.SOLVED]
HANDED_OVER = [wording.SOLVED]


@dataclass(frozen=True)
class Shown:
    """What a customer sees of one reply. `sources` are number, title and address of each."""

    words: str
    sources: tuple[tuple[str, str, str], ...]
    controls: tuple[str, ...]


_SOURCES = (
    re.compile(r"\[(\d+)\] <(?P<url>[^|>]+)\|(?P<title>[^>]+)>"),  # Slack
    re.compile(r"\[(\d+)\] \[(?P<title>[^\]]+)\]\(<(?P<url>[^>]+)>\)"),  # Discord
    re.compile(r"\[(\d+)\] (?P<title>.+?) - (?P<url>\S+)"),  # the terminal
)


def shown(text: str, labels: list[str] | None = None) -> Shown:
    """What all the text of a reply says. `labels` are those of its buttons, if they are not in the text."""
    words, sources, controls = [], [], [*(labels or [])]
    for line in text.split("\n"):
        found = next(filter(None, (pattern.match(line) for pattern in _SOURCES)), None)
        if found is not None:
            sources.append((found[1], found["title"], found["url"]))
        elif line.strip() in CONTROLS:
            controls += [line.strip()] if labels is None else []
        elif not line.startswith("(hand-off to a person, because"):
            words.append(line)
    plain = re.sub(r"[*_`\\]|(?<=[\w)])\u2060", "", " ".join(" ".join(words).split()))
    return Shown(plain, tuple(sources), tuple(controls))


def in_the_terminal(house: House) -> list[Shown]:
    """Each reply is told apart by asking one thing at a time, in one conversation."""
    typed = "\n".join(SCRIPT) + "\n"
    done = forked.run(["chat"], house.settings | {"FRONTDESK_DATA": str(house.data)}, typed.encode())
    assert done.returncode == 0, done.stderr.decode()
    return [shown(reply) for reply in re.split(r"\n\n(?=\S)(?!\[\d)", done.stdout.decode().strip())]


def in_slack(house: House) -> list[Shown]:
    slack = house.slack
    ann, room, ts = house.ask(SCRIPT[0])
    for number, text in enumerate(SCRIPT):
        if number:
            slack.say(ann, room, text, thread_ts=ts)

        def answered(number: int = number) -> bool:
            return sum(wording.SOLVED in one.text for one in slack.replies_to(room, ts)) > number

        slack.wait_for(answered, 20)
    return [shown(one.text) for one in slack.replies_to(room, ts)]


def in_discord(house: DiscordHouse) -> list[Shown]:
    ann, _, asked = house.ask(SCRIPT[0])
    for number, text in enumerate(SCRIPT):
        if number:
            house.discord.say(ann, asked, text)
        house.final(asked, number=number + 1)
    return [shown(one.text, one.labels) for one in house.replies(asked)]


def test_the_same_is_seen_in_the_terminal_in_slack_and_in_discord(tmp_path: Path) -> None:
    for name in ("synced", "slack", "discord"):
        (tmp_path / name).mkdir()
    synced = sync(tmp_path / "synced")
    with housing(synced, tmp_path / "slack") as house:
        terminal = in_the_terminal(house)
        slack = in_slack(house)
        house.unharmed()
    with discord_housing(synced, tmp_path / "discord") as other:
        discord = in_discord(other)
        other.unharmed()
    assert [len(one) for one in (terminal, slack, discord)] == [len(SCRIPT)] * 3
    for one in (terminal, discord):
        assert [(reply.words, reply.sources) for reply in one] == [(reply.words, reply.sources) for reply in slack]
    assert [reply.controls for reply in discord] == [reply.controls for reply in slack]
    assert [list(reply.controls) for reply in slack] == [ANSWERED, ANSWERED, HANDED_OVER, HANDED_OVER]
    assert "14 days" in slack[0].words
    assert slack[0].sources[0][2].startswith("https://")
