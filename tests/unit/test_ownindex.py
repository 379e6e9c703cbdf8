"""What of a lock a definition's own index has, which of its files the lock means, and whether they are what it says."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from lamina.listing import File, parse_files
from lamina.lock import Lock, Pin
from lamina.npmlock import parse_npm_lock
from lamina.ownindex import fitting, intact, own_node_pins, own_pins
from lamina.resolution import Access
from lamina.runtimes import Target

TARGET = Target("3.13", "x86_64-manylinux_2_28", 62)
HASH, OTHER = "a" * 64, "b" * 64
PIN = Pin("acme-core", "1.0", (f"sha256:{HASH}",))
URL = "https://index.example.com/simple"


def names(access: Access) -> list[str]:
    return [pin.name for pin in own_pins(Lock.of([PIN, Pin("flask", "3.0"), Pin("acme", "2")]), access)]


def test_what_matches_the_patterns_is_taken_along_and_without_patterns_everything() -> None:
    assert names(Access(URL, packages=("Acme_*",))) == ["acme-core"]
    assert names(Access(URL)) == ["acme", "acme-core", "flask"]


def test_npm_packages_of_the_scopes_are_taken_along_once_for_all_their_places() -> None:
    entry = {"version": "1.0.0", "integrity": "sha512-eA=="}
    lock = parse_npm_lock(
        json.dumps({
            "lockfileVersion": 3,
            "packages": {
                "": {"dependencies": {"@acme/a": "1", "qs": "1", "alias": "npm:@acme/c@1", "@acme/arm": "1"}},
                "node_modules/@acme/a": {**entry, "dependencies": {"@acme/b": "1", "@acme/within": "1"}},
                "node_modules/@acme/a/node_modules/@acme/within": {"version": "1.0.0", "inBundle": True},
                "node_modules/@acme/b": entry,
                "node_modules/qs": {**entry, "dependencies": {"@acme/b": "1"}},
                "node_modules/qs/node_modules/@acme/b": entry,
                "node_modules/alias": {**entry, "name": "@acme/c"},
                "node_modules/@acme/arm": {**entry, "optional": True, "cpu": ["arm64"]},
            },
        }),
        "x86_64",
    )  # fmt: skip

    assert [pin.name for pin in own_node_pins(lock, Access(URL, packages=("@acme",)))] == [
        "@acme/a",
        "@acme/b",
        "@acme/c",
    ]
    assert "qs" in [pin.name for pin in own_node_pins(lock, Access(URL))]


@pytest.mark.parametrize(
    ("name", "digest", "fits"),
    [
        ("acme_core-1.0-py3-none-any.whl", HASH, True),
        ("acme_core-1.0.0-py3-none-any.whl", HASH, True),
        ("acme_core-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", "", True),
        ("acme_core-1.0-py3-none-any.whl", OTHER, False),
        ("acme_core-1.1-py3-none-any.whl", HASH, False),
        ("acme_core-1.0-cp313-cp313-manylinux_2_17_aarch64.whl", HASH, False),
        ("acme_core-1.0-cp313-cp313-manylinux_2_34_x86_64.whl", HASH, False),
        ("acme_core-1.0.tar.gz", HASH, False),
        ("acme_core-1.0-py3-none-any./../../x.whl", HASH, False),
    ],
)
def test_a_file_is_meant_if_it_is_locked_and_runs_there(name: str, digest: str, fits: bool) -> None:
    file = File(name, f"{URL}/{name}", digest)
    assert fitting([file], PIN, TARGET) == ((file,) if fits else ())


def test_a_file_is_intact_if_it_has_a_hash_of_the_lock() -> None:
    body = b"a wheel"
    sha256, sha512 = hashlib.sha256(body), base64.b64encode(hashlib.sha512(body).digest()).decode()
    sha1 = base64.b64encode(hashlib.sha1(body).digest()).decode()

    assert intact(body, (f"sha256:{HASH}", f"sha256:{sha256.hexdigest()}"))
    assert not intact(body, (f"sha256:{HASH}",))
    assert intact(body, (f"sha512-{sha512}",))
    assert intact(body, (f"sha1-{sha1}",))
    # The weaker one is not asked where there is a stronger one.
    assert not intact(body, (f"sha1-{sha1}", "sha512-eA=="))
    assert not intact(body, ())
    assert not intact(body, ("md5-eA==",))


JSON = {
    "meta": {},
    "files": [
        {"filename": "acme_core-1.0-py3-none-any.whl", "url": "../../files/w.whl", "hashes": {"sha256": HASH.upper()}},
        {"filename": "other-1.0-py3-none-any.whl", "url": "x.whl", "hashes": {"sha256": HASH}},
    ],
}
HTML = f"""<html><head><base href="https://files.example.com/a/"></head><body>
<a href="acme_core-1.0-py3-none-any.whl#sha256={HASH}">w</a> <a href="/b/acme-core-1.0.tar.gz">s</a></body></html>"""


def test_the_address_and_hash_of_each_file_are_read_from_both_forms_of_page() -> None:
    page = f"{URL}/acme-core/"

    assert parse_files(json.dumps(JSON).encode(), "application/vnd.pypi.simple.v1+json", "Acme.Core", page) == (
        File("acme_core-1.0-py3-none-any.whl", "https://index.example.com/files/w.whl", HASH),
    )
    assert parse_files(HTML.encode(), "text/html; charset=utf-8", "acme-core", page) == (
        File("acme_core-1.0-py3-none-any.whl", "https://files.example.com/a/acme_core-1.0-py3-none-any.whl", HASH),
        File("acme-core-1.0.tar.gz", "https://files.example.com/b/acme-core-1.0.tar.gz", ""),
    )
