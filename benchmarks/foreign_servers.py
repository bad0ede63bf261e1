"""Whether one variable swaps the model, on servers that nobody here wrote. Answers the same questions through each.

python -m benchmarks.foreign_servers [llama-cpp] [transformers] [litellm] [aimock] [--keep]

Each server is installed from its package registry into an environment of its own, once, and listens on this machine only.
frontdesk is run as a person would, by its command line; between servers only FRONTDESK_MODEL changes. Every server says the
same thing, a thought and then an answer, in its own way: llama-cpp and transformers compute it with a tiny model, the other
two recite it. So every answer has to come out the same. Ends with 1 if one does not.

PIP_CONSTRAINT can hold versions, such as a build of torch without CUDA.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.datasets import SAMPLE
from benchmarks.tiny_model import ANSWER, CONTEXT, THOUGHT

QUESTIONS = ("How long do I have to write a review after check-out?", "What happens to my money if the host cancels?")
EXPECTED = "".join(ANSWER)
CACHE = Path(tempfile.gettempdir()) / "frontdesk-foreign"
READY_SECONDS = 120
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
"""Keeps the servers from calling home."""


class Unavailable(Exception):
    """A server that cannot be installed or started, and why."""


@dataclass(frozen=True)
class Server:
    """How one server is installed, prepared and started, all in a folder of its own.

    `packages` are installed with pip, or with npm when `npm` is set; the first one's version is shown. `prepare` makes what
    it reads; `command` is given the folder and a port. It asks for the key that stands in `key_variable`, if it can.
    """

    model: str
    packages: tuple[str, ...]
    prepare: Callable[[Path], None]
    command: Callable[[Path, int], list[str]]
    key_variable: str = "UNUSED_KEY"
    npm: bool = False


@dataclass(frozen=True)
class Reply:
    """What `frontdesk ask` said: its JSON, and its notes for staff."""

    said: dict[str, Any]
    notes: str


def program(folder: Path, name: str) -> str:
    """The path of a program in a server's Python environment."""
    return str(folder / "venv" / "bin" / name)


def make_tiny_model(kind: str, target: str) -> Callable[[Path], None]:
    """Has the server's own libraries write the tiny model."""

    def make(folder: Path) -> None:
        script = Path(__file__).with_name("tiny_model.py")
        logged([program(folder, "python"), str(script), kind, target], folder, "make its model")

    return make


def write_litellm_settings(folder: Path) -> None:
    """LiteLLM's proxy recites, in pieces of three characters. Its settings are YAML, of which JSON is a part."""
    recited = "".join(THOUGHT) + "\n\n" + EXPECTED
    how = {"model": "openai/recited", "api_key": "unused", "mock_response": recited}
    settings = {"model_list": [{"model_name": "recited", "litellm_params": how}]}
    (folder / "litellm.yaml").write_text(json.dumps(settings), "utf-8")


def write_aimock_script(folder: Path) -> None:
    """aimock recites, too, with the thought in a field of its own."""
    recited = {"content": EXPECTED, "reasoning": "".join(THOUGHT[1:-1])}
    (folder / "script.json").write_text(json.dumps({"fixtures": [{"match": {}, "response": recited}]}), "utf-8")


