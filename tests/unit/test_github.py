"""GitHub's deliveries: proven over the raw bytes, read for names only."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.github import Ignored, Malformed, Notice, genuine, parse


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def advisory(**changes: Any) -> dict[str, Any]:
    return {
        "action": "published",
        "security_advisory": {
            "ghsa_id": "GHSA-j8r2-6x86-q33q",
            "cve_id": "CVE-2023-32681",
            "identifiers": [{"type": "GHSA", "value": "GHSA-j8r2-6x86-q33q"}],
            "severity": "moderate",
            "withdrawn_at": None,
            "vulnerabilities": [
                {"package": {"ecosystem": "pip", "name": "Requests"}, "first_patched_version": None},
                {"package": {"ecosystem": "go", "name": "example.com/x"}},
            ],
        }
        | changes,
    }


def alert(action: str = "created", **changes: Any) -> dict[str, Any]:
    return {
        "action": action,
        "alert": {
            "dependency": {"package": {"ecosystem": "npm", "name": "@scope/Thing"}},
            "security_advisory": {"ghsa_id": "GHSA-aaaa-bbbb-cccc", "cve_id": None},
            "security_vulnerability": {"first_patched_version": {"identifier": "999.0.0"}},
        }
        | changes,
    }


@given(st.text(min_size=1), st.binary(max_size=50), st.binary(max_size=50))
def test_only_the_very_bytes_that_were_signed_with_the_secret_are_genuine(
    secret: str, body: bytes, other: bytes
) -> None:
    try:
        signature = sign(secret, body)
    except UnicodeEncodeError:
        return
    assert genuine(secret, body, signature)
    assert genuine(secret, other, signature) is (other == body)
    assert not genuine(secret + "x", body, signature)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 64, "sha256=" + "0" * 63, "0" * 64, "sha256=ünicode"],
)
def test_another_signature_is_not_genuine(signature: str) -> None:
    assert not genuine("secret", b"{}", signature)


def test_nothing_is_genuine_with_an_empty_secret() -> None:
    assert not genuine("", b"{}", sign("", b"{}"))


def test_a_security_advisory_points_to_its_names_and_to_packages_that_layers_are_made_of() -> None:
    assert parse("security_advisory", json.dumps(advisory()).encode()) == Notice(
        frozenset({"GHSA-j8r2-6x86-q33q", "CVE-2023-32681"}), frozenset({("PyPI", "requests")})
    )


def test_a_dependabot_alert_points_to_its_dependency() -> None:
    assert parse("dependabot_alert", json.dumps(alert()).encode()) == Notice(
        frozenset({"GHSA-aaaa-bbbb-cccc"}), frozenset({("npm", "@scope/Thing")})
    )


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("ping", {"zen": "Design for failure."}, "pong"),
        ("push", {"ref": "main"}, "events of kind 'push' start no update"),
        ("", {}, "events of kind '' start no update"),
        ("security_advisory", advisory() | {"action": "withdrawn"}, "that is 'withdrawn' starts no update"),
        ("security_advisory", advisory(withdrawn_at="2024-01-01T00:00:00Z"), "the advisory is withdrawn"),
        ("security_advisory", advisory(vulnerabilities=[]), "about no package of PyPI or npm"),
        ("dependabot_alert", alert("fixed"), "that is 'fixed' starts no update"),
        ("dependabot_alert", alert("dismissed"), "that is 'dismissed' starts no update"),
        (
            "dependabot_alert",
            alert(dependency={"package": {"ecosystem": "maven", "name": "a:b"}}),
            "about no package of PyPI or npm",
        ),
    ],
)
def test_a_delivery_that_asks_for_nothing_says_why(kind: str, body: object, why: str) -> None:
    found = parse(kind, json.dumps(body).encode())

    assert isinstance(found, Ignored)
    assert why in found.why


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("security_advisory", b"payload=%7B%7D", "is not JSON"),
        ("security_advisory", b"\xff", "is not JSON"),
        ("security_advisory", b"[]", "must be a JSON object"),
        ("security_advisory", json.dumps(alert()).encode(), '"security_advisory" is missing'),
        ("dependabot_alert", json.dumps(advisory()).encode(), '"alert" is missing'),
        ("security_advisory", json.dumps(advisory() | {"action": 5}).encode(), '"action" is missing'),
        ("security_advisory", json.dumps(advisory(vulnerabilities=None)).encode(), 'no "vulnerabilities"'),
        ("security_advisory", json.dumps(advisory(vulnerabilities=["requests"])).encode(), '"package" is missing'),
        (
            "security_advisory",
            json.dumps(advisory(vulnerabilities=[{"package": {"ecosystem": "pip"}}])).encode(),
            'lacks its "name"',
        ),
        (
            "security_advisory",
            json.dumps(advisory(ghsa_id="../../etc", cve_id=7, identifiers=None)).encode(),
            'neither a "ghsa_id" nor a "cve_id"',
        ),
        ("dependabot_alert", json.dumps(alert(dependency=None)).encode(), '"dependency" is missing'),
    ],
)
def test_a_malformed_delivery_is_refused_with_a_message_of_its_own(kind: str, body: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        parse(kind, body)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["action", "alert", "security_advisory", "ghsa_id", "vulnerabilities", "package", "dependency", "identifiers"]), inner), max_leaves=12))  # fmt: skip  # noqa: E501
def test_whatever_is_delivered_is_read_ignored_or_refused_but_never_an_accident(raw: object) -> None:
    for kind in ("security_advisory", "dependabot_alert"):
        try:
            parse(kind, json.dumps(raw).encode())
        except Malformed as refused:
            assert str(refused)
