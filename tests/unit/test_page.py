"""The pages people read: what must be on them, and what must never run on them."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.culprit import Suspect
from lamina.page import LayerLine, RolloutPage, RunPage, render_rollout, render_run
from lamina.verdict import Counts, Minute, Observed, Point, Rules, judge
from lamina.views import (
    AdvisoryLine,
    Contents,
    Found,
    FunctionJudgement,
    FunctionLine,
    HeldLine,
    Judgement,
    PackageChange,
    Proof,
    WaveLine,
)

START = datetime(2024, 11, 30, 6, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVIL = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} \u202e"

JUDGEMENT = Judgement(
    "harmful", "chat-1 failed 9 of 9.", 12.3, 4.6, 5e-6, Counts(9, 9), Counts(80, 0), 1.0, 0.0, 4, unattributed=True
)
PAGE = RolloutPage(
    layer="llm-python311-x86_64",
    outcome="rolled_back",
    before=1,
    candidate=2,
    caught_by="canary",
    summary="httpx 0.28.0 breaks chat-1.",
    reason="The daily schedule.",
    run="run-7",
    run_href="index.html",
    started=START,
    ended=START + 75 * MINUTE,
    found=Found(advisories=(AdvisoryLine("CVE-2024-35195", "requests", "2.32.0"),)),
    changes=(
        PackageChange("httpx", "0.27.2", "0.28.0", "minor"),
        PackageChange("openai", "1.55.1", "1.55.2", "patch", True),
    ),
    waves=(WaveLine(0, START, START + 8 * MINUTE, 1, "harmful", 10),),
    verdict=JUDGEMENT,
    points=(Point(START, Counts(9, 9), Counts(80, 0), 12.3, 4.6),),
    suspects=(Suspect("httpx", 0.83, "openai depends on it", ("[ERROR] TypeError: proxies",)),),
    held_back=(("httpx", "0.28.0"),),
    functions=(
        FunctionLine(
            "chat-1", "restored", "arn:aws:lambda:x:1:layer:llm:1", "arn:aws:lambda:x:1:layer:llm:1", 0, "live"
        ),
        FunctionLine("chat-2", "left", "1", "1", note="unreleased work in $LATEST"),
    ),
    rollback_machine="arn:aws:states:eu-central-1:123456789012:stateMachine:Rollback",
)
RUN = RunPage(
    run="run-7",
    reason="The daily schedule.",
    started=START,
    layers=(
        LayerLine("web", "promoted", before=7, candidate=8, promoted=8, href="web/8.html"),
        LayerLine("llm", "rolled_back", "Broke.", "canary", 1, 2, 1, ("httpx",), (("httpx", "0.28.0"),), PAGE.changes),
    ),
    refused=(("reports", "layer.toml: unknown key"),),
)


class Reader(HTMLParser):
    """Collects what a browser would see: elements, attributes, and text."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def harmless(html: str) -> Reader:
    """Asserts that nothing on a page could run, load or submit, whatever went in."""
    reader = Reader(html)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "img"})
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        if href := attributes.get("href"):
            assert href.startswith("https://osv.dev/vulnerability/") or ":" not in href
    policy = next(a["content"] for t, a in reader.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    return reader


def test_the_page_of_a_rollback_tells_the_story() -> None:
    text = harmless(render_rollout(PAGE)).text
    for told in (
        "llm-python311-x86_64", "version 1 → 2", "rolled back", "caught by the canary", "httpx 0.28.0 breaks chat-1.",
        "The daily schedule.", "30 Nov 2024, 06:00", "1 h 15 min", "CVE-2024-35195", "fixed in 2.32.0", "0.27.2",
        "chat-1 failed 9 of 9.", "9 of 9 (100.00%)", "12.3 nats", "harmful from 4.6", "at most 1 in 200,000",
        "not proven guilty", "83%", "[ERROR] TypeError: proxies", "to 10% of the fleet", "06:00\u201306:08",
        "Put back on the old release", "Left alone", "unreleased work in $LATEST", "0 of 2 functions",
    ):  # fmt: skip
        assert told in text, told
    assert '--input \'{"layer": "llm-python311-x86_64"}\'' in text
    assert "start-execution" in text


def test_the_command_names_a_version_where_one_is_wanted() -> None:
    text = Reader(render_rollout(replace(PAGE, rollback_version=1))).text
    assert '--input \'{"layer": "llm-python311-x86_64", "version": 1}\'' in text
    assert "start-execution" not in Reader(render_rollout(replace(PAGE, rollback_machine=""))).text


def test_the_chart_and_its_table_hold_the_same_numbers() -> None:
    reader = Reader(render_rollout(PAGE))
    assert "svg" in {tag for tag, _ in reader.tags}
    assert "The same numbers as a table" in reader.text
    assert "30 Nov 06:00" in reader.text


def test_a_page_with_next_to_nothing_still_stands() -> None:
    bare = RolloutPage("web", "failed", None, None, "It failed.", "Nobody said.", "r", START)
    text = harmless(render_rollout(bare)).text
    assert "still going" in text
    assert "No package changed." in text
    assert "None" not in text
    assert "No layer was looked at." in harmless(render_run(RunPage("r", "Nobody said.", START))).text


def test_direct_requirements_come_first() -> None:
    text = Reader(render_rollout(PAGE)).text
    assert text.index("1.55.2") < text.index("0.28.0", text.index("What changed"))


def test_the_index_names_every_layer_the_urgent_ones_first() -> None:
    reader = harmless(render_run(RUN))
    text = reader.text
    assert text.index("Broke.") < text.index("web")
    for told in (
        "1 rolled back",
        "1 promoted",
        "1 definition refused",
        "Caught by the canary.",
        "httpx 0.28.0",
        "2 packages",
    ):
        assert told in text, told
    assert ("a", {"href": "web/8.html"}) in reader.tags
    assert "nothing was changed" in harmless(render_run(replace(RUN, dry_run=True))).text


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "//evil.example/x", "https://evil.example", "/etc", "a b", "a/../../b c"]
)
def test_links_that_are_not_plain_and_relative_are_dropped(href: str) -> None:
    assert not [a for t, a in Reader(render_rollout(replace(PAGE, run_href=href, found=Found()))).tags if t == "a"]
    assert not [
        a for t, a in Reader(render_run(replace(RUN, layers=(replace(RUN.layers[0], href=href),)))).tags if t == "a"
    ]


