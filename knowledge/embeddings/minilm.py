"""The local embedder: all-MiniLM-L6-v2, the model of Chroma's default embedding function, run on the CPU by onnxruntime.

The files are those that Chroma keeps in `~/.cache/chroma`. Chroma pads every text to 256 tokens and downloads the model
whenever it is missing. Here texts keep their length and weights are small (see `quantised`): 1.6 ms instead of 16.6 ms a
question. The download (80 MB) happens only in `prepare`, in a process of its own with a deadline, because a slow connection
would block it without end.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge.embeddings.quantised import quantised
from knowledge.errors import EmbedderError

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors

FILES = ("config.json", "model.onnx", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
MAX_TOKENS = 256
DIMENSION = 384
DOWNLOAD_SECONDS = 180.0


def default_folder() -> Path:
    """Where Chroma keeps the model's files."""
    return Path.home() / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"


class MiniLM:
    """The local embedder. Loading the model takes about 0.3 s and 120 MB of memory, at the first text.

    `download`: whether `prepare` may fetch missing files from the network.
    """

    name = "all-MiniLM-L6-v2, 8 bit"

    def __init__(
        self, folder: Path | None = None, *, download: bool = True, download_seconds: float = DOWNLOAD_SECONDS
    ) -> None:
        self._folder = folder or default_folder()
        self._download = download
        self._download_seconds = download_seconds
        self._loading = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._words: frozenset[str] | None = None

    def missing(self) -> list[str]:
        """The names of the model's files that are not there or empty."""
        return [name for name in FILES if not _has_content(self._folder / name)]

    def words(self) -> frozenset[str]:
        """The whole words that the model knows, in lower case: some 20,000 of English. None without its files."""
        if self._words is None:
            try:
                lines = (self._folder / "vocab.txt").read_text("utf-8").split()
            except (OSError, UnicodeDecodeError):
                return frozenset()
            self._words = frozenset(line for line in lines if line.isalpha() and len(line) > 3)
        return self._words

    async def prepare(self, say: Callable[[str], None]) -> None:
        """Fetch the model if it is missing. Raises `EmbedderError` when that is not possible."""
        if not self.missing():
            return
        if not self._download:
            raise EmbedderError("The local embedding model is not on this machine, and `offline` forbids fetching it.")
        say("Fetching the local embedding model (80 MB, once) ...")
        await _download(self._folder, self._download_seconds)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """One text per run on several threads: faster on a CPU than padded batches."""
        import numpy as np

        def work() -> Vectors:
            session, tokenizer = self._load()
            with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
                rows = list(pool.map(lambda text: _embed(session, tokenizer, text), texts))
            return np.array(rows, np.float32).reshape(len(rows), DIMENSION)

        return await asyncio.to_thread(work)

    async def embed_query(self, text: str) -> Vectors:
        """The vector of one question; at most the first 256 tokens count."""

        def work() -> Vectors:
            session, tokenizer = self._load()
            return _embed(session, tokenizer, text)

        return await asyncio.to_thread(work)

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                if missing := self.missing():
                    raise EmbedderError(
                        f"The local embedding model is not whole on this machine ({', '.join(missing)} missing)."
                        if len(missing) < len(FILES)
                        else "The local embedding model is not on this machine.",
                        "To fetch it, run a sync where the network can be reached: frontdesk knowledge sync DIR",
                    )
                self._loaded = _open(self._folder)
            return self._loaded


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _open(folder: Path) -> tuple[Any, Any]:
    # onnxruntime's Linux wheels report to their maker unless told otherwise before the first import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    broken = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
    )
    try:
        # Parsed first, because the tokenizers library raises a bare Exception for a damaged file.
        json.loads((folder / "tokenizer.json").read_bytes())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model = quantised((folder / "model.onnx").read_bytes())
        session = onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    except (OSError, ValueError, *broken) as error:
        raise EmbedderError(
            f"The local embedding model is damaged: {str(error)[:200]}",
            f"Delete {folder} and run the sync again to fetch it anew.",
        ) from error
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.no_padding()
    return session, tokenizer


def _embed(session: Any, tokenizer: Any, text: str) -> Vectors:
    import numpy as np

    encoding = tokenizer.encode(text)
    ids = np.array([encoding.ids], np.int64)
    mask = np.ones_like(ids)
    hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0][0]
    vector = hidden.mean(axis=0)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


async def _download(folder: Path, seconds: float) -> None:
    """Let Chroma fetch and verify the model into a folder beside the final one, then move it there in one step."""
    hint = "The next sync tries again."
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="download-", dir=folder.parent))
    except OSError as error:
        raise EmbedderError(f"The local embedding model cannot be kept in {folder.parent}: {error}", hint) from error
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "knowledge.embeddings.minilm",
            str(part),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds):
                _, errors = await process.communicate()
        except TimeoutError:
            raise EmbedderError(f"The local embedding model could not be fetched in {seconds:.0f} s.", hint) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = errors.decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1].strip() if lines else f"exit status {process.returncode}"
            raise EmbedderError(f"The local embedding model could not be fetched ({_in_words(reason)}).", hint)
        await asyncio.to_thread(_put_in_place, part / "onnx", folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _in_words(reason: str) -> str:
    """The last line of a traceback for a person to read."""
    return "no network" if "ConnectError" in reason or "ConnectTimeout" in reason else reason[:160]


def _put_in_place(fetched: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    fetched.rename(folder)


def _fetch_with_chroma(folder: Path) -> None:
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    ONNXMiniLM_L6_V2.DOWNLOAD_PATH = folder
    ONNXMiniLM_L6_V2()._download_model_if_not_exists()


if __name__ == "__main__":
    _fetch_with_chroma(Path(sys.argv[1]))
