"""Server-sent events, however they are cut; and connections that break in every way, over a bare socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelBroken, ModelError, ModelUnreachable
from agent.models.base import Prompt, PromptMessage, complete
from agent.models.event_stream import Events, Incoming
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.presets import Catalogue, built_in

PROMPT = Prompt("answer", (PromptMessage("user", "Hello?"),))
WIRE = (
    "\ufeff: a comment\n\ndata: one\n\ndata:two\ndata:  lines\n\nevent: ping\nid: 7\n\n"
    "data\ndata: \n\r\ndata: CRLF\r\n\r\ndata: CR\r\rdata: é 漢 \U0001f600\n\ndatabase: no\n\ndata: never ended\n"
)
SAID = ["one", "two\n lines", "\n", "CRLF", "CR", "é 漢 \U0001f600"]


def read(parts: Sequence[bytes]) -> list[str]:
    events = Events()
    return [data for part in parts for data in events.feed(part)] + events.end()


def test_events_are_read_whole() -> None:
    assert read([WIRE.encode()]) == SAID
    assert read([WIRE.encode()[at : at + 1] for at in range(len(WIRE.encode()))]) == SAID


@given(st.lists(st.integers(0, len(WIRE.encode())), max_size=8))
def test_events_do_not_depend_on_how_they_are_cut(cuts: list[int]) -> None:
    wire, places = WIRE.encode(), sorted({0, *cuts, len(WIRE.encode())})
    assert read([wire[start:end] for start, end in pairwise(places)]) == SAID


def test_the_end_of_the_stream_may_be_the_end_of_a_line() -> None:
    assert read([b"data: last\r\r"]) == ["last"]
    assert read([b"data: last\n"]) == []


async def test_what_comes_together_is_read_together_up_to_the_end() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'data: {"a": 1}\n\ndata: null\n\ndata: {"a": 2}\n\nda'
        yield b": nothing\n\n"
        yield b'data: 3\n\ndata: [DONE]\n\ndata: {"a": 4}\n\n'
        yield b"data: {broken\n\n"

    incoming = Incoming(parts())
    assert [await incoming.read() for _ in range(3)] == [[{"a": 1}, {"a": 2}], [], [3]]
    assert incoming.over


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "Hello"}}]}).encode() + b"\n\n"
CHUNK = b"%x\r\n%s\r\n" % (len(HELLO), HELLO)


@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (b"", ModelUnreachable, "cannot be reached"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ModelUnreachable, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ModelUnreachable, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n", ModelUnreachable, "cannot be reached"),
        (HEAD, ModelBroken, "was cut"),
        (HEAD + CHUNK, ModelBroken, "was cut"),
        (HEAD + CHUNK[:-20], ModelBroken, "was cut"),
        # What comes together with the head of an answer may keep it from being one.
        (HEAD + b"no number\r\nx\r\n0\r\n\r\n", ModelError, "was cut|cannot be reached"),
        (HEAD + CHUNK + b"no number\r\nx\r\n0\r\n\r\n", ModelError, "was cut|cannot be reached"),
    ],
    ids=[
        "nothing",
        "no HTTP",
        "half a head",
        "a bad header",
        "no body",
        "half a body",
        "half a chunk",
        "bad",
        "bad later",
    ],
)
async def test_a_connection_that_breaks_is_an_error_of_the_model(
    sent: bytes, kind: type[ModelError], words: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = OpenAICompatible(
        Catalogue(built_in()).endpoint(f"http://127.0.0.1:{port}/v1#m"), Deadlines(first_token=5, idle=5, total=10)
    )
    async with server:
        with pytest.raises(kind, match=words):
            await complete(backend, PROMPT)
    await backend.close()
