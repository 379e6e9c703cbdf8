"""One Python resolution from order to explanation, with an index that is a few lines of Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.gateways.index import Unsolved
from lamina.listing import Listed, Listing
from lamina.lock import Lock, Pin
from lamina.model import Advisory, HeldBack
from lamina.resolution import Access, Order, Resolved
from lamina.resolve import Answer, Question
from lamina.steps.resolve_python import PythonGateways, resolve_python
from lamina.versions import Kind, kind_of_change
from tests.orders import order_of, pins, python_layer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(days=2)
WHEEL = ("x-1-py3-none-any.whl",)
KINDS: tuple[Kind, ...] = ("patch", "minor", "major")


@dataclass
class Shop:
    """An index whose packages need no others, and a resolver that takes the newest that it may."""

    listed: Mapping[str, Listing | None]
    asked: list[Question] = field(default_factory=list)
    elsewhere: frozenset[str] = frozenset()

    def of(self, names: Iterable[str], _: Access | None) -> Mapping[str, Listing | None]:
        return {name: self.listed.get(name) for name in names}

    def resolve(self, question: Question) -> Answer:
        self.asked.append(question)
        wishes: dict[str, SpecifierSet] = {}
        for line in (*question.asked, *question.constraints):
            wish = Requirement(line)
            wishes[wish.name] = wishes.get(wish.name, SpecifierSet()) & wish.specifier
        names = dict.fromkeys(Requirement(line).name for line in question.asked)
        chosen = {name: self._best(question, name, wishes[name]) for name in names}
        pins = [Pin(name, entry.version, ("sha256:" + "0" * 64,), entry.uploaded) for name, entry in chosen.items()]
        return Answer(Lock.of(pins), frozenset(name for name, entry in chosen.items() if entry.yanked is not None))

    def origins(self, _: Question, lock: Lock) -> Mapping[str, str]:
        return {name: "http://default" if name in self.elsewhere else "http://own" for name in lock.pins}

    def _best(self, question: Question, name: str, wish: SpecifierSet) -> Listed:
        listing = self.listed[name]
        assert listing is not None
        limit = question.cutoffs.get(name, question.cutoff)
        exact = any(part.operator == "==" for part in wish)
        fitting = [
            entry
            for entry in listing.versions
            if wish.contains(entry.version, prereleases=True)
            and (not Version(entry.version).is_prerelease or wish.prereleases)
            and (limit is None or entry.uploaded is None or entry.uploaded < limit)
            and (entry.yanked is None or exact or question.preferred.get(name) == entry.version)
        ]
        if not fitting:
            raise Unsolved(f"no version of {name} fits {wish}")
        kept = [entry for entry in fitting if entry.version == question.preferred.get(name)]
        return kept[0] if kept else max(fitting, key=lambda entry: Version(entry.version))


def shop(**packages: Sequence[Listed] | None) -> Shop:
    return Shop(
        {name: None if entries is None else Listing("PyPI", name, tuple(entries)) for name, entries in packages.items()}
    )


def entry(version: str, uploaded: datetime | None = OLD, **more: str) -> Listed:
    return Listed(version, uploaded, more.get("yanked"), wheels=WHEEL)


def order(
    current: Mapping[str, tuple[str, datetime | None]],
    *,
    wants: str = "flask\nidna\n",
    update: str = "",
    python: str = "",
    fixes: tuple[Advisory, ...] = (),
    security: bool = False,
    packages: dict[str, str] | None = None,
    held_back: tuple[HeldBack, ...] = (),
    access: Access | None = None,
) -> Order:
    return order_of(
        python_layer(update, wants=wants, python=python),
        Lock.of(pins(current)) if current else None,
        NOW,
        previously_wanted=tuple(wants.split()),
        packages=packages or {},
        fixes=fixes,
        security=security,
        held_back=held_back,
        access=access,
    )


def solve(asked: Order, at: Shop) -> Resolved:
    return resolve_python(asked, PythonGateways(at, at), dry_run=True, now=NOW)


BOTH = {"flask": ("2.2.2", OLD), "idna": ("3.4", OLD)}
FIX = Advisory(id="CVE-1", package="flask", fixed="2.2.5")


def test_an_update_takes_what_is_old_enough_and_explains_the_move() -> None:
    at = shop(flask=[entry("2.2.2"), entry("2.2.5"), entry("2.3.0", YOUNG)], idna=[entry("3.4")])

    found = solve(order(BOTH), at)

    assert found.lock.packages == {"flask": "2.2.5", "idna": "3.4"}
    assert found.text == found.lock.render()
    assert [(change.package, change.to, change.direct, change.age_days) for change in found.changes] == [
        ("flask", "2.2.5", True, 30)
    ]
    assert (found.wanted, found.direct) == (("flask", "idna"), frozenset({"flask", "idna"}))
    assert found.cutoff == NOW - timedelta(days=7)
    assert len(at.asked) == 1


def test_a_lock_without_upload_times_takes_them_from_the_index() -> None:
    at = shop(flask=[entry("2.2.2"), entry("2.2.5", YOUNG), entry("2.3.0", YOUNG)], idna=[entry("3.4")])

    found = solve(order({"flask": ("2.2.5", None), "idna": ("3.4", None)}), at)

    assert found.lock.packages == {"flask": "2.2.5", "idna": "3.4"}


def test_a_withdrawn_pin_that_nothing_follows_stays_and_is_told() -> None:
    at = shop(
        flask=[entry("2.2.2", yanked="breaks sessions"), entry("2.2.5", YOUNG)], idna=[entry("3.4"), entry("3.7")]
    )

    found = solve(order(BOTH), at)

    assert found.lock.packages == {"flask": "2.2.2", "idna": "3.7"}
    (held,) = [held for held in found.held if held.kind == "withdrawn"]
    assert held.why == "its authors have withdrawn it (breaks sessions), and nothing newer may be taken yet"


def test_a_security_update_for_what_is_fixed_already_asks_nothing_and_changes_nothing() -> None:
    at = shop(flask=[entry("2.2.2"), entry("2.2.5")], idna=[entry("3.4"), entry("3.7")])
    there = Advisory(id="CVE-1", package="flask", fixed="2.2.2")

    found = solve(order(BOTH, fixes=(there,), security=True), at)

    assert found.changes == ()
    assert at.asked == []


def test_a_security_update_that_policy_forbids_fails_with_the_way_out() -> None:
    at = shop(flask=[entry("2.2.2"), entry("3.0.1")], idna=[entry("3.4")])
    fix = Advisory(id="CVE-3", package="flask", fixed="3.0.1")

    with pytest.raises(ResolutionFailed, match=r"CVE-3, but update\.allow = .minor. keeps flask <3; allow a") as failed:
        solve(order(BOTH, fixes=(fix,), security=True), at)

    assert '"packages": {"flask": "3.0.1"}' in str(failed.value)


def test_a_first_release_is_an_ordinary_one_whatever_started_it() -> None:
    at = shop(flask=[entry("2.2.2"), entry("2.2.5")], idna=[entry("3.4")])

    assert solve(order({}, fixes=(FIX,), security=True), at).lock.packages == {"flask": "2.2.5", "idna": "3.4"}


def test_an_exact_version_of_a_stranger_does_not_become_part_of_the_layer_and_is_told() -> None:
    at = shop(flask=[entry("2.2.2")], idna=[entry("3.4")])

    found = solve(order(BOTH, packages={"pillow": "10.0.0"}), at)

    assert [(held.package, held.version, held.why[:17]) for held in found.held] == [
        ("pillow", "10.0.0", "asked for exactly")
    ]


def test_what_the_index_did_not_say_is_unknown_and_said() -> None:
    class Silent(Shop):
        """An index of which only the resolver gets an answer."""

        def resolve(self, question: Question) -> Answer:
            return Answer(Lock.of([Pin("flask", "2.2.2"), Pin("idna", "3.4")]))

    found = solve(order(BOTH), Silent({"flask": None, "idna": Listing("PyPI", "idna", (entry("3.4"),))}))

    assert found.notes == ("Which other versions there are is unknown for flask: the index did not say.",)


def test_an_index_of_its_own_that_says_nothing_of_a_package_is_unavailable() -> None:
    at = shop(flask=None, idna=[entry("3.4")])

    with pytest.raises(IndexUnavailable, match=r"http://own of \[python.index\] in layer.toml gave no answer about fl"):
        solve(order(BOTH, access=Access("http://own", "u", "secret")), at)

    assert at.asked == []


def test_a_package_from_the_wrong_index_is_refused() -> None:
    at = shop(flask=[entry("2.2.2"), entry("2.2.5")], idna=[entry("3.4")])
    at.elsewhere = frozenset({"flask", "idna"})

    with pytest.raises(ResolutionFailed, match="flask belongs to http://own"):
        solve(order(BOTH, access=Access("http://own", packages=("flask",))), at)


@pytest.mark.parametrize(
    ("wheels", "forced"), [((), [("flask",)]), (WHEEL, [()]), (("x-1-cp313-cp313-win_amd64.whl",), [("flask",)])]
)
def test_a_package_is_built_only_where_its_newest_version_has_no_wheel(
    wheels: tuple[str, ...], forced: list[tuple[str, ...]]
) -> None:
    at = shop(flask=[Listed("2.2.2", OLD, wheels=WHEEL), Listed("2.2.5", OLD, wheels=wheels, source=True)])

    solve(order({"flask": ("2.2.2", OLD)}, wants="flask\n", python='build-from-source = ["Flask"]'), at)

    assert [asked.forced for asked in at.asked] == forced


def test_who_is_on_a_pre_release_is_not_taken_to_the_next_one_and_not_kept_from_the_release() -> None:
    early = [entry("2.2.2"), entry("3.0.0rc1"), entry("3.0.0rc2")]
    pinned = {"flask": ("3.0.0rc1", OLD), "idna": ("3.4", OLD)}

    before = solve(order(pinned), shop(flask=early, idna=[entry("3.4")]))
    after = solve(order(pinned), shop(flask=[*early, entry("3.0.0"), entry("3.1.0rc1")], idna=[entry("3.4")]))

    assert (before.lock.packages["flask"], after.lock.packages["flask"]) == ("3.0.0rc1", "3.0.0")


versions = st.sampled_from(["1.0.0", "1.0.1", "1.1.0", "2.0.0rc1", "2.0.0", "2.1.0", "3.0.0"])
listed = st.lists(
    st.builds(
        Listed,
        version=versions,
        uploaded=st.sampled_from([OLD, YOUNG, NOW + timedelta(days=1)]),
        yanked=st.sampled_from([None, None, None, "broken"]),
        wheels=st.just(WHEEL),
    ),
    unique_by=lambda entry: entry.version,
    min_size=1,
).map(lambda entries: sorted(entries, key=lambda entry: Version(entry.version)))


@given(
    st.dictionaries(st.sampled_from(["flask", "idna"]), listed, min_size=2),
    st.data(),
    st.sampled_from(KINDS),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_index_has_nothing_goes_back_or_beyond_policy_and_the_same_order_gives_the_same_answer(
    there: dict[str, list[Listed]], data: st.DataObject, allow: Kind, ignore: bool, security: bool
) -> None:
    pinned = {name: data.draw(st.sampled_from(entries)) for name, entries in there.items()}
    fix = Advisory(id="CVE-1", package="flask", fixed=data.draw(versions))
    back = HeldBack(package="idna", version=data.draw(versions), since=OLD, reason="broke it")
    asked = order(
        {name: (entry.version, entry.uploaded) for name, entry in pinned.items()},
        update=f'allow = "{allow}"\nignore = {["idna"] if ignore else []}',
        fixes=(fix,),
        security=security,
        held_back=(back,),
    )
    at = shop(**there)
    try:
        found = solve(asked, at)
    except ResolutionFailed:
        # An update may fail for the sake of a fix, never for want of news.
        assert security
        return
    for name, version in found.lock.packages.items():
        before = pinned[name].version
        if version == before:
            continue
        entry = next(entry for entry in there[name] if entry.version == version)
        assert Version(version) > Version(before)
        assert KINDS.index(kind_of_change("PyPI", before, version)) <= KINDS.index(allow)
        assert entry.yanked is None
        assert entry.uploaded is not None
        assert entry.uploaded < found.cutoff or (name == "flask" and entry.uploaded <= NOW)
        assert not (name == "idna" and (ignore or version == back.version or security))
    assert found == solve(asked, at)
