"""A local Slack with people, a local model, and a `frontdesk run` that answers there: what journeys in Slack share."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from tests.journeys import forked
from tests.journeys.running import Running, environment, tokens
from tests.servers.model_server import Call, ModelServer, Play, chunk, says
from tests.servers.slack import Seen, SlackServer, serving
from tests.servers.slack.state import Call as SlackCall
from tests.servers.slack.state import Channel, Message

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
QUESTION, PETS = "How long do I have to write a review after check-out?", "Can I bring my pet with me?"
PERSON = "Let me talk to a person, please."
ANSWER = "You have 14 days after check-out to write a review. [1]"
ABOUT_PETS = "Pets are welcome only in homes with the **Pets allowed** label. [1]"
LONG = "\n\n".join(
    [f"{number}. {ANSWER}" for number in range(260)] + ["```\nfrom the first line\nto the last line\n```", ANSWER]
)
BUTTON, TAKEN_OVER = "Talk to a person", "A person from our team"


class LocalSlack(SlackServer):
    """A Slack in which time can be `ago`, and which can kill who posts before they know of it."""

    ago: float = 0
    victim: Running | None = None

    def now_ts(self) -> str:
        return f"{time.time() - self.ago:.6f}" if self.ago else super().now_ts()

    def _watch(self, call: SlackCall) -> None:
        super()._watch(call)
        if self.victim is not None and call.method == "chat.startStream":
            self.victim.process.kill()
            self.victim = None

    def whisper(self, channel: Channel, message: Message, user: str) -> None:
        for number, block in enumerate(message.blocks or ()):
            block.setdefault("block_id", f"b{number:03d}")
        super().whisper(channel, message, user)


class Talking:
    """What the model says. While it is held, it says no more than the first `pieces` of an answer."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.pieces = 0

    def __call__(self, call: Call) -> Play:
        asked = call.said.rpartition("<message>")[2].partition("</message>")[0]
        if call.said.startswith("You prepare"):
            return says(" ".join(asked.split()))
        return self._held(LONG if "everything" in asked else ABOUT_PETS if "pet" in asked else ANSWER)

    def _held(self, text: str) -> Play:
        async def play(request: web.Request, call: Call) -> web.StreamResponse:
            size = 7 if len(text) < 1_000 else 700
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)

            async def send(payload: object) -> None:
                await response.write(b"data: " + json.dumps(payload).encode() + b"\n\n")

            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            for number, piece in enumerate(pieces):
                while number >= self.pieces and not self.go_on.is_set():  # noqa: ASYNC110 (it is set in another thread)
                    await asyncio.sleep(0.01)
                await send(chunk({"content": piece}))
            await send(chunk({}, "stop"))
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
            return response

        return play

    @contextmanager
    def held(self, pieces: int = 0) -> Iterator[None]:
        self.pieces = pieces
        self.go_on.clear()
        try:
            yield
        finally:
            self.go_on.set()


class Household:
    """A frontdesk that is started when it is needed and does not run. `connected` is what it says once it is heard."""

    connected = ""

    def __init__(self, model: ModelServer, data: Path, config: str, settings: Mapping[str, str]) -> None:
        self.model, self.data = model, data
        self.config = data / "frontdesk.toml"
        self.config.write_text(config)
        self.talking = Talking()
        model.by_prompt = self.talking
        self.settings = environment(data, **({"FRONTDESK_MODEL": model.choice} | dict(settings)))
        self.running: Running | None = None

    @property
    def desk(self) -> Running:
        if self.running is None or self.running.process.poll() is not None:
            self.running = Running("--config", str(self.config), "run", **self.settings)
            self.running.said(self.connected)
        return self.running

    def kill(self) -> None:
        if self.running is not None:
            self.running.process.kill()
            self.running.process.wait(10)

    def keep_in(self, database: str) -> None:
        """Keep all in this database from now on, the documents too."""
        self.settings["DATABASE_URL"] = database
        sync_into(self.settings)

    def frontdesk(self, *arguments: str) -> str:
        """What another command prints."""
        done = forked.run(["--config", str(self.config), *arguments], self.settings)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


