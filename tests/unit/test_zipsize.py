"""The table of contents at a zip's end, read without the zip: held against what Python's own zipfile says."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from hypothesis import example, given
from hypothesis import strategies as st

from lamina.zipsize import MOST_INFLATION, TAIL, Contents, locate, unzipped


def packed(files: dict[str, bytes], *, comment: bytes = b"", before: bytes = b"", large: bool = False) -> bytes:
    """A zip; `large` writes the wide size fields that zips need beyond 4 GB."""
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(buffer, "a" if before else "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            with archive.open(name, "w", force_zip64=large) as file:
                file.write(body)
        archive.comment = comment
    return buffer.getvalue()


def size_of(archive: bytes, tail: int = TAIL) -> int | None:
    """The size, reading no more than a part of a server's would."""
    end = archive[-tail:]
    contents = locate(end, len(archive))
    if contents is None:
        return None
    return unzipped(archive[contents.start : contents.start + contents.length], contents.files)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
trees = st.dictionaries(names, st.binary(max_size=300), max_size=12)


@given(
    trees,
    st.binary(max_size=80).filter(lambda comment: b"PK\5\6" not in comment),
    st.binary(max_size=40),
    st.booleans(),
)
@example({}, b"", b"", False)
def test_the_size_is_that_of_all_files_whatever_stands_around_them(
    files: dict[str, bytes], comment: bytes, before: bytes, large: bool
) -> None:
    archive = packed(files, comment=comment, before=before, large=large)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        expected = sum(entry.file_size for entry in opened.infolist())
    assert size_of(archive) == expected == sum(map(len, files.values()))


@given(st.binary(max_size=400), st.integers(0, 10_000))
def test_what_is_no_zip_has_no_size_and_breaks_nothing(junk: bytes, more: int) -> None:
    found = locate(junk, len(junk) + more)
    assert found is None or b"PK\5\6" in junk


@given(trees, st.data())
def test_a_damaged_table_gives_a_size_or_none_and_never_an_error(files: dict[str, bytes], data: st.DataObject) -> None:
    archive = bytearray(packed(files))
    for _ in range(3):
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] = data.draw(st.integers(0, 255))
    found = size_of(bytes(archive))
    assert found is None or found >= 0


@given(trees.filter(bool), st.integers(1, 45))
def test_a_table_that_was_cut_off_is_no_table(files: dict[str, bytes], cut: int) -> None:
    archive = packed(files)
    contents = locate(archive, len(archive))
    assert contents is not None
    table = archive[contents.start : contents.start + contents.length]
    assert unzipped(table[:-cut], contents.files) is None
    assert unzipped(table, contents.files + 1) is None


def test_sizes_beyond_four_gigabytes_are_in_the_extra_field() -> None:
    size = 5 * 2**30
    extra = struct.pack("<HHQ", 1, 8, size)
    header = struct.pack(
        "<4s4B4H3L5H2L", b"PK\1\2", 45, 0, 45, 0, 0, 8, 0, 0, 0, 9, 2**32 - 1, 1, len(extra), 0, 0, 0, 0, 0
    )
    assert unzipped(header + b"a" + extra, 1) == size
    assert unzipped(header + b"a" + b"\0" * len(extra), 1) is None


def test_more_than_65535_files_have_an_end_of_their_own() -> None:
    archive = packed({f"{number:x}": b"" for number in range(0x10001)})
    contents = locate(archive[-TAIL:], len(archive))
    assert contents is not None and contents.files == 0x10001
    assert contents.start < len(archive) - TAIL
    assert size_of(archive) == 0


def test_the_table_may_begin_before_the_tail() -> None:
    archive = packed({f"{'long' * 20}{number}": b"x" for number in range(2000)})
    contents = locate(archive[-TAIL:], len(archive))
    assert isinstance(contents, Contents) and contents.start < len(archive) - TAIL
    assert size_of(archive) == 2000


@given(st.sampled_from([b"\0", b"ab", b"\xff"]), st.integers(0, 3_000_000), st.integers(1, 9))
@example(b"\0", 20_000_000, 9)
def test_nothing_deflates_to_less_than_the_bound(pattern: bytes, count: int, level: int) -> None:
    body = pattern * count
    deflated = zlib.compressobj(level, zlib.DEFLATED, -15)
    assert len(deflated.compress(body) + deflated.flush()) * MOST_INFLATION >= len(body)
