"""The images of a FITS file and the places of their bytes, by its headers, checked against its size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from heliorestore.errors import BurstError
from heliorestore.fits.files import length_of, read_exactly, silent_astropy

if TYPE_CHECKING:
    from astropy.io.fits import Header

T = TypeVar("T", float, None)

BLOCK = 2880
CARD = 80
_MOST_COLUMNS = 999
_LONGEST_HEADER = 3 * 2**20  # 39 000 cards
_MOST_TILED_PIXELS = 2**24  # of one plane or tile of a small compressed file: 64 MiB as float32
_PIXELS_PER_BYTE = 100  # no real image compresses further
_TILE_CODES = ("GZIP_1", "GZIP_2", "RICE_1", "RICE_ONE", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")
_STRING = re.compile(r"\s*'((?:[^']|'')*)'")
_KEYWORD = re.compile(r"[A-Z0-9_ .-]*\Z")
_INTEGER = re.compile(r"[+-]?\d{1,30}\Z")
STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|BSCALE|BZERO|BLANK|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|CHECKSUM|DATASUM|END"
    r"|(TTYPE|TFORM|TUNIT|TNULL|TSCAL|TZERO|TDISP|TDIM|TBCOL)\d+"
    r"|Z(IMAGE|SIMPLE|EXTEND|TENSION|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0|BLANK|PCOUNT|GCOUNT"
    r"|HECKSUM|DATASUM|HECKSU|SCALE|ZERO))\Z"
)
"""Keywords that describe the layout of bytes in the old file, and nothing about the Sun."""


FOREIGN = {"ana": "ANA", "lapalma": "La Palma cube"}
"""The formats that are not FITS; what their headers say is one card, TEXT."""


@dataclass(frozen=True)
class Image:
    """An image in a file: `shape` in numpy's order (slowest axis first), `cards` its own over those of the
    primary header.

    `code` is the compression of its tiles, or a key of FOREIGN, and empty for plain pixels at `data_at`;
    `frames_table` and `objects_table` are the numbers of the file's tables FRAMES and OBJECTS, 0 for none.
    `little`: plain pixels have their lowest byte first, which is never so in FITS.
    """

    path: Path
    number: int = 0
    cards: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    bitpix: int = -32
    data_at: int = 0
    data_size: int = 0
    code: str = ""
    header_at: tuple[tuple[int, int], ...] = ()
    frames_table: int = 0
    objects_table: int = 0
    little: bool = False

    @property
    def plain(self) -> bool:
        """Whether the pixels lie in the file one after the other, uncompressed."""
        return not self.code or (self.code in FOREIGN and self.data_size > 0)


@dataclass(frozen=True)
class Hdu:
    """One header and the place of its data; sizes in bytes."""

    number: int
    cards: Mapping[str, Any]
    header_at: int
    header_size: int
    data_at: int
    data_size: int

    @property
    def kind(self) -> str:
        return str(self.cards.get("XTENSION", "IMAGE")).strip()


def scan(file: BinaryIO, path: Path) -> list[Hdu]:
    """Return every HDU of an open FITS file, in order; a damaged file is a BurstError."""
    end = length_of(file)
    start = read_exactly(file, 0, min(end, CARD), path)
    if not end:
        raise BurstError(f"{path} is empty: copy or write it again.")
    if not start.startswith(b"SIMPLE  ="):
        raise BurstError(
            f"{path} is not a FITS file: it begins with {start[:16]!r}; readable are FITS, "
            "gzipped FITS, ANA files and cubes of CRISPEX."
        )
    hdus: list[Hdu] = []
    at = 0
    while at < end:
        if hdus and not _goes_on(file, at, end, path, len(hdus)):
            break
        text, size = _header_text(file, at, end, path, len(hdus))
        cards = parse_cards(text)
        if _count(cards, "TFIELDS", path, len(hdus), 0) > _MOST_COLUMNS:
            raise BurstError(
                f"{path} is damaged: HDU {len(hdus)} has {cards['TFIELDS']} columns; FITS allows at "
                f"most {_MOST_COLUMNS}."
            )
        data_at = at + size
        data_size = _data_size(cards, path, len(hdus))
        if data_at + data_size > end:
            raise BurstError(
                f"{path} is cut off: HDU {len(hdus)} has {data_size} bytes of data by its header, but "
                f"the file ends after {max(end - data_at, 0)} of them; copy it again."
            )
        hdus.append(Hdu(len(hdus), cards, at, len(text), data_at, data_size))
        at = data_at + math.ceil(data_size / BLOCK) * BLOCK
    return hdus


def _goes_on(file: BinaryIO, at: int, end: int, path: Path, number: int) -> bool:
    """Whether another extension begins here; a file may end in padding, anything else is damage."""
    block = read_exactly(file, at, min(BLOCK, end - at), path)
    if block.startswith(b"XTENSION"):
        return True
    if not block.strip(b"\0 "):
        return False
    raise BurstError(
        f"{path} is damaged: after HDU {number - 1} come {end - at} bytes that are not a FITS "
        "extension; copy it again."
    )


def _header_text(file: BinaryIO, at: int, end: int, path: Path, number: int) -> tuple[str, int]:
    """The cards before END as text, and the size of the header's blocks."""
    blocks: list[str] = []
    while len(blocks) * BLOCK < _LONGEST_HEADER:
        offset = at + len(blocks) * BLOCK
        if offset + BLOCK > end:
            raise BurstError(
                f"{path} is cut off in the header of HDU {number}: no END card before the end "
                "of the file; copy it again."
            )
        # A byte beyond ASCII spoils its card, not the whole header.
        block = read_exactly(file, offset, BLOCK, path).decode("ascii", "replace").replace("\ufffd", "?")
        blocks.append(block)
        for card in range(0, BLOCK, CARD):
            if block.startswith("END", card) and not block[card + 3 : card + CARD].strip(" \0"):
                text = "".join(blocks)[: len(blocks) * BLOCK - BLOCK + card]
                return text, len(blocks) * BLOCK
    raise BurstError(
        f"{path} has no END card in the first {_LONGEST_HEADER >> 20} MiB of HDU {number}'s "
        "header: it is damaged."
    )