FOUND_EVIL = Found(
    held=(HeldLine(EVIL, EVIL, EVIL),),
    advisories=(AdvisoryLine(EVIL, EVIL, EVIL, EVIL, False, EVIL),),
    unknown=EVIL,
    notes=(EVIL,),
)


def test_what_was_found_is_told_with_dates_reasons_and_what_is_unknown() -> None:
    found = Found(
        held=(HeldLine("boto3", "1.40.2", "its cooldown of 7 days has not ended", START, 2),),
        advisories=(
            AdvisoryLine("GHSA-1", "requests", "2.31.0", "2.30.0"),
            AdvisoryLine("GHSA-2", "pillow", "10.0.1", "9.5.0", False, "update.allow keeps it below 10"),
        ),
        unknown="the database did not answer for 3 packages",
        notes=("urllib3 2.5.0 was taken before its cooldown.",),
    )
    change = PackageChange("httpx", "0.27.2", "0.28.0", "minor", released=START, age_days=9)
    for text in (
        harmless(render_rollout(replace(PAGE, found=found, changes=(change,)))).text,
        harmless(render_run(replace(RUN, layers=(replace(RUN.layers[0], found=found, changes=(change,)),)))).text,
    ):
        for said in (
            "boto3 1.40.2 and 2 older: its cooldown of 7 days has not ended; it may be taken from 30 Nov 2024, 06:00",
            "GHSA-1 in requests 2.30.0, fixed in 2.31.0",
            "GHSA-2 in pillow 9.5.0: update.allow keeps it below 10",
            "Advisories unknown: the database did not answer for 3 packages",
            "urllib3 2.5.0 was taken before its cooldown.",
            "30 Nov 2024, 9 days old",
        ):
            assert said in " ".join(text.split()), said


CONTENTS = Contents(
    1_500_000,
    4_200_000,
    12,
    licenses=(("MIT", 9), ("not stated", 3)),
    biggest=(("pydantic-core", 2_000_000),),
    notes=("Byte code was left out.",),
    documents=(("software bill of materials (CycloneDX)", "builds/web/run-7/output/sbom.json"),),
    build_log="https://example.invalid/log",
)
PROOF = Proof(
    312.4,
    290.0,
    410,
    412,
    broken=(("openai.cli", "ModuleNotFoundError: No module named 'click'"),),
    vanished=("httpx._old",),
    functions=3,
    unread=(("chat-9", "its code is an image"),),
)
JUDGED = FunctionJudgement("chat-1", "harmful", "alias", Counts(9, 9), Counts(80, 0), 12.3, 4.6, 4, "short")


