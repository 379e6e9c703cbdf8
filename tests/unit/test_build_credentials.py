"""What is taken for a credential, and what must not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.credentials import Secret, find_secret

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
KEY_ID = "AKIA" + "QWERTYUIOPASDFGH"
SECRET = "abcdefghijABCDEFGHIJ0123456789/+abcdEFGH"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"-----BEGIN PRIVATE KEY-----\n{BODY}\n", "a private key"),
        (f"-----BEGIN OPENSSH PRIVATE KEY-----\r\n{BODY}\n", "a private key"),
        (f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{BODY}\n", "a private key"),
        (f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{BODY}\\n"}}', "a private key"),
        (f"aws_access_key_id = {KEY_ID}\naws_session = {SECRET}\n", "an AWS access key"),
        (f"aws_secret_access_key={SECRET}\n", "an AWS secret access key"),
        (f'"SecretAccessKey": "{SECRET}"', "an AWS secret access key"),
        ("ghp_" + "a1B2c3D4" * 5, "a GitHub token"),
        ("github_pat_" + "a1B2c3D4_" * 9, "a GitHub token"),
        ("glpat-" + "a1B2c3D4" * 3, "a GitLab token"),
        ("xoxb-" + "123456789012-abcdefghij", "a Slack token"),
        ("sk_live_" + "a1B2c3D4" * 3, "a Stripe key"),
        ("AIza" + "a1B2c3D" * 5, "a Google API key"),
        ("pypi-AgE" + "a1B2c3D4" * 8, "a package index token"),
        ("npm_" + "a1B2c3" * 6, "an npm token"),
        ("//registry.example.com/:_authToken=0123456789abcdef0123", "an npm token"),
        ("machine example.com login me password hunter22", "a password of a .netrc"),
    ],
)
def test_a_credential_is_found_in_its_line(text: str, what: str) -> None:
    assert find_secret(text.encode()) == Secret(what, 1)
    assert find_secret(f"one\ntwo\n{text}".encode()) == Secret(what, 3)
    assert find_secret(b"\x7fELF\0\xff\n" + text.encode()) == Secret(what, 2)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----",
        "if line == '-----BEGIN RSA PRIVATE KEY-----':\n    read(key)\n",
        f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n",
        f"-----BEGIN PUBLIC KEY-----\n{BODY}\n",
        f"the key {KEY_ID} was rotated",
        f"{KEY_ID} {'0123456789abcdef' * 2}01234567",
        "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']",
        "//registry.example.com/:_authToken=${NPM_TOKEN}",
        "ghp_short",
        "machine learning login password",
    ],
)
def test_what_is_no_credential_is_left_alone(text: str) -> None:
    assert find_secret(text.encode()) is None


@given(st.binary(max_size=400))
def test_any_file_can_be_looked_at(body: bytes) -> None:
    find_secret(body)