def parse_cards(text: str) -> dict[str, Any]:
    """Keyword and value of the plain cards of a header; of a repeated keyword the first counts."""
    cards: dict[str, Any] = {}
    for at in range(0, len(text), CARD):
        # The value indicator of the FITS standard: other cards are comments.
        if text[at + 8 : at + 10] == "= ":
            cards.setdefault(text[at : at + 8].rstrip(), _value(text[at + 10 : at + CARD]))
    return cards


def _value(text: str) -> Any:
    if quoted := _STRING.match(text):
        return quoted[1].replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    if _INTEGER.match(word):
        return int(word)
    try:
        # Fortran writes exponents with D; Python alone would read 1_000 as a number.
        return float(word.upper().replace("D", "E")) if "_" not in word else None
    except ValueError:
        return None


def card_number(cards: Mapping[str, Any], key: str, default: T) -> float | T:
    """The number in a card, the default where there is none; true and false are no numbers."""
    value = cards.get(key)
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if sound and value is not None else default


def _count(cards: Mapping[str, Any], key: str, path: Path, number: int, default: int | None = None) -> int:
    value = cards.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BurstError(
            f"{path} is damaged: {key} of HDU {number} is {value!r} and must be a whole number of at least 0."
        )
    return value


def _shape(cards: Mapping[str, Any], path: Path, number: int, prefix: str = "") -> tuple[int, ...]:
    """The axes of the data in numpy's order."""
    axes = _count(cards, f"{prefix}NAXIS", path, number)
    if axes > 999:
        raise BurstError(f"{path} is damaged: HDU {number} has {axes} axes, and FITS allows at most 999.")
    return tuple(_count(cards, f"{prefix}NAXIS{axis}", path, number) for axis in range(axes, 0, -1))


def _bitpix(cards: Mapping[str, Any], path: Path, number: int, prefix: str = "") -> int:
    bits = cards.get(f"{prefix}BITPIX")
    if bits not in (8, 16, 32, 64, -32, -64) or isinstance(bits, (bool, float)):
        raise BurstError(
            f"{path} is damaged: BITPIX of HDU {number} is {bits!r}; FITS allows 8, 16, 32, 64, -32 and -64."
        )
    return int(bits)


def _data_size(cards: Mapping[str, Any], path: Path, number: int) -> int:
    bits = abs(_bitpix(cards, path, number))
    shape = _shape(cards, path, number)
    if not shape:
        return 0
    # Random groups: NAXIS1 = 0 is their mark and not part of the size.
    if cards.get("GROUPS") is True and shape[-1] == 0:
        shape = shape[:-1]
    # The standard's formula: |BITPIX| GCOUNT (PCOUNT + NAXIS1 NAXIS2 ...).
    elements = _count(cards, "GCOUNT", path, number, 1) * (
        _count(cards, "PCOUNT", path, number, 0) + math.prod(shape)
    )
    return elements * bits // 8


