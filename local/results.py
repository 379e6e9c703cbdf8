"""What a replay came to, and how that compares with what it should have come to.

The JSON form is a contract: see the scenarios' README.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from local.registry import Registry, Release
from local.scenario import Expectation

# The most serious first: what a run of several layers is called after.
SERIOUS = ("rolled_back", "rejected", "failed", "held", "promoted", "up_to_date")


@dataclass(frozen=True)
class Then:
    """What became of the rest of an update, once the culprits were held back."""

    outcome: str
    candidate: Release | None
    changed: Mapping[str, tuple[str | None, str | None]]
    """Package to its version before and in the candidate."""


@dataclass(frozen=True)
class Layer:
    """What the update did to one variant. All but `promoted` and `then` speaks of the update as first proposed."""

    outcome: str
    before: Release | None
    candidate: Release | None
    promoted: int | None
    caught_by: str | None = None
    culprits: tuple[str, ...] = ()
    held_back: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    then: Then | None = None

    @property
    def last(self) -> tuple[str, Release | None]:
        """Outcome and candidate of the last attempt."""
        return (self.then.outcome, self.then.candidate) if self.then else (self.outcome, self.candidate)


@dataclass(frozen=True)
class Function:
    """One function's layers before and after the update: what serves its callers, and what its `$LATEST` has."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    candidate_attached: bool
    latest: tuple[str, ...]
    routed: bool = False
    """Whether its alias still sends a share of its callers to another version."""
    left_alone: str = ""
    """Why it was left alone; empty where it was not."""

    def to_json(self) -> dict[str, Any]:
        """Layers before and after, whether it had the candidate, and why not where it was left alone."""
        reason = {"left_alone": self.left_alone} if self.left_alone else {}
        return {
            "before": list(self.before),
            "after": list(self.after),
            "candidate_attached": self.candidate_attached,
            **reason,
        }


@dataclass(frozen=True)
class Flow:
    """The fleet's invocations, and those of them that ran on a candidate."""

    invocations: int = 0
    errors: int = 0
    on_candidate: int = 0
    errors_on_candidate: int = 0