def test_a_release_is_described_and_so_is_how_it_was_proven_and_judged() -> None:
    page = replace(
        PAGE,
        contents=CONTENTS,
        proof=PROOF,
        judged=(replace(JUDGED, name="chat-2", ln_e=0.1), JUDGED),
        canary_reason="chat-1 uses httpx.",
        remarks=("chat-1 became slower.",),
    )
    text = " ".join(harmless(render_rollout(page)).text.split())
    for told in (
        "4.2 MB", "MIT (9), not stated (3)", "pydantic-core 2.0 MB", "Byte code was left out.",
        "Software bill of materials (CycloneDX): builds/web/run-7/output/sbom.json", "https://example.invalid/log",
        "410 of 412 modules", "312 ms (promoted release: 290 ms)", "3 and 1 that could not be",
        "1 module that fails only now, and that nobody depends on", "No module named 'click'",
        "1 module that this release no longer has", "httpx._old", "chat-9: its code is an image",
        "9 of 9 (100.00%)the old release in the same minutes; short", "12.3 of 4.6", "Why these canaries: chat-1 uses",
        "chat-1 became slower.",
    ):  # fmt: skip
        assert told in text, told
    evidence = text[text.index("Function by function") :]
    assert evidence.index("chat-1") < evidence.index("chat-2")


def test_a_first_release_has_no_cold_start_to_compare_with() -> None:
    proof = replace(PROOF, init_ms_before=None, unknown="version 1 is gone")
    text = harmless(render_rollout(replace(PAGE, proof=proof))).text
    assert "promoted release: unknown" in text
    assert "There was nothing to compare with: version 1 is gone" in text


def test_hostile_text_is_shown_and_never_run() -> None:
    evil = RolloutPage(
        layer=EVIL, outcome="held", before=1, candidate=2, caught_by=EVIL, summary=EVIL, reason=EVIL, run=EVIL,
        run_href=EVIL, started=START, ended=START, found=FOUND_EVIL,
        changes=(PackageChange(EVIL, EVIL, EVIL, "minor"),), waves=(WaveLine(0, START, START, 1, EVIL),),
        verdict=replace(JUDGEMENT, reason=EVIL), points=PAGE.points, suspects=(Suspect(EVIL, 0.5, EVIL, (EVIL,)),),
        held_back=((EVIL, EVIL),), functions=(FunctionLine(EVIL, "left", EVIL, EVIL, 1, EVIL, EVIL),),
        rollback_machine=EVIL, canary_reason=EVIL, remarks=(EVIL,),
        contents=replace(
            CONTENTS, licenses=((EVIL, 2),), biggest=((EVIL, 1),), notes=(EVIL,), documents=((EVIL, EVIL),),
            build_log=EVIL,
        ),
        proof=replace(PROOF, broken=((EVIL, EVIL),), vanished=(EVIL,), unread=((EVIL, EVIL),), unknown=EVIL),
        judged=(replace(JUDGED, name=EVIL, kind=EVIL, control=EVIL, note=EVIL),),
    )  # fmt: skip
    page = harmless(render_rollout(evil))
    assert page.text.count("<script>alert(1)</script>") > 30
    assert "{{ 7*7 }}" in page.text
    assert "\u202e" not in page.text
    line = LayerLine(
        EVIL, "held", EVIL, EVIL, 1, 2, 1, (EVIL,), ((EVIL, EVIL),), (PackageChange(EVIL, EVIL, EVIL, "minor"),), EVIL
    )
    run = harmless(render_run(RunPage(EVIL, EVIL, START, None, (line,), ((EVIL, EVIL),))))
    assert run.text.count("<script>alert(1)</script>") > 8


@given(text=st.text(max_size=80))
@settings(max_examples=40, deadline=None)
def test_any_text_leaves_the_page_whole(text: str) -> None:
    harmless(render_rollout(replace(PAGE, layer=text, summary=text, run=text, run_href=text))).text.encode()


def test_a_judgement_is_made_from_the_json_of_a_verdict() -> None:
    minutes = tuple(Minute(START + i * MINUTE, 10, i) for i in range(6))
    verdict = judge([Observed("f", "alias", minutes, minutes, START)], Rules(), now=START + 9 * MINUTE)
    read = Judgement.from_json(verdict.to_json())
    for field in fields(Judgement):
        value = getattr(verdict, field.name)
        expected = pytest.approx(value) if isinstance(value, float) else value
        assert getattr(read, field.name) == expected, field.name


def test_a_fleet_of_three_hundred_makes_a_page_of_reasonable_size() -> None:
    functions = tuple(FunctionLine(f"function-{i}", "updated", "7", "8", 1 + i % 3, "live") for i in range(300))
    html = render_rollout(replace(PAGE, functions=functions))
    assert "Moved to the new release" in html
    assert "300 of 300 functions" in html
    assert len(html) < 200_000
