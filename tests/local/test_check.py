"""`python -m local check`: what it says, what it leaves, and its exit codes, against an index on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local.osv import RECORDS
from tests.simpleindex import SimpleIndex
from tests.unit.malformed import WHOLE

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=60), NOW - timedelta(days=2)
LOCK = "app==1.0\nhelper==1.0\n"
ADVISORY = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "modified": "2024-01-01T00:00:00Z",
    "published": "2024-01-01T00:00:00Z",
    "summary": "helper forgets",
    "affected": [
        {
            "package": {"name": "helper", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


@pytest.fixture
def index() -> Iterator[SimpleIndex]:
    with SimpleIndex() as served:
        served.add("app", "1.0", uploaded=OLD, requires=["helper"])
        served.add("app", "1.1", uploaded=OLD, requires=["helper"])
        served.add("app", "1.2", uploaded=YOUNG, requires=["helper"])
        served.add("app", "2.0", uploaded=OLD, requires=["helper"])
        served.add("helper", "1.0", uploaded=OLD)
        served.add("helper", "1.1", uploaded=OLD)
        yield served


def define(root: Path, name: str = "web", toml: str = WHOLE, **files: str) -> None:
    (root / name).mkdir(parents=True)
    for file, text in {"layer.toml": toml, "requirements.in": "app\n", **files}.items():
        (root / name / file).write_text(text)


def check(url: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "LAMINA_", "AWS_"))}
    proxies = {name: "" for name in kept if name.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "local", "check", *map(str, arguments)],
        cwd=ROOT,
        env=kept | proxies | {"UV_DEFAULT_INDEX": url, "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def parsed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_a_check_says_what_would_change_what_is_held_and_what_is_fixed(index: SimpleIndex, tmp_path: Path) -> None:
    toml = WHOLE.replace('["arm64"]', '["arm64", "x86_64"]')
    define(tmp_path / "layers", toml=toml, **{"requirements.txt": LOCK})
    records = tmp_path / "records"
    records.mkdir()
    (records / "one.json").write_text(json.dumps(ADVISORY))
    before = {path: path.read_bytes() for path in (tmp_path / "layers").rglob("*") if path.is_file()}

    done = check(index.url, tmp_path, "--advisories", records, "--json", tmp_path / "out.json")

    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["refused"] == []
    assert [row["variant"] for row in result["variants"]] == ["web-python313-arm64", "web-python313-x86_64"]
    for row in result["variants"]:
        assert (row["layer"], row["outcome"], row["message"]) == ("web", "changed", "")
        moves = {one["package"]: (one["from"], one["to"], one["kind"], one["direct"]) for one in row["changes"]}
        assert moves == {"app": ("1.0", "1.1", "minor", True), "helper": ("1.0", "1.1", "minor", False)}
        held = {(one["version"], one["kind"]): one["until"] for one in row["held"] if one["package"] == "app"}
        assert set(held) == {("1.2", "cooldown"), ("2.0", "allow")}
        until = datetime.fromisoformat(held["1.2", "cooldown"])
        assert abs(until - YOUNG - timedelta(days=7)) < timedelta(seconds=2)
        assert [(one["id"], one["resolved"]) for one in row["advice"]["findings"]] == [("GHSA-aaaa-bbbb-cccc", True)]
        assert row["advice"]["unknown"] == ""
        assert row["summary"] == "app 1.0 to 1.1, helper 1.0 to 1.1"
    lines = done.stdout.splitlines()
    assert lines[0] == "web  python313-arm64, python313-x86_64  2 packages would change  (from requirements.txt)"
    assert any(line.split()[:6] == ["app", "1.0", "→", "1.1", "minor", "direct"] for line in lines)
    assert any("GHSA-aaaa-bbbb-cccc" in line and "fixed by this update" in line for line in lines)
    assert lines[-1].startswith("1 layer, 2 variants: 2 would change; 1 advisory fixed (as of ")
    assert not any(line.endswith(" ") or "\x1b" in line for line in lines)
    assert {path: path.read_bytes() for path in (tmp_path / "layers").rglob("*") if path.is_file()} == before


def test_a_mistake_of_one_team_is_told_and_leaves_the_others_alone(index: SimpleIndex, tmp_path: Path) -> None:
    define(tmp_path, "web", **{"requirements.txt": "app==1.1\nhelper==1.1\n"})
    define(tmp_path, "bad", toml="[layer")

    done = check(index.url, tmp_path, "--advisories", "none", "--json", "-")

    assert done.returncode == 2
    result = parsed(done)
    assert [(row["variant"], row["outcome"]) for row in result["variants"]] == [("web-python313-arm64", "up_to_date")]
    assert [row["layer"] for row in result["refused"]] == ["bad"]
    assert result["refused"][0]["message"].startswith(f"{tmp_path}/bad/layer.toml: not a TOML file")
    assert result["variants"][0]["advice"]["unknown"] == "no advisory database was asked"


def test_an_index_that_cannot_be_asked_is_unknown_and_not_up_to_date(tmp_path: Path) -> None:
    define(tmp_path, **{"requirements.txt": LOCK})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = check(
            f"http://127.0.0.1:{taken.getsockname()[1]}/simple", tmp_path, "--advisories", "none", "--json", "-"
        )

    assert done.returncode == 2
    row = parsed(done)["variants"][0]
    assert (row["outcome"], row["changes"]) == ("unknown", [])
    assert "nothing was changed" in row["message"]


def test_no_solution_is_told_as_that(index: SimpleIndex, tmp_path: Path) -> None:
    define(tmp_path, **{"requirements.in": "app>=9\n"})

    done = check(index.url, tmp_path, "--advisories", "none", "--json", "-")

    assert done.returncode == 0
    assert parsed(done)["variants"][0]["outcome"] == "failed"
    assert "no set of packages fits" in parsed(done)["variants"][0]["message"]


def test_an_advisory_database_that_does_not_answer_is_said_once_and_changes_nothing_else(
    index: SimpleIndex, tmp_path: Path
) -> None:
    for name in ("api", "web"):
        define(tmp_path, name, **{"requirements.txt": LOCK})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = check(index.url, tmp_path, "--advisories", f"http://127.0.0.1:{taken.getsockname()[1]}")

    assert done.returncode == 0
    assert done.stdout.count("advisories unknown  ") == 1
    assert "(and for 1 other variant)" in done.stdout
    assert "2 would change; advisories unknown, wholly or in part" in done.stdout


def test_an_index_with_credentials_is_reached_with_those_of_the_environment(tmp_path: Path) -> None:
    secret = "secret = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:wheels-a1b2c3'\n"
    with SimpleIndex(credentials=("reader", "a-secret-word")) as private:
        private.add("app", "1.0", uploaded=OLD)
        define(tmp_path, toml=f"{WHOLE}[python.index]\nurl = '{private.url}'\n{secret}")
        without = check("http://127.0.0.1:9/", tmp_path, "--advisories", "none", "--json", "-")
        given = {"LAMINA_INDEX_USERNAME": "reader", "LAMINA_INDEX_PASSWORD": "a-secret-word"}
        done = check("http://127.0.0.1:9/", tmp_path, "--advisories", "none", "--json", "-", **given)
        wrong = check("http://127.0.0.1:9/", tmp_path, "--advisories", "none", "--json", "-",
                      **given | {"LAMINA_INDEX_PASSWORD": "other-word"})  # fmt: skip

    assert "python.index asks for credentials; set LAMINA_INDEX_PASSWORD" in parsed(without)["variants"][0]["message"]
    assert [one["to"] for one in parsed(done)["variants"][0]["changes"]] == ["1.0"]
    assert (wrong.returncode, parsed(wrong)["variants"][0]["outcome"]) == (2, "unknown")
    for one in (without, done, wrong):
        assert "-word" not in one.stdout + one.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no layer.toml in nowhere"),
        (["layers", "--as-of", "tomorrow"], "--as-of 'tomorrow' is neither a date"),
        (["layers", "--advisories", "nowhere"], "is neither an address, nor a folder with records, nor none"),
    ],
)
def test_what_cannot_be_checked_is_one_line(arguments: list[str], says: str) -> None:
    done = check("http://127.0.0.1:9/", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_database_that_is_asked_is_the_template_s() -> None:
    assert f"Default: {command.DATABASE}\n" in (ROOT / "template.yaml").read_text()


def test_the_schema_is_written_where_editors_look_for_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "local", tmp_path / "local", ignore=shutil.ignore_patterns("__pycache__", "advisories"))
    (tmp_path / "layers").symlink_to(ROOT / "layers")
    (tmp_path / "docs").mkdir()

    subprocess.run([sys.executable, "-m", "local", "schema"], cwd=tmp_path, check=True)

    assert (tmp_path / "docs" / "layer.schema.json").read_bytes() == (ROOT / "docs" / "layer.schema.json").read_bytes()


@pytest.mark.index
def test_the_shipped_definitions_are_checked_against_the_real_index() -> None:
    records = RECORDS
    done = subprocess.run(
        [sys.executable, "-m", "local", "check", "--advisories", str(records), "--json", "-"],
        cwd=ROOT,
        env={"UV_SYSTEM_CERTS": "1"} | os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    result = parsed(done)
    assert {row["layer"] for row in result["variants"]} >= {"web", "dependencies"}
    assert {row["outcome"] for row in result["variants"]} <= {"changed", "up_to_date"}
    for row in result["variants"]:
        assert row["advice"]["unknown"] == ""
