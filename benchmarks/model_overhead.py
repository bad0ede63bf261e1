"""What our own work adds to a model's answer: the chain with its meter and ledger beside a bare `AsyncOpenAI` stream.

    python -m benchmarks.model_overhead [--pairs 200] [--streams 200]

Both ask the same server on this machine, in turn; it is a process of its own. Then both hold many streams at once, each in
a fresh process, for their memory. Aim: at most 1.1 times as long at the median.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

from agent.ledger import Ledger, percentile
from agent.models.base import Prompt, PromptMessage
from agent.models.breaker import Breakers
from agent.models.metering import Meter
from agent.models.openai_compatible import OpenAICompatible
from agent.models.pool import Pool
from agent.models.presets import Catalogue, built_in
from agent.models.routing import FallbackChain

CHUNKS = 60
PAUSES = {"none": 0.0, "paced": 0.002}
"""Models of the server, and the seconds between their chunks."""
HELD = "held"
"""The model that stops half way until as many streams as are asked for have come that far."""
WARM_UP = 20
LONGEST_SECONDS = 300
SENTENCES = (
    "You can cancel a booking free of charge up to 5 days before check-in [1]. After that, the first night is charged, "
    "and the rest is paid back to the card you used within 3 to 5 working days [2]. To cancel, open **Trips**, choose "
    "the booking and press *Cancel booking*; a confirmation comes by e-mail. If the host cancels, you get everything "
    "back, and we help you to find another place nearby. Write to us if the money has not come after 10 days. "
)
MESSAGES = (
    PromptMessage("system", "You answer customers from these passages.\n" + SENTENCES * 8),
    PromptMessage("user", "Until when can I cancel for free?"),
)
Ask = Callable[[str], Awaitable[tuple[float, float]]]
"""Asks a model for one whole answer. Returns the seconds to the first text and to the end."""


# The server -----------------------------------------------------------------------------------------------------------


def pieces() -> list[str]:
    """An answer in as many pieces as a model would send it, no two sentences quite alike."""
    words = " ".join(f"{number}. {SENTENCES}" for number in range(1, 9)).split(" ")
    return [f"{word} " for word in words[:CHUNKS]]


def event(model: str, text: str = "", finish: str | None = None) -> bytes:
    """One chunk of a chat completion on the wire, in its HTTP frame."""
    delta = {"content": text} if text else {}
    body: dict[str, object] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
    body["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    if finish:
        body["usage"] = {"prompt_tokens": 900, "completion_tokens": CHUNKS, "total_tokens": 900 + CHUNKS}
    return frame(b"data: " + json.dumps(body).encode() + b"\n\n")


def frame(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Just enough HTTP to stream answers: a framework would add its own noise."""

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._waiting = 0
        self._all_here = asyncio.Event()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1_000)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server, asyncio.timeout(LONGEST_SECONDS + 60):
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that is done hangs up.
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await self._answer(json.loads(await reader.readexactly(length))["model"], writer)
        writer.close()

    async def _answer(self, model: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, piece in enumerate(pieces()):
            if number and (pause := PAUSES.get(model)):
                await asyncio.sleep(pause)
            if number == CHUNKS // 2 and model == HELD:
                await self._hold()
            writer.write(event(model, piece))
            await writer.drain()
        writer.write(event(model, finish="stop") + frame(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()

    async def _hold(self) -> None:
        self._waiting += 1
        if self._waiting == self._streams:
            # Time for the clients to read what has been sent.
            asyncio.get_running_loop().call_later(1.0, self._all_here.set)
        async with asyncio.timeout(20):
            await self._all_here.wait()


@contextmanager
def served(streams: int) -> Iterator[int]:
    """The server's port; it ends with the block."""
    command = [sys.executable, "-m", "benchmarks.model_overhead", "--serve", "--streams", str(streams)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


# The two sides --------------------------------------------------------------------------------------------------------


def bare(port: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    """The package as its documentation uses it."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

    async def ask(model: str) -> tuple[float, float]:
        started, first, text = time.perf_counter(), 0.0, ""
        stream = await client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": MESSAGES[0].content},
                {"role": "user", "content": MESSAGES[1].content},
            ],
            max_tokens=700,
            temperature=0.2,
            stream=True,
            stream_options={"include_usage": True},
        )
        async with stream:
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                first = first or (time.perf_counter() - started if text else 0.0)
        assert text == "".join(pieces())
        return first, time.perf_counter() - started

    return ask, client.close


def ours(port: int, data: Path) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    """What a customer's answer goes through: chain, breaker, meter, ledger, deadlines, and what takes leaks out."""
    catalogue, pool, ledger, breakers = Catalogue(built_in()), Pool(), Ledger(data), Breakers()
    meter = Meter(ledger)
    chains = {
        model: FallbackChain(
            [OpenAICompatible(catalogue.endpoint(f"http://127.0.0.1:{port}/v1#{model}"), pool=pool)], breakers, meter
        )
        for model in (*PAUSES, HELD)
    }
    prompt = Prompt("answer", MESSAGES, MESSAGES[1].content)

    async def ask(model: str) -> tuple[float, float]:
        started, first, text = time.perf_counter(), 0.0, ""
        async with aclosing(chains[model].stream(prompt)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                first = first or (time.perf_counter() - started if text else 0.0)
        assert text.rstrip() == "".join(pieces()).rstrip()
        return first, time.perf_counter() - started

    async def close() -> None:
        for chain in chains.values():
            await chain.close()
        await pool.close()
        await ledger.close()

    return ask, close


# Time -----------------------------------------------------------------------------------------------------------------


async def compare(port: int, pairs: int, data: Path) -> None:
    """Ask both in turn, and print what they took."""
    sides = {"bare": bare(port), "ours": ours(port, data)}
    print(f"milliseconds, {pairs} pairs     bare p50    p95   ours p50    p95   ratio p50    p95")
    for model, pause in PAUSES.items():
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for number in range(WARM_UP + pairs):
            for name, (ask, _) in sides.items():
                seconds = await ask(model)
                if number >= WARM_UP:
                    taken[name].append(seconds)
        for place, what in enumerate(("first token", "whole answer")):
            figures = [
                1000 * (percentile([one[place] for one in taken[name]], percent) or 0.0)
                for name in sides
                for percent in (50, 95)
            ]
            ratios = figures[2] / figures[0], figures[3] / figures[1]
            label = f"{what}, " + (f"{1000 * pause:g} ms pauses" if pause else "no pauses")
            print(f"{label:26} {figures[0]:9.2f} {figures[1]:6.2f} {figures[2]:10.2f} {figures[3]:6.2f}", end="")
            print(f" {ratios[0]:11.2f} {ratios[1]:6.2f}", flush=True)
    for _, close in sides.values():
        await close()


# Memory ---------------------------------------------------------------------------------------------------------------


def resident() -> float:
    """Resident set of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def hold(side: str, port: int, streams: int, data: Path) -> None:
    """Hold many streams at once, and print the resident set before and at its height."""
    ask, close = bare(port) if side == "bare" else ours(port, data)
    await ask("none")
    gc.collect()
    before = height = resident()
    asking = asyncio.gather(*(ask(HELD) for _ in range(streams)))
    while not asking.done():
        height = max(height, resident())
        await asyncio.sleep(0.02)
    await asking
    each = (height - before) / streams
    print(f"{side}: {before:6.1f} MiB before, {height:6.1f} MiB at the height: {each:.3f} MiB a stream", flush=True)
    await close()


def compare_memory(streams: int, scratch: Path) -> None:
    """Each side in a fresh process, against a fresh server."""
    print(f"\n{streams} streams at once")
    if not Path("/proc/self/statm").is_file():
        print("not measured: this system has no /proc")
        return
    for side in ("bare", "ours"):
        with served(streams) as port:
            command = [sys.executable, "-m", "benchmarks.model_overhead", "--hold", side, "--port", str(port)]
            subprocess.run([*command, "--streams", str(streams), "--data", str(scratch / side)], check=True, timeout=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--hold", choices=("bare", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # Nothing may go anywhere but to this machine.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    if arguments.serve:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        asyncio.run(Server(arguments.streams).serve())
    elif arguments.hold:
        asyncio.run(hold(arguments.hold, arguments.port, arguments.streams, arguments.data))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            with served(arguments.streams) as port:
                work = compare(port, arguments.pairs, Path(scratch, "time"))
                asyncio.run(asyncio.wait_for(work, LONGEST_SECONDS))
            compare_memory(arguments.streams, Path(scratch))


if __name__ == "__main__":
    main()