def images_of(hdus: list[Hdu], path: Path) -> list[Image]:
    """The images among the HDUs, plain and tile-compressed, of any shape."""
    found = []
    primary = hdus[0]
    # Tables beside the images: times of the frames that need no regular step, what is known of objects.
    named = {str(hdu.cards.get("EXTNAME")): hdu.number for hdu in reversed(hdus) if hdu.kind == "BINTABLE"}
    for hdu in hdus:
        tiled = hdu.kind == "BINTABLE" and hdu.cards.get("ZIMAGE") is True
        if not tiled and (
            hdu.kind not in ("IMAGE", "IUEIMAGE") or not hdu.data_size or hdu.cards.get("GROUPS") is True
        ):
            continue
        prefix = "Z" if tiled else ""
        shape = _shape(hdu.cards, path, hdu.number, prefix)
        # An extension has the primary header's cards too, but not those on its bytes.
        inherited = (
            {}
            if hdu is primary
            else {k: v for k, v in primary.cards.items() if not (STRUCTURE.match(k) or k == "EXTNAME")}
        )
        where = [hdu] if hdu is primary else [hdu, primary]
        found.append(
            Image(
                path=path,
                number=hdu.number,
                cards=inherited | dict(hdu.cards),
                shape=shape,
                bitpix=_bitpix(hdu.cards, path, hdu.number, prefix),
                data_at=hdu.data_at,
                data_size=hdu.data_size,
                code=_tile_code(hdu, shape, path) if tiled else "",
                header_at=tuple((h.header_at, h.header_size) for h in where),
                frames_table=named.get("FRAMES", 0),
                objects_table=named.get("OBJECTS", 0),
            )
        )
    return found


def tile_shape(cards: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a compressed image's tiles in numpy's order; by default they are rows."""
    return tuple(
        cards.get(f"ZTILE{axis}", shape[-1] if axis == 1 else 1) for axis in range(len(shape), 0, -1)
    )


def _tile_code(hdu: Hdu, shape: tuple[int, ...], path: Path) -> str:
    """The compression of the tiles, after a check that their sizes are possible ones."""
    code = str(hdu.cards.get("ZCMPTYPE", "")).strip()
    if code not in _TILE_CODES:
        raise BurstError(
            f"{path}: the compression {code!r} of HDU {hdu.number} is unknown; readable are "
            f"{', '.join(_TILE_CODES)}."
        )
    tile = tile_shape(hdu.cards, shape)
    if not all(isinstance(n, int) and n > 0 for n in tile):
        raise BurstError(f"{path} is damaged: the tiles of HDU {hdu.number} have the shape {tile}.")
    tiles = math.prod(math.ceil(n / t) for n, t in zip(shape, tile, strict=True))
    rows = hdu.cards.get("NAXIS2")
    if tiles != rows:
        raise BurstError(
            f"{path} is damaged: HDU {hdu.number} has {rows} tiles, but an image of {shape} in "
            f"tiles of {tile} has {tiles}."
        )
    # A small damaged or hostile file must not claim an image that fills the memory.
    most = max(_MOST_TILED_PIXELS, _PIXELS_PER_BYTE * hdu.data_size)
    # Tiles extend beyond the image's edge by less than a tile, so this bounds the memory for unpacking one
    # plane.
    largest = max(
        math.prod(shape[-2:]),
        math.prod(tile),
        math.prod(max(n, t) for n, t in zip(shape[-2:], tile[-2:], strict=True)),
    )
    if largest > most or math.prod(shape) > max(_MOST_TILED_PIXELS, 64 * _PIXELS_PER_BYTE * hdu.data_size):
        raise BurstError(
            f"{path} is damaged or hostile: HDU {hdu.number} claims an image of {shape} pixels in tiles "
            f"of {tile} out of {hdu.data_size} compressed bytes."
        )
    return code


def header_of(file: BinaryIO, image: Image) -> Header:
    """The image's header with the primary's cards, without those about the layout of the old bytes."""
    from astropy.io.fits import Header

    cards: list[Any] = []
    own: set[str] = set()
    with silent_astropy():
        for at, size in image.header_at:
            text = (
                read_exactly(file, at, size, image.path)
                .decode("ascii", "replace")
                .replace("\ufffd", "?")
                .replace("\0", " ")
            )
            # Without the blank cards before END, in whose place a writer puts further cards.
            found = Header.fromstring(text.rstrip()).cards
            cards += [
                card
                for card in found
                if _is_sound(card) and not STRUCTURE.match(card.keyword) and card.keyword not in own
            ]
            # These may repeat, and are taken from both headers.
            own = {card.keyword for card in cards} - {"COMMENT", "HISTORY", ""}
    # All at once: each card that is appended to the cards above blank ones renumbers all the others.
    return Header(cards)


def _is_sound(card: Any) -> bool:
    """Whether astropy can read the card and write it again."""
    try:
        value = card.value
        if not _KEYWORD.match(card.keyword):
            return False
        card.verify("exception")
        str(card)
    except Exception:  # a damaged card fails in many ways; it is left out
        return False
    return not (isinstance(value, float) and not math.isfinite(value))
