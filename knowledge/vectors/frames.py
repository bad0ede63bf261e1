"""What goes through the pipes between frontdesk and the process that runs Chroma: frames of facts and raw bytes.

A frame is two lengths (four bytes each, big-endian), that many bytes of JSON, and that many bytes of float32 numbers.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

LENGTHS = struct.Struct("!II")
LONGEST = 1 << 30
"""No frame is longer: whatever says so is not one of ours."""


def framed(facts: dict[str, Any], numbers: bytes = b"") -> bytes:
    """The bytes of one frame."""
    text = json.dumps(facts, separators=(",", ":")).encode()
    return LENGTHS.pack(len(text), len(numbers)) + text + numbers


def lengths(head: bytes) -> tuple[int, int]:
    """How many bytes of JSON and of numbers follow. Raises `ValueError` when that cannot be."""
    text, numbers = LENGTHS.unpack(head)
    if text + numbers > LONGEST:
        raise ValueError("a frame is too long")
    return text, numbers


def read_frame(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; `None` at the end, also when it comes in the middle of a frame."""
    head = source.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    text, numbers = lengths(head)
    body = source.read(text + numbers)
    if len(body) < text + numbers:
        return None
    facts: dict[str, Any] = json.loads(body[:text])
    return facts, body[text:]