@dataclass(frozen=True)
class Next:
    """What another update came to, after the one that the rest of a result is about."""

    outcome: str
    changed: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Package to its version before and after, of what was promoted."""

    def to_json(self) -> dict[str, Any]:
        """Outcome and changes."""
        return {"outcome": self.outcome, "changed": {name: list(move) for name, move in self.changed.items()}}


@dataclass(frozen=True)
class Result:
    """A whole replay."""

    layers: Mapping[str, Layer]
    functions: Mapping[str, Function]
    traffic: Flow
    seconds: Mapping[str, float]
    aws_calls: Mapping[str, int]
    next: Next | None = None

    @property
    def outcome(self) -> str:
        """The most serious of the layers' outcomes."""
        return min((layer.outcome for layer in self.layers.values()), key=SERIOUS.index, default="up_to_date")

    @property
    def caught_by(self) -> str | None:
        """The stage that stopped the layer after which the outcome is named."""
        return next((layer.caught_by for layer in self.layers.values() if layer.outcome == self.outcome), None)

    @property
    def culprits(self) -> list[str]:
        """The packages that are blamed, over all layers."""
        return sorted({culprit for layer in self.layers.values() for culprit in layer.culprits})

    @property
    def then(self) -> dict[str, Any] | None:
        """What became of the rest, over all layers; the most serious outcome."""
        thens = [layer.then for layer in self.layers.values() if layer.then is not None]
        if not thens:
            return None
        changed = {name: list(move) for then in thens for name, move in then.changed.items()}
        return {"outcome": min((then.outcome for then in thens), key=SERIOUS.index), "changed": changed}

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON value."""
        return {
            "outcome": self.outcome,
            "caught_by": self.caught_by,
            "culprits": self.culprits,
            "held_back": {name: version for layer in self.layers.values() for name, version in layer.held_back.items()},
            **({} if self.then is None else {"then": self.then}),
            **({} if self.next is None else {"next": self.next.to_json()}),
            "layers": {
                variant: {
                    "before": layer.before and layer.before.to_json(),
                    "candidate": layer.candidate and layer.candidate.to_json(),
                    "promoted": layer.promoted,
                }
                for variant, layer in self.layers.items()
            },
            "functions": {name: function.to_json() for name, function in self.functions.items()},
            "traffic": {
                "invocations": self.traffic.invocations,
                "errors": self.traffic.errors,
                "on_candidate": self.traffic.on_candidate,
                "errors_on_candidate": self.traffic.errors_on_candidate,
            },
            "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.items()},
            "aws_calls": dict(sorted(self.aws_calls.items())),
        }


def broken_promises(
    layers: Mapping[str, Layer], functions: Mapping[str, Function], excused: Set[str] = frozenset()
) -> list[str]:
    """Sentences about functions that are neither on the old release nor on the new one; none if all is well.

    A function's layers must be those of before, or those with candidates in the same places; all on the new one after
    a promotion, all on the old one after anything else but a held rollout, in which both occur; what counts is the
    last attempt. Of `excused` functions the journal says that they stayed, or were put back.
    """
    sentences = []
    candidates = {}
    for layer in layers.values():
        outcome, candidate = layer.last
        if layer.before is not None and candidate is not None and outcome in ("promoted", "held"):
            candidates[layer.before.arn] = candidate.arn
    held = any(layer.last[0] == "held" for layer in layers.values())
    for name, function in functions.items():
        new = tuple(candidates.get(arn, arn) for arn in function.before)
        allowed = (function.before, new) if held or name in excused else (new,)
        for what, arns in (("serves", function.after), ("has in $LATEST", function.latest)):
            if arns not in allowed:
                sentences.append(f"{name} {what} {_listed(arns)}; it should be {' or '.join(map(_listed, allowed))}")
        if function.routed and not held:
            sentences.append(f"{name}: its alias still sends a share of its callers to another version")
    return sentences


def differences(result: Result, expect: Expectation, told: str = "") -> list[str]:
    """In what the result, or what its reports have `told`, is not as expected, as sentences."""
    then, later = (result.then or {}).get("outcome"), result.next and result.next.outcome
    wanted: list[tuple[str, object, object]] = [("outcome", expect.outcome, result.outcome)]
    if expect.caught_by is not None:
        wanted.append(("caught by", expect.caught_by, result.caught_by))
    if expect.culprits is not None:
        wanted.append(("culprits", _names(expect.culprits), _names(result.culprits)))
    if expect.held_back is not None:
        wanted.append(("held back", expect.held_back, result.to_json()["held_back"]))
    if expect.then is not None:
        wanted.append(("then", expect.then, then))
    if expect.next is not None:
        wanted.append(("next", expect.next, later))
    for layer, outcome in expect.layers.items():
        of_it = {name: found.outcome for name, found in result.layers.items() if name.rsplit("-", 2)[0] == layer}
        wanted.append((f"outcome of {layer}", dict.fromkeys(of_it, outcome) or outcome, of_it))
    found = [f"{what}: expected {expected}, was {actual}" for what, expected, actual in wanted if expected != actual]
    for function, words in expect.left_alone.items():
        reason = result.functions[function].left_alone
        if words not in reason:
            found.append(f"left alone: expected {function} with {words!r}, was {reason or 'not'!r}")
    found += [f"says: expected {words!r}, which is in no report" for words in expect.says if words not in told]
    return found


def next_of(registry: Registry, report: Mapping[str, Any]) -> Next:
    """What a later update came to, from its report."""
    changed: dict[str, tuple[str | None, str | None]] = {}
    outcomes = []
    for row in report["outcomes"]:
        outcomes.append(row["outcome"])
        before = registry.release(row["variant"], row.get("before"))
        after = registry.release(row["variant"], row.get("promoted"))
        old, new = before.packages if before else {}, after.packages if after else {}
        changed |= {
            name: (old.get(name), new.get(name)) for name in sorted(old | new) if old.get(name) != new.get(name)
        }
    return Next(min(outcomes, key=SERIOUS.index, default="up_to_date"), changed)


def flow(counts: Mapping[tuple[str, str, tuple[str, ...]], tuple[int, int]], candidates: Iterable[str]) -> Flow:
    """Sum up the engine's counts by (function, version, layers); `candidates` are layer version ARNs."""
    new = frozenset(candidates)
    on_new = [pair for (_, _, arns), pair in counts.items() if new.intersection(arns)]
    return Flow(
        sum(invocations for invocations, _ in counts.values()),
        sum(errors for _, errors in counts.values()),
        sum(invocations for invocations, _ in on_new),
        sum(errors for _, errors in on_new),
    )


def _names(packages: Sequence[str]) -> list[str]:
    return sorted(package.lower().replace("_", "-").replace(".", "-") for package in packages)


def _listed(arns: Sequence[str]) -> str:
    return "[" + ", ".join(arn.split(":layer:")[-1] for arn in arns) + "]"
