"""Weighing a fleet: what is looked at, what is not, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lamina.budget import Size
from lamina.fleet import FunctionView
from lamina.layerlist import name_of, split
from lamina.rollout import Entry, EntryStatus, Snapshot
from lamina.steps.weighing import Scales
from tests.unit.fakes import layer

LIMIT = 262_144_000
OLD, NEW, OTHER, LOGS = layer("web", 1), layer("web", 2), layer("own", 7), layer("logs", 4)


@dataclass
class Known:
    """Releases, and where their manifests are: registry and store in one."""

    unzipped: dict[str, int | None]
    arn: str = ""

    def release(self, variant: str, version: int) -> Any:
        found = [arn for arn in self.unzipped if (name_of(arn), split(arn)[1]) == (variant, version)]
        if not found:
            return None

        class Release:
            arn = self.arn or found[0]
            manifest = found[0]

        return Release

    def read_json(self, key: str) -> Any:
        size = self.unzipped[key]
        return None if size is None else {
            "variant": "v", "digest": "a" * 64, "sha256": "b" * 64, "sizes": {"zipped": size // 4, "unzipped": size},
        }  # fmt: skip


@dataclass
class Zips:
    """Sizes of zips, and what was asked."""

    unzipped: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def measure(self, layers: Iterable[str], code: Mapping[str, str]) -> tuple[dict[str, Size], dict[str, Size]]:
        arns, digests = list(layers), list(code)
        self.asked += [*arns, *digests]
        return tuple({key: Size(None, self.unzipped.get(key)) for key in keys} for keys in (arns, digests))  # type: ignore[return-value]


def weigh(
    known: Known, zips: Zips, *functions: FunctionView, replaced: str = OLD, status: EntryStatus = EntryStatus.PLANNED
) -> dict[str, Entry]:
    entries = [
        Entry(function=view.name, before=Snapshot(layers=view.layers), replaced=replaced, status=status)
        for view in functions
    ]
    scales: Any = Scales(known, known, zips)  # type: ignore[arg-type]
    weighed = scales.weigh(entries, {view.name: view for view in functions}, NEW)
    assert [entry.function for entry in weighed] == [entry.function for entry in entries]
    return {entry.function: entry for entry in weighed}


def function(name: str, code_size: int | None, *layers: str, code: str = "", sizes: int = 10_000_000) -> FunctionView:
    return FunctionView(
        name, f"arn:{name}", layers, code=code or f"code of {name}", code_size=code_size,
        layer_sizes=dict.fromkeys(layers, sizes),
    )  # fmt: skip


def test_a_candidate_that_is_no_larger_needs_no_look_at_anything() -> None:
    zips = Zips()
    weighed = weigh(Known({OLD: 1000, NEW: 1000}), zips, function("a", 60_000_000, OLD, LOGS))
    assert (weighed["a"].status, weighed["a"].reason, zips.asked) == (EntryStatus.PLANNED, "", [])


def test_small_code_that_cannot_burst_is_not_read() -> None:
    zips = Zips()
    small = LIMIT // 1032 - 2
    weighed = weigh(Known({OLD: 1000, NEW: 1001}), zips, function("a", small, OLD), function("b", small + 10, OLD))
    assert weighed["a"].reason == ""
    assert zips.asked == ["code of b"]
    assert "unknown: the size of its code" in weighed["b"].reason


def test_the_one_that_would_burst_is_left_alone_and_others_go_on() -> None:
    zips = Zips({"code of a": LIMIT - 3000, "code of b": LIMIT - 3001, LOGS: 1000})
    weighed = weigh(
        Known({OLD: 1000, NEW: 2001}), zips, function("a", 9_000_000, LOGS, OLD), function("b", 9_000_000, OLD, LOGS)
    )
    assert weighed["a"].status is EntryStatus.LEFT_ALONE
    assert "262,144,001 bytes unzipped, 1 over" in weighed["a"].reason
    assert (weighed["b"].status, weighed["b"].reason) == (EntryStatus.PLANNED, "")


def test_each_code_and_each_layer_is_asked_for_once_and_releases_never() -> None:
    zips = Zips()
    shared = [function(name, 9_000_000, OLD, LOGS, OTHER, code="shared") for name in "abc"]
    weigh(Known({OLD: 1, NEW: 2, OTHER: 3}), zips, *shared)
    assert sorted(zips.asked) == sorted([LOGS, "shared"])


def test_a_layer_of_the_same_name_that_is_no_release_is_read_off_its_zip() -> None:
    zips = Zips()
    weigh(Known({OLD: 1, NEW: 2}, arn=layer("elsewhere", 1)), zips, function("a", 9_000_000, OLD))
    assert NEW in zips.asked
    zips = Zips()
    weigh(Known({OLD: 1, NEW: None}), zips, function("a", 9_000_000, OLD))
    assert NEW in zips.asked


def test_a_layer_of_somebody_else_s_that_is_replaced_is_no_measure() -> None:
    zips = Zips({"code of a": LIMIT - 10})
    weighed = weigh(Known({NEW: 11}), zips, function("a", 9_000_000, LOGS), replaced=LOGS)
    assert weighed["a"].status is EntryStatus.LEFT_ALONE
    assert zips.asked == ["code of a"]


def test_who_is_left_alone_already_keeps_the_reason_and_is_not_weighed() -> None:
    zips = Zips()
    weighed = weigh(Known({}), zips, function("a", 9_000_000, OLD), status=EntryStatus.LEFT_ALONE)
    assert (weighed["a"].reason, zips.asked) == ("", [])


def test_a_list_of_layers_that_changed_since_it_was_listed_is_left_to_the_next_step() -> None:
    zips = Zips()
    weighed = weigh(Known({OLD: 1, NEW: 2}), zips, function("a", 9_000_000, LOGS))
    assert (weighed["a"].status, zips.asked) == (EntryStatus.PLANNED, [])
