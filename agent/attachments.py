"""What can be read of the files that came with a message: text by code, pictures by a model that sees, the rest not.

No file makes `read` raise: what cannot be read gets a reason instead (`Attachment.unread`), in words that customers are told.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from agent import wording
from agent.errors import ModelError, ModelRefused
from agent.excerpts import excerpt, plain_name, reads_like_log
from agent.guard import mask, says_something, shorten
from agent.messages import Attachment, Usage
from agent.models.base import Image, ModelBackend, Payer, Prompt, PromptMessage, complete
from agent.prompting import as_data
from agent.prompts import prompt_file
from knowledge.errors import ReaderError
from knowledge.readers.encoding import read_text

Fetch = Callable[[Attachment, int], Awaitable[bytes]]
"""The first bytes of a file, at most that many."""

MOST_FILES = 5
"""Of one message."""
MOST_BYTES = 200_000
"""Of a file of text that are fetched."""
MOST_IMAGE_BYTES = 5_000_000
MOST_CHARACTERS = 12_000
"""Of all files of a message together that are kept."""
PICTURE = "(picture) "
"""What the text of a picture begins with: it is a model's, not the customer's."""
_NOTHING_SEEN = "Nothing can be made out"
"""As the prompt has it."""
MOST_PICTURE_TOKENS = 500
_GRACE_SECONDS = 0.2
"""For what is cancelled to end."""
_LEAST_CHARACTERS = 200
"""Of a file, where others have taken all the room."""

_TEXT_TYPES = (
    "json, xml, yaml, x-yaml, toml, javascript, x-javascript, ecmascript, typescript, sql, x-sh, x-shellscript, x-python, "
    "x-httpd-php, x-ndjson, jsonl, x-log, log, graphql, x-tex, x-perl, x-ruby, csv"
)
_TEXT_NAMES = (
    "txt, text, log, out, err, trace, md, markdown, rst, csv, tsv, json, jsonl, ndjson, xml, yaml, yml, toml, ini, cfg, conf, "
    "env, properties, html, htm, css, js, mjs, ts, tsx, jsx, py, rb, php, java, kt, swift, c, h, cc, cpp, hpp, cs, go, rs, sh, "
    "bash, zsh, ps1, bat, cmd, sql, diff, patch, tex, srt, vtt, ics, eml, har, plist, gradle, dockerfile"
)
_IMAGE_NAMES = "png, jpg, jpeg, gif, webp, bmp, tif, tiff, heic, heif, avif, ico"
_OTHER_NAMES = (
    "pdf, doc, docx, xls, xlsx, ppt, pptx, odt, ods, odp, pages, numbers, key, rtf, epub, zip, gz, tgz, bz2, xz, 7z, rar, tar, "
    "jar, dmg, iso, exe, msi, apk, bin, dll, so, mp3, wav, m4a, aac, ogg, oga, flac, opus, mp4, m4v, mov, avi, mkv, webm, mpg, "
    "mpeg, psd, ai, sketch, fig, pcap, dmp, parquet, sqlite, db, ttf, otf, woff, woff2"
)
_TEXT = frozenset(f"application/{one}" for one in _TEXT_TYPES.split(", "))
_TEXT_SUFFIXES = frozenset(_TEXT_NAMES.split(", "))
_IMAGE_SUFFIXES = frozenset(_IMAGE_NAMES.split(", "))
_OTHER_SUFFIXES = frozenset(_OTHER_NAMES.split(", "))
_OTHER_TYPES = (
    "audio/",
    "video/",
    "font/",
    "model/",
    "application/pdf",
    "application/zip",
    "application/gzip",
    "application/msword",
    "application/rtf",
    "application/vnd.",
    "application/x-7z",
    "application/x-rar",
    "application/x-tar",
    "application/java-archive",
)


@dataclass(frozen=True, slots=True)
class Read:
    """The attachments in their order, each with `text` or `unread`; what models cost, and notes for staff."""

    attachments: tuple[Attachment, ...]
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _One:
    """One file, once it was looked at. `text` is all of it."""

    text: str = ""
    unread: str = ""
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()


async def read(
    attachments: Sequence[Attachment],
    fetch: Fetch,
    *,
    vision: ModelBackend | None,
    payer: Payer,
    question: str = "",
    seconds: float = 12,
) -> Read:
    """Read what has a `source` and neither `text` nor `unread`; all at once, within `seconds`.

    `vision` reads pictures, `payer` pays for it, and `question` is what the customer wrote with them.
    """
    waiting = [n for n, one in enumerate(attachments) if one.source and one.text is None and not one.unread]
    reader = _Reader(fetch, vision, payer, question, asyncio.get_running_loop().time() + seconds)
    tasks = [asyncio.create_task(reader.look(attachments[number])) for number in waiting[:MOST_FILES]]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
    finally:
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_GRACE_SECONDS)
    found = [_outcome(task) for task in tasks] + [_One(unread=wording.TOO_MANY)] * len(waiting[MOST_FILES:])
    taken = sum(len(one.text) for one in attachments if one.text)
    texts = _fitted([one.text for one in found], [attachments[n].name for n in waiting], MOST_CHARACTERS - taken)
    made = list(attachments)
    for number, one, text in zip(waiting, found, texts, strict=True):
        made[number] = replace(made[number], text=text or None, unread=one.unread)
    notes = tuple(dict.fromkeys(note for one in found for note in one.notes))
    return Read(tuple(made), sum((one.usage for one in found), Usage()), notes)


def _outcome(task: asyncio.Task[_One]) -> _One:
    if not task.done():
        return _One(unread=wording.NOT_OPENED, notes=("A file was not there in time.",))
    if task.cancelled():
        return _One(unread=wording.NOT_OPENED, notes=("A file was not read in time.",))
    error = task.exception()
    if error is not None:
        return _One(unread=wording.NOT_OPENED, notes=(f"A file could not be opened: {mask(str(error))[:200]}",))
    return task.result()


def _fitted(texts: Sequence[str], names: Sequence[str], room: int) -> list[str]:
    """The texts, cut to what they may be together: the short ones whole, the long ones to equal parts of the rest."""
    fitted = [""] * len(texts)
    order = sorted((number for number, text in enumerate(texts) if text), key=lambda number: len(texts[number]))
    for place, number in enumerate(order):
        share = max(_LEAST_CHARACTERS, room // (len(order) - place))
        text = texts[number]
        fitted[number] = excerpt(text, share, log=reads_like_log(text, names[number]))
        room -= len(fitted[number])
    return fitted


@dataclass(frozen=True, slots=True)
class _Reader:
    fetch: Fetch
    vision: ModelBackend | None
    payer: Payer
    question: str
    end: float

    async def look(self, attachment: Attachment) -> _One:
        """Read one file. What its connector raises is raised."""
        kind = _kind(attachment)
        if kind == "other":
            return _One(unread=wording.NO_SUCH_KIND)
        if kind == "image":
            return await self._image(attachment)
        content = (await self.fetch(attachment, MOST_BYTES))[:MOST_BYTES]
        if _image_type(content) is not None:
            return await self._image(attachment, content)
        text = await asyncio.to_thread(_text, content)
        if text is None:
            return _One(unread=wording.NO_SUCH_KIND)
        return _One(text) if text else _One(unread=wording.NOTHING_IN_IT)

    async def _image(self, attachment: Attachment, known: bytes = b"") -> _One:
        if self.vision is None:
            return _One(unread=wording.NO_PICTURES)
        if attachment.size > MOST_IMAGE_BYTES:
            return _One(unread=wording.TOO_LARGE)
        content = known
        if not known or len(known) >= MOST_BYTES or len(known) < attachment.size:
            content = await self.fetch(attachment, MOST_IMAGE_BYTES + 1)
        if len(content) > MOST_IMAGE_BYTES:
            return _One(unread=wording.TOO_LARGE)
        media_type = _image_type(content)
        if media_type is None:
            # A web page in its place, a broken file, or a format that no model knows.
            return _One(unread=wording.NO_SUCH_KIND if content[:1] not in (b"", b"<", b"{") else wording.NOT_OPENED)
        seconds = max(0.1, self.end - asyncio.get_running_loop().time())
        prompt = replace(
            vision_prompt(Image(content, media_type), attachment.name, self.question),
            seconds=seconds,
            payer=self.payer,
        )
        try:
            done = await complete(self.vision, prompt)
        except ModelError as error:
            reason = wording.NO_PICTURES if isinstance(error, ModelRefused) else wording.NOT_OPENED
            return _One(unread=reason, usage=error.usage, notes=(str(error),))
        text = mask(done.text.strip())
        if not says_something(text) or text.startswith(_NOTHING_SEEN):
            return _One(unread=wording.NOTHING_IN_IT, usage=done.usage, notes=done.notes)
        return _One(PICTURE + text, usage=done.usage, notes=done.notes)


def vision_prompt(image: Image, name: str, question: str) -> Prompt:
    """The prompt that has a picture put into words."""
    file = prompt_file("vision")
    said = f"\n<message>\n{as_data(mask(shorten(question, 1_000)))}\n</message>" if says_something(question) else ""
    return Prompt(
        role="vision",
        messages=(
            PromptMessage("system", file.text),
            PromptMessage("user", f"The picture {plain_name(name)}.{said}", images=(image,)),
        ),
        question=question,
        max_tokens=MOST_PICTURE_TOKENS,
        temperature=0.0,
        version=file.version,
    )


def _kind(attachment: Attachment) -> str:
    """What a file is by its type and name: text, image, other, or unknown. Text and unknown are looked into."""
    media_type = attachment.media_type.partition(";")[0].strip().lower()
    suffix = attachment.name.rpartition(".")[2].lower().strip()
    if media_type == "image/svg+xml" or media_type in _TEXT or media_type.endswith(("+json", "+xml", "+yaml")):
        # Office documents are "...+xml" by their types' names only.
        return "other" if "officedocument" in media_type else "text"
    if media_type.startswith("image/"):
        return "image"
    if media_type.startswith(_OTHER_TYPES) and suffix not in _TEXT_SUFFIXES:
        return "other"
    if media_type.startswith("text/") or suffix in _TEXT_SUFFIXES:
        return "text"
    if suffix in _IMAGE_SUFFIXES:
        return "image"
    return "other" if suffix in _OTHER_SUFFIXES else "unknown"


def _image_type(content: bytes) -> str | None:
    """The type of a picture that models see, by how its file begins."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def _text(content: bytes) -> str | None:
    """The text of a file, cleaned, without secrets; `None` when it is not text."""
    try:
        text: str | None = read_text(_whole_characters(content))
    except ReaderError:
        text = _with_stray_nuls(content)
    return mask(text.strip()) if text is not None else None