SERVERS = {
    "llama-cpp": Server(
        model="tiny",
        packages=("llama-cpp-python[server]", "gguf"),
        prepare=make_tiny_model("gguf", "tiny.gguf"),
        command=lambda folder, port: [
            *(program(folder, "python"), "-m", "llama_cpp.server", "--model", "tiny.gguf", "--model_alias", "tiny"),
            *("--n_ctx", str(CONTEXT), "--host", "127.0.0.1", "--port", str(port)),
        ],
        key_variable="API_KEY",
    ),
    "transformers": Server(
        model="tiny",
        packages=("transformers[serving]", "torch"),
        prepare=make_tiny_model("transformers", "tiny"),
        command=lambda folder, port: [
            *(program(folder, "transformers"), "serve", "tiny", "--device", "cpu"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
    ),
    "litellm": Server(
        model="recited",
        packages=("litellm[proxy]",),
        prepare=write_litellm_settings,
        command=lambda folder, port: [
            *(program(folder, "litellm"), "--config", "litellm.yaml", "--telemetry", "False"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        key_variable="LITELLM_MASTER_KEY",
    ),
    "aimock": Server(
        model="recited",
        packages=("@copilotkit/aimock",),
        prepare=write_aimock_script,
        command=lambda folder, port: [
            *("node", "node_modules/@copilotkit/aimock/dist/cli.js", "--strict", "--fixtures", "script.json"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        key_variable="AIMOCK_API_KEYS",
        npm=True,
    ),
}


def logged(command: list[str], folder: Path, purpose: str, variables: Mapping[str, str] | None = None) -> None:
    """Run a command, its output into a file. Raises `Unavailable` with the end of it when it fails."""
    log = folder / "log.txt"
    try:
        with log.open("a", encoding="utf-8") as output:
            environment = os.environ | dict(variables or {})
            subprocess.run(command, check=True, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    except FileNotFoundError as error:
        raise Unavailable(f"cannot {purpose}: {command[0]} is not on this machine") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"cannot {purpose}:\n{end_of(log)}") from error


def end_of(log: Path) -> str:
    """The last lines of a log, and where it is."""
    lines = log.read_text("utf-8", "replace").splitlines()[-12:]
    return "\n".join([f"    {line[:200]}" for line in lines] + [f"    ({log})"])


def install(server: Server, folder: Path) -> None:
    """Put the server into `folder`, unless it is there already."""
    done = folder / "installed.txt"
    if done.exists() and done.read_text("utf-8").split() == list(server.packages):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"Installing {' '.join(server.packages)} (once; may take minutes) ...", file=sys.stderr, flush=True)
    if server.npm:
        logged(["npm", "install", "--prefix", str(folder), *server.packages], folder, "be installed")
    else:
        logged([sys.executable, "-m", "venv", "venv"], folder, "be installed")
        # llama-cpp-python is compiled. Without this it would only run on processors like this one.
        flags = {"CMAKE_ARGS": os.environ.get("CMAKE_ARGS", "-DGGML_NATIVE=OFF")}
        logged([program(folder, "pip"), "install", *server.packages], folder, "be installed", flags)
    done.write_text("\n".join(server.packages), "utf-8")


def version(server: Server, folder: Path) -> str:
    """The version of what was installed."""
    package = server.packages[0].split("[")[0]
    if server.npm:
        return str(json.loads((folder / "node_modules" / package / "package.json").read_text("utf-8"))["version"])
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [program(folder, "python"), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def running(server: Server, folder: Path, key: str) -> Iterator[str]:
    """The server's address while it runs. It is given nothing of this environment, least of all keys."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    log = folder / "server.txt"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            server.command(folder, port),
            cwd=folder,
            env=variables | QUIET | {server.key_variable: key},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # a server at work may not listen
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server answers anything at all. Raises `Unavailable` when it ends first, or never does."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Unavailable(f"cannot be started:\n{end_of(log)}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v1/models")
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.3)
        finally:
            connection.close()
    raise Unavailable(f"cannot be started: no answer within {READY_SECONDS} seconds\n{end_of(log)}")


def frontdesk(arguments: list[str], folder: Path, model: str, key: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with no settings but these, and with everything but this machine forbidden."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")}
    settings = {
        "FRONTDESK_MODEL": model,
        "FRONTDESK_MODEL_API_KEY": key,
        "FRONTDESK_EMBEDDER": "none",
        "FRONTDESK_OFFLINE": "1",
        # Both prompts are thousands of bytes, and here a token is a byte: a busy machine takes a while.
        "FRONTDESK_FIRST_TOKEN_SECONDS": "60",
        "FRONTDESK_TOTAL_SECONDS": "90",
    }
    command = [str(Path(sys.executable).with_name("frontdesk")), *arguments, "--data", str(folder / "data"), "--json"]
    return subprocess.run(command, cwd=folder, env=own | settings, capture_output=True, text=True, encoding="utf-8")


def ask(question: str, folder: Path, model: str, key: str) -> Reply:
    """Ask one question over the sample knowledge base."""
    ran = frontdesk(["ask", question], folder, model, key)
    try:
        return Reply(json.loads(ran.stdout), ran.stderr.strip())
    except ValueError:
        return Reply({"outcome": "failed"}, (ran.stderr or ran.stdout).strip())


def row(*cells: object) -> str:
    """One line of the table."""
    widths = (14, 10, 10, 10, 12, 9)
    return "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=False)) + str(cells[-1])


def show(name: str, number: str, model: str, reply: Reply) -> bool:
    """Print what came of one question; whether it was what the model says."""
    said = reply.said
    usage = said.get("usage") or {}
    tokens = f"{usage.get('prompt_tokens', '?')} + {usage.get('completion_tokens', '?')}"
    answered_by = str(said.get("model") or "none").rpartition("#")[2]
    right = said.get("outcome") == "answered" and said.get("answer") == EXPECTED and answered_by == model
    verdict = said.get("answer", "") if right else f"NOT what it says: {said.get('answer', '')}"
    print(
        row(name, number, said.get("outcome", "?"), answered_by, tokens, said.get("seconds", "?"), verdict), flush=True
    )
    if reply.notes:
        print("\n".join(f"    {line}" for line in reply.notes.splitlines()), flush=True)
    return right


def try_server(name: str, cache: Path, scratch: Path, key: str, *, keep: bool) -> bool:
    """Install, start, ask, end. Whether every answer was right."""
    server, folder = SERVERS[name], cache / name
    try:
        install(server, folder)
        server.prepare(folder)
        number = version(server, folder)
        with running(server, folder, key) as address:
            model = f"{address}#{server.model}"
            right = [show(name, number, server.model, ask(question, scratch, model, key)) for question in QUESTIONS]
            if keep:
                print(f"Until you press Enter: FRONTDESK_MODEL={model} FRONTDESK_MODEL_API_KEY={key}", flush=True)
                sys.stdin.readline()
            return all(right)
    except Unavailable as error:
        print(f"{name:<14}{error}", flush=True)
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"any of {', '.join(SERVERS)} (default: all)")
    parser.add_argument("--keep", action="store_true", help="leave each server running until you press Enter")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where the servers are installed (default: %(default)s)"
    )
    options = parser.parse_args()
    names = options.servers or list(SERVERS)
    if unknown := set(names) - set(SERVERS):
        parser.error(f"there is no server {', '.join(sorted(unknown))}; choose from {', '.join(SERVERS)}")
    cache: Path = options.cache.resolve()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        parser.error(f"{cache} belongs to somebody else; choose another place with --cache")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended, too
    key = f"sk-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        synced = frontdesk(["knowledge", "sync", str(SAMPLE / "documents")], scratch, "quotes", key)
        if synced.returncode:
            sys.exit(f"frontdesk knowledge sync failed:\n{synced.stderr}")
        print(row("server", "version", "outcome", "model", "tokens", "seconds", "answer"), flush=True)
        right = [try_server(name, cache, scratch, key, keep=options.keep) for name in names]
    print(f"{sum(right)} of {len(right)} servers gave the right answers.")
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