class House(Household):
    """A workspace with staff."""

    connected = "Slack: connected"

    def __init__(
        self, slack: LocalSlack, model: ModelServer, data: Path, config: str, settings: Mapping[str, str]
    ) -> None:
        self.slack = slack
        self.eve = slack.add_user("eve")
        self.staff = slack.add_channel("staff", [self.eve])
        slack.retry_after = (1.0, 3.0)
        staff_channel = f"slack:{slack.team.id}/{self.staff}"
        super().__init__(model, data, config, {"FRONTDESK_STAFF_CHANNEL": staff_channel, **tokens(slack), **settings})

    def room(self) -> tuple[str, str]:
        """Somebody new, and a channel of their own."""
        ann = self.slack.add_user("ann")
        return ann, self.slack.add_channel("help", [ann])

    def ask(self, text: str = QUESTION) -> tuple[str, str, str]:
        """Somebody new mentions the agent: who, where, and in which thread."""
        assert self.desk
        ann, room = self.room()
        return ann, room, self.slack.say(ann, room, self.slack.mention(text))

    def final(self, room: str, ts: str, *words: str, seconds: float = 20) -> list[Seen]:
        """The replies in a thread, once one of them has all these words and none is being written."""

        def ended() -> list[Seen]:
            found = self.slack.replies_to(room, ts)
            shown = any(all(word in seen.text for word in words or (BUTTON,)) for seen in found)
            return found if shown and all(seen.streaming != "streaming" for seen in found) else []

        found: list[Seen] = self.slack.wait_for(ended, seconds)
        return found

    def once(self, room: str, ts: str, *words: str) -> Seen:
        """The only reply in a thread, also after all that came before another answer."""
        self.final(room, ts, *words)
        self.settle()
        (reply,) = self.slack.replies_to(room, ts)
        return reply

    def once_more(self, room: str, ts: str) -> list[Seen]:
        """The replies in a thread, after all that was said before was heard."""
        self.settle()
        return self.slack.replies_to(room, ts)

    def settle(self) -> None:
        """Wait until somebody else was answered: whatever came in before is heard by then."""
        _, room, ts = self.ask(PETS)
        self.final(room, ts, "Pets allowed", BUTTON)

    def draft(self, room: str, ts: str) -> Seen:
        """The reply that is being written."""
        found: list[Seen] = self.slack.wait_for(lambda: self.slack.replies_to(room, ts), 20)
        return found[0]

    def told(self, words: str, seconds: float = 20) -> list[Seen]:
        """What the staff read about this, once they do."""

        def posts() -> list[Seen]:
            return [seen for seen in self.slack.visible(self.staff) if seen.ours and words in seen.text]

        found: list[Seen] = self.slack.wait_for(posts, seconds)
        return found

    def unharmed(self) -> None:
        """What held in one test holds no more, and nobody was pinged, nothing unfurled, and nothing wrong sent to Slack."""
        slack = self.slack
        self.talking.go_on.set()
        slack.faults.clear()
        slack.out_of_order, slack.double_deliveries, slack.ago = False, 0.0, 0
        found, pinged, unfurled = slack.violations[:], slack.notified[:], slack.unfurled[:]
        for kept in (slack.violations, slack.notified, slack.unfurled):
            kept.clear()
        assert (found, pinged, unfurled, slack.bad_acks) == ([], [], [], [])


def sync(data: Path) -> Path:
    """Put the sample documents into a data directory."""
    sync_into(environment(data))
    return data


def sync_into(settings: Mapping[str, str]) -> None:
    """Put the sample documents where a process with these settings finds them."""
    done = forked.run(["knowledge", "sync", str(SAMPLE)], settings)
    assert done.returncode == 0, done.stderr.decode()


@contextmanager
def housing(
    synced: Path,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    configure: Callable[[LocalSlack], str] = lambda slack: "",
) -> Iterator[House]:
    """A house with the documents in `synced`, that is empty at the end. `configure` makes its frontdesk.toml."""
    data = Path(shutil.copytree(synced, folder / "data"))
    with serving(LocalSlack()) as slack, serving(ModelServer()) as model:
        slack.team.scopes.remove("reactions:read")
        slack.team.scopes.remove("mpim:read")
        one = House(slack, model, data, configure(slack), settings or {})
        try:
            yield one
        finally:
            one.kill()
