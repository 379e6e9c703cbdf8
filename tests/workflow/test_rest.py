"""One of several updates does harm: it is held back, and the rest of them goes on in the same execution, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import fleet
from local.scenario import Member
from local.traffic import Traffic
from tests.workflow.conftest import ARCHITECTURE, RUNTIME, Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

BEFORE, AFTER, NEXT_DAY = "2023-04-01", "2024-06-01", "2024-06-02"
ONE, TWO, PROOF = variant("one"), variant("two"), variant("proof")

FLEET = {
    # urllib3 2 has no such constant any more.
    "one": "import idna\nimport urllib3.util\n\n\ndef handler(event, context):\n"
    "    return len(urllib3.util.ssl_.DEFAULT_CIPHERS)\n",
    # Nor does the newer idna have what this asks for.
    "two": "import idna\nimport urllib3.util\n\n\ndef handler(event, context):\n"
    "    assert getattr(idna, 'encode' if idna.__version__ == '3.4' else 'gone')\n"
    "    return len(urllib3.util.ssl_.DEFAULT_CIPHERS)\n",
    # Never called; what it imports is gone in urllib3 2.
    "proof": "def handler(event, context):\n    from urllib3.packages import six\n",
}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for name in ("one", "two"):
        define(folder, name, "idna\nurllib3\n", "[rollout]\nmin-minutes = 1\nmax-minutes = 60\n")
    calm = '[rollout]\nmin-minutes = 1\nmax-minutes = 1\nextend-minutes = 0\non-no-traffic = "promote"\n'
    define(folder, "proof", "idna\nurllib3\n", calm)
    return folder


@pytest.fixture(scope="module")
def updated(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The second update, with a fleet that was there before it."""
    first = lamina.run("Update", {"asOf": BEFORE})
    assert first["status"] == "SUCCEEDED", first.get("cause")
    members = []
    for name, code in FLEET.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "app.py").write_text(code)
        members.append(
            Member(
                name=f"{name}-1",
                runtime=RUNTIME,
                architectures=(ARCHITECTURE,),
                layers=(name,),
                code=folder,
                alias="live",
                per_minute=60 if name != "proof" else 0,
                event={},
                error_rate=0.0,
            )
        )
    arns = {
        name: lamina.client("lambda").list_layer_versions(LayerName=name)["LayerVersions"][0]["LayerVersionArn"]
        for name in (ONE, TWO, PROOF)
    }
    fleet.create(lamina.client("lambda"), lamina.client("iam"), members, arns)
    traffic = Traffic(lamina.stage.cloud.lambdas, lamina.stage.cloud.clock, fleet.sources(members))
    traffic.start()
    traffic.wait_minutes(15)
    try:
        yield lamina.run("Update", {"asOf": AFTER})
    finally:
        traffic.stop()


def serves(lamina: Lamina, function: str) -> str:
    (arn,) = lamina.layers_of(function, "live")
    return arn.rsplit(":", 1)[1]


def packages(lamina: Lamina, layer: str, version: int) -> dict[str, str]:
    item = lamina.item(f"LAYER#{layer}", f"RELEASE#{version:08d}")
    return {name: value["S"] for name, value in item["packages"]["M"].items()}


def test_what_did_harm_is_held_back_and_the_rest_is_promoted(lamina: Lamina, updated: Any) -> None:
    row = lamina.report(updated)[ONE]
    told = row["message"]
    assert (row["outcome"], row["caughtBy"], row["culprits"]) == ("rolled_back", "canary", ["urllib3"]), told
    assert row["then"] is not None, told
    old, bad, good = (packages(lamina, ONE, version) for version in (1, 2, 3))
    assert (row["heldBack"], row["candidate"], row["promoted"]) == ({"urllib3": bad["urllib3"]}, 2, 3)
    assert row["then"]["outcome"] == "promoted"
    # What urllib3 2 lacks may be gone in any version of it; what it had before it may still be repaired in.
    assert good["idna"] == bad["idna"] != old["idna"]
    assert good["urllib3"].startswith("1.26.") and good["urllib3"] != old["urllib3"]
    assert row["then"]["changed"] == {name: [old[name], good[name]] for name in ("idna", "urllib3")}
    assert serves(lamina, "one-1") == "3"
    assert row["report"] != row["then"]["report"]
    assert lamina.lock("one") is None
    assert updated["status"] == "FAILED"


def test_there_is_no_third_attempt_but_its_culprit_is_held_back_as_well(lamina: Lamina, updated: Any) -> None:
    row = lamina.report(updated)[TWO]
    assert (row["outcome"], row["then"]["outcome"]) == ("rolled_back", "rolled_back")
    held = row["heldBack"] | row["then"]["heldBack"]
    assert held == {name: version for name, version in packages(lamina, TWO, 2).items() if name in ("idna", "urllib3")}
    assert {*row["culprits"], *row["then"]["culprits"]} == {"idna", "urllib3"}
    assert serves(lamina, "two-1") == "1"
    assert row["promoted"] == 1
    assert lamina.item(f"LAYER#{TWO}", "RELEASE#00000004") is None


def test_a_rejected_candidate_s_rest_goes_on_too(lamina: Lamina, updated: Any) -> None:
    row = lamina.report(updated)[PROOF]
    assert (row["outcome"], row["caughtBy"], row["culprits"]) == ("rejected", "verify", ["urllib3"])
    assert row["then"]["outcome"] == "promoted"
    assert serves(lamina, "proof-1") == str(row["promoted"]) == "3"
    assert row["before"] == 1


def test_the_next_day_nothing_of_it_is_tried_again(lamina: Lamina, updated: Any) -> None:
    day = lamina.run("Update", {"layers": ["one", "two", "proof"], "asOf": NEXT_DAY})
    rows = lamina.report(day)
    assert rows[ONE]["outcome"] == rows[PROOF]["outcome"] == "up_to_date"
    # Nobody has tried yet what the smaller step does to these functions: it does nothing.
    old, new = packages(lamina, TWO, 1), packages(lamina, TWO, 4)
    assert rows[TWO]["outcome"] == "promoted"
    assert new["idna"] == old["idna"] and new["urllib3"].startswith("1.26.")


def test_every_step_had_the_rights_that_it_needs(lamina: Lamina, updated: Any) -> None:
    assert ungranted(lamina) == set()
