"""The knowledge base as a whole: sync and search over real files, a real database and real Chroma."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from knowledge.base import KnowledgeBase
from knowledge.database import Source, damage
from knowledge.errors import EmbedderError, FolderError, StoreError
from knowledge.folders.reading import Wish
from knowledge.index.lock import writer_lock
from knowledge.search import Query
from knowledge.vectors.chroma import EmbeddedChroma, Patience
from tests.knowledge.chroma_here import EmbeddedHere, ServerByOne
from tests.knowledge.embedder import LetterEmbedder, Vectors
from tests.servers.chroma_server import RunningChroma

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUICK = Patience(pauses=(0.05,))


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    write(
        made,
        refunds="# Refunds\n\nA refund to a credit card takes 5 to 10 business days.\n",
        pets="# Pets\n\nDogs are welcome when the listing says so. A pet fee of 20 euros applies.\n",
        hosts__payouts="---\ntitle: Payouts\naudience: public\n---\nPayouts are sent 24 hours after check-in.\n",
        staff="---\ntitle: Goodwill\naudience: internal\n---\nAgents may grant a goodwill refund of 90 euros.\n",
    )
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_server(chroma_server: RunningChroma) -> AsyncIterator[ServerByOne]:
    store = ServerByOne(chroma_server.url)
    yield store
    await store.end()


@pytest_asyncio.fixture(params=["keyword", "embedded", "server"], loop_scope="module")
async def make(
    request: pytest.FixtureRequest, tmp_path: Path, on_server: ServerByOne
) -> AsyncIterator[Callable[[], KnowledgeBase]]:
    """Makes a knowledge base, as each process has one: on SQLite, and on PostgreSQL with a Chroma server."""
    url, shared = None, None
    if request.param == "server":
        url, shared = request.getfixturevalue("postgres_library"), on_server
    made: list[KnowledgeBase] = []

    def make() -> KnowledgeBase:
        embedder = None if request.param == "keyword" else LetterEmbedder()
        store = shared or EmbeddedHere(QUICK)
        made.append(KnowledgeBase(tmp_path / "data", embedder, database=url, store=store))
        return made[-1]

    yield make
    for base in made:
        await base.close()


@pytest.fixture
def base(make: Callable[[], KnowledgeBase]) -> KnowledgeBase:
    return make()


async def found(base: KnowledgeBase, text: str, *audiences: str) -> list[str]:
    result = await base.search(Query(text, 10, audiences=frozenset({"public", *audiences})))
    assert result.note == "" or not result.hits
    return [hit.passage.document for hit in result.hits]


def counts(report: object) -> tuple[int, ...]:
    return tuple(getattr(report, name) for name in ("added", "changed", "removed", "unchanged"))


async def test_what_is_synced_is_found(base: KnowledgeBase, folder: Path) -> None:
    report = await base.sync(folder)
    assert counts(report) == (4, 0, 0, 0)
    assert report.failed == ()
    assert (await found(base, "refund to a credit card"))[0] == "refunds"
    assert (await found(base, "payouts"))[0] == "hosts/payouts"


async def test_running_it_twice_changes_nothing(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    await base.sync(folder)
    indexes = sorted(path.name for path in (tmp_path / "data" / "index").iterdir())
    assert counts(await base.sync(folder)) == (0, 0, 0, 4)
    assert sorted(path.name for path in (tmp_path / "data" / "index").iterdir()) == indexes


async def test_an_edit_a_removal_and_an_addition(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    write(
        folder,
        refunds="# Refunds\n\nA refund by wire takes 3 weeks.\n",
        wifi="# Wifi\n\nThe password is on the router.\n",
    )
    (folder / "pets.md").unlink()
    assert counts(await base.sync(folder)) == (1, 1, 1, 2)
    assert "pets" not in await found(base, "are dogs welcome? pet fee")
    assert (await found(base, "wifi password router"))[0] == "wifi"
    hits = (await base.search(Query("refund credit card wire", 10))).hits
    assert not any("credit card" in hit.passage.text for hit in hits)


async def test_a_touched_file_is_unchanged(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    os.utime(folder / "pets.md", (1, 1))
    assert counts(await base.sync(folder)) == (0, 0, 0, 4)


async def test_internal_documents_stay_inside(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    assert "staff" not in await found(base, "goodwill refund agents may grant")
    assert (await found(base, "goodwill refund agents may grant", "internal"))[0] == "staff"


async def test_a_changed_audience_takes_effect(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    write(folder, pets="---\naudience: internal\n---\n# Pets\n\nDogs are welcome when the listing says so.\n")
    assert counts(await base.sync(folder)) == (0, 1, 0, 3)
    assert "pets" not in await found(base, "dogs welcome")


async def test_a_moved_file_with_an_id_is_the_same_document(base: KnowledgeBase, folder: Path) -> None:
    write(folder, old="---\nid: moved\n---\n# Movable\n\nThis text moves about.\n")
    await base.sync(folder)
    (folder / "old.md").rename(folder / "new.md")
    assert counts(await base.sync(folder)) == (0, 0, 0, 5)
    assert (await found(base, "text moves about"))[0] == "moved"


async def test_the_same_id_twice_is_reported(base: KnowledgeBase, folder: Path) -> None:
    write(folder, other="---\nid: pets\n---\n# Other pets\n\nCats, too.\n")
    report = await base.sync(folder)
    assert [failure.file for failure in report.failed] == ["pets.md"]
    assert "'pets'" in report.failed[0].reason
    again = await base.sync(folder)
    assert [failure.file for failure in again.failed] == ["pets.md"]


async def test_an_unreadable_file_keeps_its_earlier_version(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    (folder / "pets.md").write_bytes(b"\x00\x01\x02\xff" * 50)
    report = await base.sync(folder)
    assert counts(report) == (0, 0, 0, 4)
    assert [failure.file for failure in report.failed] == ["pets.md"]
    assert "stays in use" in report.failed[0].reason
    assert (await found(base, "dogs welcome"))[0] == "pets"


async def test_files_that_cannot_go_in_do_not_stop_the_rest(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    (folder / "junk.md").write_bytes(os.urandom(2000) + b"\0")
    (folder / "empty.md").write_text("")
    (folder / "scan.pdf").write_bytes(b"%PDF-1.7")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret.md").write_text("# Secret\n\nDo not read me.\n")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "broken.md").symlink_to(tmp_path / "nowhere.md")
    os.mkfifo(folder / "pipe.md")
    (folder / ".hidden.md").write_text("# Hidden\n\nHidden text.\n")
    for left_over in ("pets.md~", "#pets.md#", "~$pets.docx", "pets.md.tmp", ".pets.md.swp", "pets.md.bak"):
        (folder / left_over).write_text("half a thought")
    report = await base.sync(folder)
    assert report.added == 4
    reasons = {failure.file: failure.reason for failure in report.failed}
    assert sorted(reasons) == ["broken.md", "empty.md", "junk.md", "link.md", "pipe.md", "scan.pdf"]
    assert "outside the folder" in reasons["link.md"]
    assert "cut off" in reasons["scan.pdf"]
    assert all(reason.endswith(".") and "\n" not in reason for reason in reasons.values())


async def test_an_empty_folder_changes_nothing(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(FolderError, match="Nothing was changed"):
        await base.sync(folder)
    assert await found(base, "dogs")
    assert counts(await base.sync(folder, Wish(allow_empty=True))) == (0, 0, 4, 0)
    assert await found(base, "dogs") == []


@pytest.mark.parametrize(("name", "words"), [("nowhere", "no folder"), ("documents/pets.md", "is a file")])
async def test_a_wrong_folder_is_told(base: KnowledgeBase, folder: Path, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(FolderError, match=words):
        await base.sync(tmp_path / name)


async def test_two_folders_live_side_by_side(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    await base.sync(folder)
    write(tmp_path / "more", parking="# Parking\n\nPark behind the house.\n")
    assert counts(await base.sync(tmp_path / "more")) == (1, 0, 0, 0)
    assert (await found(base, "park behind the house"))[0] == "parking"
    assert (await found(base, "dogs"))[0] == "pets"
    write(tmp_path / "more", pets="# Pets\n\nA second opinion.\n")
    report = await base.sync(tmp_path / "more")
    assert [failure.file for failure in report.failed] == ["pets.md"]


async def test_a_folder_that_moved_is_the_same_documents(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    await base.sync(folder)
    folder.rename(tmp_path / "elsewhere")
    assert counts(await base.sync(tmp_path / "elsewhere")) == (0, 0, 0, 4)
    (tmp_path / "elsewhere" / "pets.md").unlink()
    assert counts(await base.sync(tmp_path / "elsewhere")) == (0, 0, 1, 3)


async def test_hostile_queries_are_only_text(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    for text in (
        "",
        " ",
        "?",
        "🦖",
        "\0",
        "'; DROP TABLE documents; --",
        '" OR 1=1',
        "\ud800",
        "x" * 40_000,
        "ก" * 500,
    ):
        await base.search(Query(text))
    assert (await found(base, "dogs"))[0] == "pets"


async def test_an_empty_knowledge_base_finds_nothing(base: KnowledgeBase) -> None:
    result = await base.search(Query("dogs"))
    assert result.hits == ()
    assert result.confidence == 0
    assert "knowledge base is empty" in result.note


async def test_a_lost_index_is_mended(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    await base.sync(folder)
    await base.close()
    shutil.rmtree(tmp_path / "data" / "index")
    result = await base.search(Query("dogs"))
    assert result.hits[0].passage.document == "pets"
    assert result.mode == "keyword"
    assert "frontdesk knowledge rebuild" in result.note
    assert counts(await base.sync(folder)) == (0, 0, 0, 4)
    assert (await base.search(Query("dogs"))).note == ""


async def test_a_damaged_index_is_mended(folder: Path, tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path / "data", LetterEmbedder(), store=EmbeddedChroma(QUICK))
    await base.sync(folder)
    await base.close()
    for path in (tmp_path / "data" / "index").rglob("*"):
        if path.is_file() and "chroma" in path.parts:
            path.write_bytes(b"damaged" * 100)
    result = await base.search(Query("dogs"))
    assert result.hits[0].passage.document == "pets"
    assert result.mode == "keyword"
    assert result.note
    await base.sync(folder)
    healed = await base.search(Query("dogs"))
    assert (healed.mode, healed.note) == ("hybrid", "")
    await base.close()


async def test_another_process_sees_a_new_edition(make: Callable[[], KnowledgeBase], folder: Path) -> None:
    base, reader = make(), make()
    await base.sync(folder)
    assert "wifi" not in await found(reader, "wifi password")
    write(folder, wifi="# Wifi\n\nThe wifi password is on the router.\n")
    await base.sync(folder)
    assert (await found(reader, "wifi password"))[0] == "wifi"


class Failing:
    """An embedder that gives up after so many texts."""

    name = "letters"

    def __init__(self, after: int) -> None:
        self.left = after
        self.letters = LetterEmbedder()

    async def prepare(self, say: object) -> None:
        pass

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.left < len(texts):
            raise EmbedderError("The embedder is tired.")
        self.left -= len(texts)
        return await self.letters.embed_passages(texts)

    async def embed_query(self, text: str) -> Vectors:
        raise EmbedderError("The embedder is tired.")


async def test_without_vectors_it_goes_by_keywords_and_says_so(folder: Path, tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path / "data", Failing(0))
    report = await base.sync(folder)
    assert report.added == 4
    assert any("keywords only" in note and "tired" in note for note in report.notes)
    result = await base.search(Query("dogs"))
    assert result.mode == "keyword"
    assert result.hits[0].passage.document == "pets"
    assert "keywords only" in result.note
    await base.close()


async def test_a_question_whose_vector_fails_goes_by_keywords(folder: Path, tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path / "data", Failing(100), store=EmbeddedHere())
    assert (await base.sync(folder)).notes == ()
    result = await base.search(Query("dogs"))
    assert (result.mode, result.hits[0].passage.document) == ("keyword", "pets")
    assert "tired" in result.note
    await base.close()


class Other(LetterEmbedder):
    name = "other"

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.ascontiguousarray((await super().embed_passages(texts))[:, ::-1])


async def test_a_changed_embedder_is_never_mixed(folder: Path, tmp_path: Path) -> None:
    first = KnowledgeBase(tmp_path / "data", LetterEmbedder(), store=EmbeddedHere())
    await first.sync(folder)
    await first.close()
    second = KnowledgeBase(tmp_path / "data", Other(), store=EmbeddedHere())
    result = await second.search(Query("dogs"))
    assert result.mode == "keyword"
    assert "another embedder" in result.note
    assert counts(await second.sync(folder)) == (0, 0, 0, 4)
    assert (await second.search(Query("dogs"))).mode == "hybrid"
    await second.close()


class Counting(LetterEmbedder):
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return await super().embed_passages(texts)


async def test_an_edit_embeds_only_what_changed(folder: Path, tmp_path: Path) -> None:
    long = "# Long\n\n" + "\n\n".join(f"## Part {n}\n\n" + f"Word{n} and so on. " * 60 for n in range(10))
    write(folder, long=long)
    embedder = Counting()
    base = KnowledgeBase(tmp_path / "data", embedder, store=EmbeddedHere())
    await base.sync(folder)
    before = len(embedder.texts)
    assert before > 10
    write(folder, long=long.replace("Word7 and", "Changed7 and", 1))
    await base.sync(folder)
    assert len(embedder.texts) == before + 1
    await base.close()


async def test_who_publishes_waits_for_who_writes_the_index_and_is_told(folder: Path, tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path / "data", None)
    await base.sync(folder)
    write(folder, wifi="# Wifi\n\nThe wifi password is on the router.\n")
    async with writer_lock(tmp_path / "data"):
        report = await base.sync(folder, wait=0.3)
        assert report.added == 1
        assert f"being indexed by process {os.getpid()}" in report.notes[0]
        assert "wifi" not in await found(base, "wifi password"), "the edition before, whole"
        syncing = asyncio.create_task(base.sync(folder))
        await asyncio.sleep(0.1)
    # The one who wrote is gone: whoever waits does it.
    assert (await syncing).notes == ()
    assert (await found(base, "wifi password"))[0] == "wifi"
    await base.close()


async def test_an_interrupted_sync_leaves_the_edition_before(folder: Path, tmp_path: Path) -> None:
    class Slow(LetterEmbedder):
        async def embed_passages(self, texts: Sequence[str]) -> Vectors:
            await asyncio.sleep(60)
            raise AssertionError

    base = KnowledgeBase(tmp_path / "data", LetterEmbedder())
    await base.sync(folder)
    write(folder, wifi="# Wifi\n\nThe password is on the router.\n", pets="# Pets\n\nNo dogs any more.\n")
    slow = KnowledgeBase(tmp_path / "data", Slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await slow.sync(folder)
    await slow.close()
    texts = [hit.passage.text for hit in (await base.search(Query("dogs wifi password"))).hits]
    assert any("welcome" in text for text in texts)
    assert not any("router" in text for text in texts)
    # The library has it already; this one makes the index of it.
    assert counts(await base.sync(folder)) == (0, 0, 0, 5)
    assert (await found(base, "password on the router"))[0] == "wifi"
    await base.close()


async def test_killed_at_any_moment_it_is_whole_again(folder: Path, tmp_path: Path, database: Source) -> None:
    """A process that syncs without end is killed at random moments; each time a new one finds a whole edition."""
    (folder / "edition.md").write_text("# Edition\n\nThis is edition zero of everything.\n")
    write(folder, twin="# Twin\n\nThis is edition zero of everything.\n")
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom knowledge.base import KnowledgeBase\n"
        "from tests.knowledge.embedder import LetterEmbedder\n"
        "async def main():\n"
        "    folder, data = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "    base = KnowledgeBase(data, LetterEmbedder(), database=data if len(sys.argv) < 4 else sys.argv[3])\n"
        "    for n in range(10**6):\n"
        "        for name in ('edition', 'twin'):\n"
        "            (folder / f'{name}.md').write_text(f'# {name}\\n\\nThis is edition n{n} of everything.\\n')\n"
        "        await base.sync(folder)\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[2]
    rng = np.random.default_rng(7)
    for _ in range(2):
        arguments = [sys.executable, "-c", code, str(folder), str(tmp_path / "data")]
        arguments += [database] if isinstance(database, str) else []
        await asyncio.to_thread(_killed, arguments, root, float(rng.uniform(0, 0.4)))
        await _is_whole(tmp_path / "data", database)


def _killed(arguments: Sequence[str], place: Path, seconds: float) -> None:
    """Run this, and kill it so many seconds after its first line."""
    process = subprocess.Popen(arguments, cwd=place, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


async def _is_whole(data: Path, database: Source) -> None:
    base = KnowledgeBase(data, LetterEmbedder(), database=database)
    result = await base.search(Query("this is edition of everything", 10))
    texts = {hit.passage.text for hit in result.hits if hit.passage.document in ("edition", "twin")}
    await base.close()
    assert result.note == ""
    assert len(texts) == 1, "both documents are of the same edition"


async def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "frontdesk.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="cannot be used") as told:
        await KnowledgeBase(tmp_path / "data", None).search(Query("dogs"))
    assert "from a backup" in told.value.hint
    assert damage(tmp_path / "data") == "file is not a database"


async def test_fault_026_damage_in_the_middle_is_found_and_says_how_to_restore(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert damage(data) == ""
    base = KnowledgeBase(data, None)
    await base.sync(folder)
    await base.close()
    assert damage(data) == ""
    file = data / "frontdesk.sqlite3"
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    assert damage(data) != ""
    assert damage(data, most_bytes=1_000) == ""
    with pytest.raises(StoreError) as told:
        await KnowledgeBase(data, None).sync(folder)
    assert "from a backup" in told.value.hint


async def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        await KnowledgeBase(tmp_path / "data", None).search(Query("dogs"))


async def test_documents_in_another_language_are_stemmed_in_it(folder: Path, tmp_path: Path) -> None:
    write(folder, kuendigung="# Kündigung\n\nBuchungen können bis zum Vortag storniert werden.\n")
    english = KnowledgeBase(tmp_path / "data", None)
    await english.sync(folder)
    assert (await english.search(Query("Buchung"))).language == "english"
    await english.close()
    german = KnowledgeBase(tmp_path / "data", None, language="German")
    assert counts(await german.sync(folder)) == (0, 0, 0, 5), "the index alone is made anew"
    result = await german.search(Query("Wie storniere ich meine Buchung?"))
    assert result.hits[0].passage.document == "kuendigung"
    assert {"buchung", "storni"} & set(result.hits[0].why.matched)
    await german.close()
