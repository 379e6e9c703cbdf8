"""The stand-in of the advisory database answers as the service does, and refuses what it refuses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from local.osv import RECORDS, Osv


@pytest.fixture(scope="module")
def osv() -> Iterator[Osv]:
    with Osv() as running:
        yield running


def ask(osv: Osv, path: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(osv.url + path, data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def query(name: str, version: str, ecosystem: str = "PyPI", **more: object) -> dict[str, object]:
    return {"package": {"name": name, "ecosystem": ecosystem}, "version": version, **more}


def test_a_batch_is_answered_in_its_order_with_names_only(osv: Osv) -> None:
    queries = [query("idna", "3.7"), query("Requests", "2.30.0"), query("requests", "2.31.0", "npm")]

    status, answer = ask(osv, "/v1/querybatch", {"queries": queries})

    assert status == 200
    named = [{"id": "PYSEC-2023-74", "modified": "2023-06-05T01:13:00.534973Z"}]
    assert answer == {"results": [{}, {"vulns": named}, {}]}


def test_a_query_is_answered_with_whole_records(osv: Osv) -> None:
    _, answer = ask(osv, "/v1/query", query("jinja2", "3.1.2"))

    assert [one["aliases"] for one in answer["vulns"]] == [["CVE-2024-22195"]]


def test_a_record_is_found_by_its_own_name_only(osv: Osv) -> None:
    assert ask(osv, "/v1/vulns/PYSEC-2023-74")[1]["id"] == "PYSEC-2023-74"
    assert ask(osv, "/v1/vulns/GHSA-j8r2-6x86-q33q") == (404, {"code": 5, "message": "Bug not found."})


def test_a_withdrawn_record_can_be_read_but_is_not_found(osv: Osv) -> None:
    assert ask(osv, "/v1/vulns/PYSEC-2022-43059")[1]["withdrawn"]
    found = ask(osv, "/v1/query", query("aiohttp", "3.8.1"))[1]["vulns"]
    assert "PYSEC-2022-43059" not in {one["id"] for one in found}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"queries": [{"version": "1.0"}]},
        {"queries": [query("a", "1") | {"since": "2024"}]},
        {"queries": [query("a", "1", "pip")]},
        {"queries": [query("a", "1")] * 1001},
    ],
)
def test_what_the_service_refuses_is_refused(osv: Osv, body: object) -> None:
    assert ask(osv, "/v1/querybatch", body)[0] == 400


def test_pages_follow_each_other_to_the_end() -> None:
    with Osv(page=2) as osv:
        token, seen = "", []
        while True:
            more = {"page_token": token} if token else {}
            page = ask(osv, "/v1/query", query("pillow", "9.0.0", **more))[1]
            seen += [one["id"] for one in page["vulns"]]
            if (token := page.get("next_page_token", "")) == "":
                break
        assert seen == sorted(set(seen))
        assert len(seen) > 3


def test_nothing_is_shipped_that_names_a_package_registry_or_repeats_itself() -> None:
    files = sorted(RECORDS.glob("*/*.json"))
    assert len(files) == 122
    for file in files:
        record = json.loads(file.read_text())
        assert file.stem == record["id"]
        assert not {"references", "credits"} & set(record)
        assert not any("versions" in entry for entry in record["affected"])
