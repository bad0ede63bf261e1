"""PDF files written by hand, for tests: a few objects, no library."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field


def text(words: str, across: float, up: float, size: float = 11, font: str = "F1") -> str:
    """The program that draws a string with its baseline at a place."""
    escaped = words.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /{font} {size} Tf 1 0 0 1 {across} {up} Tm ({escaped}) Tj ET"


def paragraph(lines: Sequence[str], up: float, across: float = 72, size: float = 11, lead: float = 14) -> str:
    """Lines of text, one below the other, from `up` on."""
    return "\n".join(text(line, across, up - lead * number, size) for number, line in enumerate(lines))


@dataclass
class Pdf:
    """A file with a page for each of `pages`, its drawing program; `extra` objects may be referred to by their keys."""

    pages: Sequence[str]
    box: str = "[0 0 612 792]"
    title: str = ""
    packed: bool = False
    crop: str = ""
    resources: str = ""
    page_extra: str = ""
    root_extra: str = ""
    extra: dict[int, bytes] = field(default_factory=dict)
    count: int | None = None

    def bytes(self) -> bytes:
        """The file."""
        first = 10
        numbers = [first + 2 * number for number in range(len(self.pages))]
        kids = " ".join(f"{number} 0 R" for number in numbers)
        info = f"<< /Title ({self.title}) /ModDate (D:20260301120000Z) >>" if self.title else "<< >>"
        objects: dict[int, bytes] = {
            1: f"<< /Type /Catalog /Pages 2 0 R {self.root_extra} >>".encode(),
            2: f"<< /Type /Pages /Kids [{kids}] /Count {self.count or len(self.pages)} >>".encode(),
            3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            4: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
            5: b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
            6: info.encode("latin-1"),
        }
        for number, program in zip(numbers, self.pages, strict=True):
            crop = f"/CropBox {self.crop}" if self.crop else ""
            objects[number] = (
                f"<< /Type /Page /Parent 2 0 R /MediaBox {self.box} {crop} {self.page_extra} /Contents {number + 1} 0 R "
                f"/Resources << /Font << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> {self.resources} >> >>"
            ).encode()
            objects[number + 1] = stream(program.encode("cp1252"), packed=self.packed)
        return assembled(objects | self.extra, "/Root 1 0 R /Info 6 0 R")


def stream(data: bytes, entries: str = "", *, packed: bool = False) -> bytes:
    """An object with data."""
    if packed:
        data, entries = zlib.compress(data, 9), f"{entries} /Filter /FlateDecode"
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def assembled(objects: dict[int, bytes], trailer: str) -> bytes:
    """The file that holds `objects`."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = {}
    for number, content in sorted(objects.items()):
        places[number] = len(out)
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    start = len(out)
    highest = max(objects) + 1
    out += f"xref\n0 {highest}\n0000000000 65535 f \n".encode()
    for number in range(1, highest):
        place = places.get(number)
        out += (f"{place:010d} 00000 n \n" if place is not None else "0000000000 00000 f \n").encode()
    out += f"trailer\n<< /Size {highest} {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def picture(width: float = 612, height: float = 792) -> str:
    """The program that draws picture `/Im1` over a page."""
    return f"q {width} 0 0 {height} 0 0 cm /Im1 Do Q"


IMAGE = stream(
    b"\x80" * 16, "/Type /XObject /Subtype /Image /Width 4 /Height 4 /ColorSpace /DeviceGray /BitsPerComponent 8"
)
"""A small grey picture."""


def encrypted(user_password: str) -> bytes:
    """A page that opens with a password only; with an empty one, everyone may read it."""
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(BytesIO(Pdf([text("Refunds take five days.", 72, 700)]).bytes())))
    writer.encrypt(user_password, "owner", algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    writer.close()
    return out.getvalue()
