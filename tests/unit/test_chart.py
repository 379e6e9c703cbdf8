"""The chart: well-formed, honest about gaps, bounded in size, and never more than its numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.chart import HEIGHT, WIDTH, Mark, bins, chart
from lamina.verdict import Counts, Point

START = datetime(2024, 7, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SVG = "{http://www.w3.org/2000/svg}"


def point(minute: int, errors: int = 0, invocations: int = 10, ln_e: float = 0.0, rate: float | None = 0.01) -> Point:
    control = Counts() if rate is None else Counts(90, round(90 * rate))
    return Point(START + minute * MINUTE, Counts(invocations, errors), control, ln_e, 4.605, rate)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def lines(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    found = [e.attrib["points"] for e in parsed(svg).iter(f"{SVG}polyline") if e.attrib["class"] == kind]
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())] for points in found]


def test_without_points_there_is_no_picture() -> None:
    assert chart([]) == ""


def test_a_chart_says_in_words_what_it_shows() -> None:
    svg = parsed(chart([point(0, 1), point(1, 2, ln_e=7.25)], name="web"))
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"] == "web-title web-desc"
    description = next(e.text for e in svg.iter(f"{SVG}desc"))
    assert description is not None
    assert "3 of 20 (15.00%)" in description
    assert "1.00% in its control" in description
    assert "reached 7.2 nats; 4.6 are needed" in description


def test_higher_rates_are_drawn_higher() -> None:
    (canary,) = lines(chart([point(0, 0), point(1, 5), point(2, 10)]), "canary")
    assert [x for x, _ in canary] == sorted(x for x, _ in canary)
    assert canary[0][1] > canary[1][1] > canary[2][1]
    assert canary[1][1] * 2 == canary[0][1] + canary[2][1]


def test_minutes_without_invocations_are_gaps_and_not_zeros() -> None:
    drawn = lines(chart([point(0, 5), point(1, 5), point(2, 0, 0), point(5, 5), point(6, 5)]), "canary")
    assert [len(line) for line in drawn] == [2, 2]
    assert not lines(chart([point(i, rate=None) for i in range(3)]), "control")


def test_a_gap_right_at_the_start_does_not_stretch_what_follows() -> None:
    svg = chart([point(0), point(30), point(31)])
    dots = [float(e.attrib["cx"]) for e in parsed(svg).iter(f"{SVG}circle") if e.attrib["class"] == "canary"]
    assert dots[2] - dots[1] < 0.05 * (dots[1] - dots[0])
    assert dots[2] < WIDTH


def test_waves_and_the_end_are_marked() -> None:
    marks = [Mark(START, "canary"), Mark(START + 3 * MINUTE, "wave 1"), Mark(START + 9 * MINUTE, "rolled back", "bad")]
    svg = chart([point(i) for i in range(8)], marks)
    texts = [e.text for e in parsed(svg).iter(f"{SVG}text")]
    assert {"canary", "wave 1", "rolled back", "harmful from 4.6"} <= set(texts)
    assert 'class="mark bad"' in svg


def test_marks_that_crowd_each_other_keep_their_lines_and_lose_their_labels() -> None:
    marks = [Mark(START + i * timedelta(seconds=1), f"wave {i}") for i in range(5)]
    svg = parsed(chart([point(i) for i in range(30)], marks))
    assert sum(e.attrib.get("class") == "mark wave" for e in svg.iter(f"{SVG}line")) == 5
    assert sum((e.text or "").startswith("wave") for e in svg.iter(f"{SVG}text")) == 2


def test_evidence_off_the_scale_is_said_in_numbers() -> None:
    assert "up to 319 nats" in chart([point(0, 10, ln_e=319.2)])
    assert "up to" not in chart([point(0, 10, ln_e=8)])


def test_long_rollouts_are_summed_up() -> None:
    points = [point(i, 1, ln_e=i / 100) for i in range(1440)]
    shown = bins(points)
    assert len(shown) == 120
    assert sum((p.canary for p in shown), Counts()) == Counts(14400, 1440)
    assert sum(p.control.invocations for p in shown) == 90 * 1440
    assert shown[-1].ln_e == points[-1].ln_e
    assert shown[1].start - shown[0].start == 12 * MINUTE


@given(
    minutes=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 10**6), st.floats(0, 1), st.floats(-1e4, 1e4)),
        min_size=1,
        max_size=40,
        unique_by=lambda row: row[0],
    ),
    labels=st.lists(st.tuples(st.integers(-100, 4000), st.text(max_size=60), st.text(max_size=8)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_any_rollout_is_well_formed_and_stays_inside(
    minutes: list[tuple[int, int, float, float]], labels: list[tuple[int, str, str]]
) -> None:
    points = [point(m, int(n * share), n, ln_e, share) for m, n, share, ln_e in minutes]
    marks = [Mark(START + m * MINUTE, "".join(c for c in label if c.isprintable()), tone) for m, label, tone in labels]
    svg = chart(points, marks)
    parsed(svg)
    coordinates = re.findall(r' (x|cx|x1|x2|y|cy|y1|y2)="([^"]+)"', svg)
    assert all(0 <= float(value) <= (WIDTH if "x" in axis else HEIGHT) for axis, value in coordinates)
    for kind in ("canary", "control", "evidence"):
        for line in lines(svg, kind):
            assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)


def test_labels_are_escaped() -> None:
    svg = chart([point(0)], [Mark(START, '<script>"&')], name='"><script>')
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
