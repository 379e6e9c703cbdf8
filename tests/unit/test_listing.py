"""What an index lists: its pages in both forms, and what was there at a moment."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from lamina.listing import HTML_PAGE, JSON_PAGE, Listed, Listing, parse_simple

DAY = datetime(2024, 5, 20, 16, 8, 19, 530618, tzinfo=UTC)


def as_json(files: list[dict[str, object]]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "acme-core", "files": files}).encode()


def as_html(files: list[dict[str, object]]) -> bytes:
    lines = []
    for file in files:
        attributes = f'href="../../files/ab/{quote(str(file["filename"]))}#sha256=00"'
        if "upload-time" in file:
            attributes += f' data-upload-time="{file["upload-time"]}"'
        if "requires-python" in file:
            attributes += f' data-requires-python="{html.escape(str(file["requires-python"]))}"'
        if (yanked := file.get("yanked", False)) is not False:
            attributes += f' data-yanked="{html.escape(yanked) if isinstance(yanked, str) else ""}"'
        lines.append(f"<a {attributes}>{html.escape(str(file['filename']))}</a><br/>")
    return "\n".join(["<!DOCTYPE html><html><body>", *lines, "</body></html>"]).encode()


def listed(*files: dict[str, object]) -> tuple[Listed, ...]:
    return parse_simple(as_json(list(files)), JSON_PAGE, "acme-core").versions


def file(name: str, moment: datetime | None = DAY, **others: object) -> dict[str, object]:
    time = {} if moment is None else {"upload-time": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"}
    return {"filename": name, **time, **{key.replace("_", "-"): value for key, value in others.items()}}


def test_a_version_is_all_its_files_together() -> None:
    later = DAY + timedelta(hours=3)

    assert listed(
        file("acme_core-1.0-py3-none-any.whl", later, requires_python=">=3.9"),
        file("acme_core-1.0.tar.gz", requires_python=">=3.9"),
        file("acme-core-0.9.zip", DAY - timedelta(days=9)),
    ) == (
        Listed("0.9", DAY - timedelta(days=9), source=True),
        Listed("1.0", DAY, None, ">=3.9", ("acme_core-1.0-py3-none-any.whl",), True, (later,)),
    )


@pytest.mark.parametrize(
    "name",
    [
        "acme_core-1.0-py3-none-any.whl.asc",
        "acme_core-1.0.exe",
        "acme_core-1.0-py2.7.egg",
        "acme_core-one-py3-none-any.whl",
        "acme_core-py3.whl",
        "acme_core_extra-1.0-py3-none-any.whl",
        "acme-core-extra-1.0.tar.gz",
        "",
    ],
)
def test_files_that_are_no_distribution_of_the_package_are_left_out(name: str) -> None:
    assert listed(file("acme_core-1.0.tar.gz"), file(name)) == (Listed("1.0", DAY, source=True),)


def test_versions_come_in_their_own_order_and_in_their_normal_form() -> None:
    names = ["acme_core-1.10.tar.gz", "acme_core-1.9.tar.gz", "acme_core-1.9.0RC1.tar.gz", "acme_core-1!0.1.tar.gz"]

    assert [entry.version for entry in listed(*map(file, names))] == ["1.9.0rc1", "1.9", "1.10", "1!0.1"]


def test_a_version_is_withdrawn_if_all_its_files_are_and_says_why() -> None:
    wheel, source = "acme_core-1.0-py3-none-any.whl", "acme_core-1.0.tar.gz"

    assert listed(file(wheel, yanked=True), file(source, yanked=" broken "))[0].yanked == "broken"
    assert listed(file(wheel, yanked=True), file(source, yanked=True))[0].yanked == ""
    assert listed(file(wheel, yanked="broken"), file(source))[0].yanked is None
    assert listed(file(wheel, yanked=False))[0].yanked is None
    assert listed(file(wheel, yanked=""))[0].yanked is None


def test_a_version_with_an_undated_file_is_undated() -> None:
    (entry,) = listed(file("acme_core-1.0-py3-none-any.whl"), file("acme_core-1.0.tar.gz", None))

    assert (entry.uploaded, entry.arrivals) == (None, ())


@pytest.mark.parametrize("text", ["", "yesterday", 17, None, "2024-13-01T00:00:00Z"])
def test_an_upload_time_that_cannot_be_read_is_none(text: object) -> None:
    assert listed({"filename": "acme_core-1.0.tar.gz", "upload-time": text})[0].uploaded is None


@pytest.mark.parametrize("text", ["2024-05-20T16:08:19.530618Z", "2024-05-20T18:08:19.530618+02:00"])
def test_upload_times_are_in_utc(text: str) -> None:
    assert listed({"filename": "acme_core-1.0.tar.gz", "upload-time": text})[0].uploaded == DAY


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"<html><form>Log in</form></html>", "text/html; charset=utf-8", "does not list files"),
        (b'<html><a href="https://login.example.com/acme">acme</a></html>', "text/html", "does not list files"),
        (b"", "", "does not list files"),
        (b"{}", JSON_PAGE, "files"),
        (b"[]", JSON_PAGE, "files"),
        (b'{"files": {}}', "application/json", "files"),
        (b"<html>", JSON_PAGE, "Expecting value"),
        (b"\xff\xff{", JSON_PAGE, "decode"),
        (b"name,version", "text/csv", "text/csv"),
    ],
)
def test_what_is_no_page_of_an_index_is_not_taken_for_an_empty_one(body: bytes, kind: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_simple(body, kind, "acme-core")


def test_a_package_whose_files_are_all_gone_has_no_versions() -> None:
    assert parse_simple(b'{"files": []}', JSON_PAGE, "Acme.Core") == Listing("PyPI", "acme-core", ())


def test_entries_of_a_page_that_make_no_sense_are_left_out() -> None:
    body = b'{"files": [null, 7, {}, {"filename": 3}, {"filename": "acme_core-1.0.tar.gz", "requires-python": 3}]}'

    assert parse_simple(body, JSON_PAGE, "acme-core").versions == (Listed("1.0", source=True),)


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=UTF-8", HTML_PAGE, ""])
def test_an_unescaped_attribute_and_an_address_with_a_query_are_understood(kind: str) -> None:
    body = b"<a data-requires-python='>=3.9' href='https://x.example/a/acme_core-1.0%2Bcpu.tar.gz?x=1/2#sha256=0'>x</a>"

    assert parse_simple(body, kind, "acme_core").versions == (Listed("1.0+cpu", requires=">=3.9", source=True),)


versions = st.sampled_from(["1.0", "1.1", "1.1.0", "2.0rc1", "2.0", "2.0.post1", "10.0", "1!0.1", "1.0+cpu"])
files = st.lists(
    st.builds(
        lambda version, shape, moment, yanked, requires: (
            {"filename": shape.format(version)}
            | ({} if moment is None else {"upload-time": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"})
            | ({} if yanked is None else {"yanked": yanked})
            | ({} if requires is None else {"requires-python": requires})
        ),
        versions,
        st.sampled_from(
            [
                "acme_core-{}-py3-none-any.whl",
                "acme_core-{}-cp313-cp313-manylinux_2_28_x86_64.whl",
                "acme_core-{}.tar.gz",
                "acme-core-{}.zip",
                "other-{}.zip",
                "acme_core-{}.exe",
            ]
        ),
        st.none() | st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1)),
        st.none() | st.booleans() | st.sampled_from(['broken "<b>"', "it & that"]),
        st.none() | st.sampled_from([">=3.9", "<4,>=3.8", "!=3.0.*"]),
    ),
    min_size=1,
    unique_by=lambda file: file["filename"],
)


@given(files)
def test_both_forms_of_a_page_say_the_same(there: list[dict[str, object]]) -> None:
    anchor: dict[str, object] = {"filename": "acme_core-0.0.0.tar.gz"}

    assert parse_simple(as_json([anchor, *there]), JSON_PAGE, "acme-core") == parse_simple(
        as_html([anchor, *there]), "text/html", "acme-core"
    )


@given(files)
def test_versions_rise_and_none_is_there_twice(there: list[dict[str, object]]) -> None:
    found = [Version(entry.version) for entry in parse_simple(as_json(there), JSON_PAGE, "acme-core").versions]

    assert found == sorted(set(found))


def test_a_version_is_found_however_it_is_written() -> None:
    listing = Listing("PyPI", "x", (Listed("2.0"), Listed("2.1")))

    assert listing.find("2.1") == Listed("2.1")
    assert listing.find("2.0.0") == Listed("2.0")
    assert listing.find("3.0") is None
    assert listing.find("none") is None
    assert Listing("npm", "x", (Listed("2.0.0"),)).find("v2.0.0") == Listed("2.0.0")


def test_what_there_was_before_a_moment_is_older_versions_with_older_wheels() -> None:
    hour = timedelta(hours=1)
    listing = Listing(
        "PyPI",
        "x",
        (
            Listed("1.0", DAY - hour, None, "", ("a", "b"), True, (DAY - hour, DAY)),
            Listed("1.1"),
            Listed("2.0", DAY, None, "", ("c",), True, (DAY,)),
        ),
    )

    assert listing.before(DAY).versions == (
        Listed("1.0", DAY - hour, None, "", ("a",), True, (DAY - hour,)),
        Listed("1.1"),
    )
    assert listing.before(DAY + hour) == listing
