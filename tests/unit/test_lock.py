"""Locks: text and back, what a resolver's answer becomes, what moved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.lock import Lock, Pin, diff, from_pylock, parse_lock

HASH = "a" * 64
names = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True)
pins = st.builds(
    Pin,
    names,
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\.post1|rc1)?", fullmatch=True),
    st.lists(st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3, unique=True).map(
        lambda hashes: tuple(sorted(hashes))
    ),
    st.none()
    | st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
    ),
)


@given(st.lists(pins, unique_by=lambda pin: pin.name))
def test_a_lock_survives_its_own_text(found: list[Pin]) -> None:
    lock = Lock.of(found)

    assert parse_lock(lock.render()) == lock
    assert parse_lock(lock.render()).render() == lock.render()


def test_the_text_is_what_an_installer_takes() -> None:
    moment = datetime(2024, 5, 29, 15, 37, 47, tzinfo=UTC)
    lock = Lock.of([Pin("requests", "2.32.3", (f"sha256:{HASH}", f"sha256:{'b' * 64}"), moment), Pin("idna", "3.7")])

    assert lock.render() == (
        "idna==3.7\n"
        "requests==2.32.3 \\\n"
        f"    --hash=sha256:{HASH} \\\n"
        f"    --hash=sha256:{'b' * 64}\n"
        "    # uploaded 2024-05-29T15:37:47Z\n"
    )


def test_a_resolvers_answer_loses_its_urls_and_keeps_the_latest_upload() -> None:
    lock = from_pylock(
        f"""
        lock-version = "1.0"
        [[packages]]
        name = "Charset_Normalizer"
        version = "3.3.2"
        wheels = [
          {{ url = "http://index.invalid/b", upload-time = 2024-01-02T00:00:00Z, hashes = {{ sha256 = "{HASH}" }} }},
          {{ url = "http://index.invalid/a", upload-time = 2024-01-01T00:00:00Z, hashes = {{ sha256 = "{HASH}" }} }},
        ]
        """
    )

    assert lock.pins == {
        "charset-normalizer": Pin("charset-normalizer", "3.3.2", (f"sha256:{HASH}",), datetime(2024, 1, 2, tzinfo=UTC))
    }
    assert "invalid" not in lock.render()


@pytest.mark.parametrize(
    "package", ['name = "x"', 'name = "x"\nversion = "1"', 'name = "x"\ndirectory = { path = "." }']
)
def test_an_answer_without_version_or_hash_is_no_lock(package: str) -> None:
    with pytest.raises(ValueError, match="no exact version with a SHA-256 hash for x"):
        from_pylock(f"[[packages]]\n{package}")


@pytest.mark.parametrize("line", ["requests>=2", "-r other.txt", "requests @ https://x", "--hash=sha256:" + HASH])
def test_a_text_that_is_no_lock_is_not_read_as_one(line: str) -> None:
    with pytest.raises(ValueError, match="line 1 of the lock is not a pin"):
        parse_lock(line)


@given(
    st.dictionaries(names, st.sampled_from(["1", "2", "3"])), st.dictionaries(names, st.sampled_from(["1", "2", "3"]))
)
def test_the_difference_turns_the_old_packages_into_the_new(old: dict[str, str], new: dict[str, str]) -> None:
    result = dict(old)
    for change in diff(old, new):
        assert result.get(change.package) == change.from_
        if change.to is None:
            del result[change.package]
        else:
            result[change.package] = change.to

    assert result == new


def test_a_change_says_whether_the_team_asked_for_the_package() -> None:
    changes = diff({"a": "1", "b": "1"}, {"a": "2", "c": "1"}, {"a"})

    assert [(change.package, change.from_, change.to, change.direct) for change in changes] == [
        ("a", "1", "2", True),
        ("b", "1", None, False),
        ("c", None, "1", False),
    ]
