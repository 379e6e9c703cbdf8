"""A Lambda in memory that refuses what Lambda refuses: stale revisions, updates in progress, unknown versions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from lamina.errors import Busy, ChangedElsewhere, RolloutClosed, Unsettled
from lamina.fleet import AliasView, FunctionChange, FunctionView, MoveAlias, Provisioned, PublishVersion, SetLayers
from lamina.rollout import Entry, Lock, Rollout, RolloutStatus

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def layer(name: str, version: int) -> str:
    return f"arn:aws:lambda:eu-central-1:123456789012:layer:{name}:{version}"


@dataclass
class FakeFunctions:
    """The `Functions` gateway, without AWS. `before_apply` lets a test act just before a change takes effect."""

    latest: dict[str, FunctionView] = field(default_factory=dict)
    versions: dict[tuple[str, str], FunctionView] = field(default_factory=dict)
    aliases: dict[tuple[str, str], AliasView] = field(default_factory=dict)
    applied: list[FunctionChange] = field(default_factory=list)
    before_apply: Callable[[FunctionChange], None] = lambda change: None
    clock: Callable[[], datetime] = lambda: NOW
    kept: dict[str, dict[str, Provisioned] | None] = field(default_factory=dict)
    waits: list[tuple[str, str | None, str | None, int]] = field(default_factory=list)
    slow: set[tuple[str, str | None, str | None]] = field(default_factory=set)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def add(self, name: str, layers: tuple[str, ...], alias: str | None = None) -> None:
        view = FunctionView(
            name=name,
            arn=f"arn:aws:lambda:eu-central-1:123456789012:function:{name}",
            layers=layers,
            revision=self._revision(),
            code="code-1",
            fingerprint="configuration-1",
            modified=NOW - timedelta(days=30),
            tags={},
        )
        self.latest[name] = view
        if alias:
            self.release(name, alias)

    def release(self, name: str, alias: str) -> None:
        """What a team does: publish `$LATEST` and point the alias to it."""
        version = self._publish(name)
        self.aliases[name, alias] = AliasView(alias, version, {}, self._revision())

    def deploy(self, name: str, **changes: object) -> None:
        """What a team does: change `$LATEST`."""
        self.latest[name] = replace(self.latest[name], revision=self._revision(), **changes)  # type: ignore[arg-type]

    def serving(self, name: str, alias: str | None) -> tuple[str, ...]:
        """The layers of what a caller reaches."""
        if alias is None:
            return self.latest[name].layers
        view = self.aliases[name, alias]
        assert not view.weights
        return self.versions[name, view.version].layers

    def all(self) -> Iterator[FunctionView]:
        yield from self.latest.values()

    def read(self, name: str, qualifier: str | None = None) -> FunctionView | None:
        return self.latest.get(name) if qualifier is None else self.versions.get((name, qualifier))

    def alias(self, name: str, alias: str) -> AliasView | None:
        return self.aliases.get((name, alias))

    def provisioned(self, name: str) -> dict[str, Provisioned] | None:
        return self.kept.get(name, {})

    def settle(self, name: str, version: str | None = None, alias: str | None = None, seconds: int = 300) -> None:
        self.waits.append((name, version, alias, seconds))
        if (name, version, alias) in self.slow:
            raise Unsettled(name, version, alias)
        view = self.latest[name]
        if version is None and view.update == "InProgress":
            self.latest[name] = replace(view, update="Successful", revision=self._revision())

    def apply(self, change: FunctionChange) -> str | None:
        self.before_apply(change)
        view = self.latest[change.function]
        if isinstance(change, MoveAlias):
            alias = self.aliases[change.function, change.alias]
            if alias.revision != change.revision:
                raise ChangedElsewhere("alias")
            assert all((change.function, version) in self.versions for version in (change.version, *change.weights))
            self.applied.append(change)
            self.aliases[change.function, change.alias] = AliasView(
                change.alias, change.version, dict(change.weights), self._revision()
            )
            return None
        if view.update == "InProgress":
            raise Busy("update in progress")
        if view.revision != change.revision:
            raise ChangedElsewhere("function")
        self.applied.append(change)
        if isinstance(change, PublishVersion):
            assert change.code == view.code
            return self._publish(change.function)
        assert isinstance(change, SetLayers)
        self.latest[change.function] = replace(
            view, layers=change.layers, revision=self._revision(), update="InProgress", modified=self.clock()
        )
        return None

    def _publish(self, name: str) -> str:
        view = self.latest[name]
        mine = [(int(version), old) for (owner, version), old in self.versions.items() if owner == name]
        if mine:
            number, newest = max(mine, key=lambda pair: pair[0])
            same = (newest.code, newest.fingerprint, newest.layers) == (view.code, view.fingerprint, view.layers)
            if same:
                return str(number)
        version = str(len(mine) + 1)
        self.versions[name, version] = replace(view, version=version, update="Successful")
        return version

    def _revision(self) -> str:
        return f"revision-{next(self._ids)}"


@dataclass
class FakeRollouts:
    """The `Rollouts` gateway, in memory, with its guards."""

    rollouts: dict[str, Rollout] = field(default_factory=dict)
    journal: dict[tuple[str, str], Entry] = field(default_factory=dict)
    locks: dict[str, Lock] = field(default_factory=dict)

    def get(self, rollout: str) -> Rollout | None:
        return self.rollouts.get(rollout)

    def create(self, rollout: Rollout) -> bool:
        fresh = rollout.rollout not in self.rollouts
        if fresh:
            self.rollouts[rollout.rollout] = rollout
        return fresh

    def save(self, rollout: Rollout, expected: RolloutStatus) -> Rollout:
        if self.rollouts[rollout.rollout].status is not expected:
            raise RolloutClosed(rollout.rollout)
        self.rollouts[rollout.rollout] = rollout
        return rollout

    def entries(self, rollout: str) -> tuple[Entry, ...]:
        return tuple(entry for (owner, _), entry in sorted(self.journal.items()) if owner == rollout)

    def note(self, rollout: str, entry: Entry, status: RolloutStatus) -> None:
        if self.rollouts[rollout].status is not status:
            raise RolloutClosed(rollout)
        self.journal[rollout, entry.function] = entry

    def lock(self, variant: str) -> Lock | None:
        return self.locks.get(variant)

    def acquire(self, variant: str, lock: Lock, instead_of: Lock | None = None) -> bool:
        if self.locks.get(variant) != instead_of:
            return False
        self.locks[variant] = lock
        return True

    def release(self, variant: str, rollout: str) -> None:
        if variant in self.locks and self.locks[variant].rollout == rollout:
            del self.locks[variant]
