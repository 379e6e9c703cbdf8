"""What becomes of advisories: what is to be fixed, what was, what remains, and what stays unknown."""

from __future__ import annotations

from lamina.advice import exposed, fixes, merge, settle
from lamina.explain import Held
from lamina.model import Advice, Advisory, Ecosystem, Finding

OLD = Finding(id="GHSA-1", aliases=("CVE-1",), package="requests", version="2.30.0", fixed="2.31.0")
NEWER = Finding(id="GHSA-2", package="requests", version="2.30.0", fixed="2.32.0")
ELSEWHERE = Finding(id="GHSA-3", package="jinja2", version="3.1.2", fixed="3.1.3")
UNFIXED = Finding(id="GHSA-4", package="pillow", version="9.5.0")


def lock(**pins: str) -> dict[Ecosystem, dict[str, str]]:
    return {"PyPI": pins}


def ids(advisories: tuple[Advisory, ...]) -> dict[str, str | None]:
    return {advisory.package: advisory.fixed for advisory in advisories}


def test_of_several_advisories_of_a_package_the_newest_fix_is_wanted() -> None:
    advice = Advice(findings=(NEWER, OLD, ELSEWHERE, UNFIXED))
    assert ids(fixes(advice, (), only_named=False)) == {"requests": "2.32.0", "jinja2": "3.1.3"}


def test_an_update_for_an_advisory_fixes_its_package_and_no_other() -> None:
    advice = Advice(findings=(NEWER, ELSEWHERE))
    named = Advisory(id="CVE-1", package="requests", fixed="2.31.0")
    assert ids(fixes(advice, (named,), only_named=True)) == {"requests": "2.32.0"}
    assert ids(fixes(Advice(), (named,), only_named=True)) == {"requests": "2.31.0"}


def test_a_fix_that_is_no_version_is_not_wanted() -> None:
    named = (Advisory(id="x", package="requests", fixed="soon"), Advisory(id="y", package="jinja2", fixed=None))
    assert fixes(Advice(), named, only_named=True) == ()


def test_what_moved_beyond_its_advisories_is_resolved_and_the_rest_says_why_it_remains() -> None:
    held = (Held(package="jinja2", version="3.1.3", why="update.ignore keeps it"),)
    settled = settle(
        Advice(findings=(OLD, ELSEWHERE, UNFIXED)),
        Advice(),
        lock(requests="2.31.0", jinja2="3.1.2", pillow="9.5.0"),
        held,
    )

    by_id = {finding.id: finding for finding in settled.findings}
    assert by_id["GHSA-1"].resolved
    assert not by_id["GHSA-3"].resolved
    assert "3.1.3 was not taken: update.ignore keeps it" in by_id["GHSA-3"].why
    assert by_id["GHSA-4"].why == "no version fixes it yet"
    assert exposed(settled, taken=True) == ("GHSA-3", "GHSA-4")
    assert exposed(settled, taken=False) == ("GHSA-1", "GHSA-3", "GHSA-4")


def test_a_package_that_is_gone_has_no_advisory_any_more() -> None:
    settled = settle(Advice(findings=(UNFIXED,)), Advice(), lock(), ())
    assert exposed(settled, taken=True) == ()


def test_the_same_vulnerability_under_another_name_is_still_there_in_the_new_version() -> None:
    after = Advice(findings=(Finding(id="CVE-1", package="requests", version="2.30.1", fixed="2.31.0"),))
    settled = settle(Advice(findings=(OLD,)), after, lock(requests="2.30.1"), ())
    assert [(finding.id, finding.resolved) for finding in settled.findings] == [("GHSA-1", False)]


def test_what_only_the_new_version_has_is_told_as_such() -> None:
    after = Advice(findings=(Finding(id="GHSA-9", package="requests", version="2.32.0"),))
    settled = settle(Advice(), after, lock(requests="2.32.0"), ())
    assert settled.findings[0].introduced
    assert exposed(settled, taken=True) == ("GHSA-9",)
    assert exposed(settled, taken=False) == ()


def test_without_an_answer_about_the_new_version_only_reaching_the_fix_counts() -> None:
    unknown = Advice(unknown="no answer")
    before = Advice(findings=(OLD, NEWER))
    settled = settle(before, unknown, lock(requests="2.31.0"), ())
    assert {finding.id: finding.resolved for finding in settled.findings} == {"GHSA-1": True, "GHSA-2": False}
    assert settled.unknown == "no answer"


def test_what_one_part_does_not_know_the_whole_does_not_know() -> None:
    merged = merge([Advice(findings=(OLD,)), Advice(unknown="a"), Advice(findings=(OLD,), unknown="b")])
    assert merged == Advice(findings=(OLD,), unknown="a; b")


def test_each_copy_of_an_npm_package_has_a_fix_and_a_fate_of_its_own() -> None:
    old = Finding(id="GHSA-7", ecosystem="npm", package="ms", version="1.0.0", fixed="1.0.1")
    new = Finding(id="GHSA-7", ecosystem="npm", package="ms", version="2.0.0", fixed="2.0.1")
    advice = Advice(findings=(old, new))

    assert [fix.fixed for fix in fixes(advice, (), only_named=False)] == ["1.0.1", "2.0.1"]
    settled = settle(advice, Advice(), {"npm": {"ms": "2.0.1", "debug/node_modules/ms": "1.0.0"}}, ())
    assert [(finding.version, finding.resolved) for finding in settled.findings] == [("1.0.0", False), ("2.0.0", True)]
