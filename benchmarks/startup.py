"""How long `frontdesk --help` takes, as a multiple of a bare `python -c pass`. Aim: at most 8.

python -m benchmarks.startup [--runs 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def median_seconds(command: list[str], runs: int) -> float:
    """The median wall time of a command, in seconds, after one run to warm the caches."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    bare = median_seconds([sys.executable, "-c", "pass"], runs)
    helped = median_seconds([str(Path(sys.executable).with_name("frontdesk")), "--help"], runs)
    print(f"python -c pass {1000 * bare:.1f} ms, frontdesk --help {1000 * helped:.1f} ms: {helped / bare:.1f} times")


if __name__ == "__main__":
    main()