def _whole_characters(content: bytes) -> bytes:
    """Without half a character at the end of what was fetched."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        if content.startswith(codecs.BOM_UTF32_LE):
            return content[: len(content) // 4 * 4]
        content = content[: len(content) // 2 * 2]
        high = content[-1:] if content.startswith(codecs.BOM_UTF16_LE) else content[-2:-1]
        return content[:-2] if high and 0xD8 <= high[0] <= 0xDB else content
    for length in range(1, 4):
        if len(content) > length and content[-length] >= 0xC0:
            # A character begins here: is it whole?
            first = content[-length]
            needs = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2
            return content[:-length] if needs > length else content
        if len(content) > length and content[-length] < 0x80:
            break
    return content


def _with_stray_nuls(content: bytes) -> str | None:
    """A text with a few NULs in it, as crashed programs leave in their logs; or UTF-16 without its mark."""
    nuls = content.count(0)
    if not nuls:
        return None
    try:
        if nuls * 10 < len(content):
            return read_text(content.replace(b"\0", b""))
        for at, encoding in ((1, codecs.BOM_UTF16_LE), (0, codecs.BOM_UTF16_BE)):
            if content[at::2].count(0) * 10 > 8 * (len(content) // 2):
                return read_text(_whole_characters(encoding + content))
    except ReaderError:
        pass
    return None
