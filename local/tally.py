"""Counts the fleet's invocations, and notes what its functions got attached, while a replay runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from local.fleet import serving_layers
from local.lambdas.engine import CountKey, LambdaEngine
from local.lambdas.values import FunctionChange
from local.results import Flow, flow
from local.scenario import Member
from local.story import Row, Story, View, layers_text
from local.traffic import Traffic

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_WINDOW = 5
"""Minutes of traffic that the story's table looks back."""


class Tally:
    """Follows a fleet that runs on its first release. Changes come from Lambda's threads."""

    def __init__(
        self,
        engine: LambdaEngine,
        lambdas: LambdaClient,
        members: Sequence[Member],
        traffic: Traffic,
        story: Story,
        on_serve: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_serve` is called whenever a function's callers get something else than before."""
        self._engine = engine
        self._on_serve = on_serve
        self._traffic = traffic
        self._story = story
        self._members = {member.name: member for member in members}
        self._first = {member.name: serving_layers(lambdas, member) for member in members}
        self._shown = {name: layers_text(layers) for name, layers in self._first.items()}
        # By function and version; what the functions start with was made before anybody looked.
        self._versions = {
            (member.name, _version(lambdas, member)): self._first[member.name] for member in members if member.alias
        }
        self._attached: dict[str, set[str]] = {name: set() for name in self._members}
        self._window: deque[tuple[int, Mapping[CountKey, tuple[int, int]]]] = deque(maxlen=_WINDOW + 1)
        engine.on_change.append(self._changed)
        story.show(self.view)

    def had(self, function: str, candidates: set[str]) -> bool:
        """Whether the function ever had one of these layer versions, in any version of it."""
        return not candidates.isdisjoint(self._attached[function])

    def flow(self, candidates: set[str]) -> Flow:
        """All of the fleet's invocations."""
        return flow(self._counts(), candidates)

    def view(self) -> View:
        """The fleet as it is, with the traffic of the last five minutes."""
        minute, counts = self._traffic.minutes, self._counts()
        if not self._window or self._window[-1][0] < minute:
            self._window.append((minute, counts))
        earlier = self._window[0][1]
        rows = []
        for name, first in self._first.items():
            sides = {True: [0, 0], False: [0, 0]}
            for key, (calls, errors) in counts.items():
                if key[0] == name:
                    known = earlier.get(key, (0, 0))
                    sides[key[2] == first][0] += calls - known[0]
                    sides[key[2] == first][1] += errors - known[1]
            (old, old_failed), (new, new_failed) = sides[True], sides[False]
            text = self._shown[name]
            rows.append(Row(name, text, text != layers_text(first), (old, old_failed), (new, new_failed)))
        return View(minute, rows)

    def _counts(self) -> dict[CountKey, tuple[int, int]]:
        return {key: pair for key, pair in self._engine.snapshot().items() if key[0] in self._members}

    def _changed(self, change: FunctionChange) -> None:
        if (member := self._members.get(change.function)) is None:
            return
        self._attached[member.name].update(change.layers)
        if change.alias is None:
            self._versions[member.name, change.version] = change.layers
        if change.alias != member.alias:
            return
        text = layers_text(change.layers)
        for version, weight in change.weights.items():
            text += f", for {weight:.0%} {layers_text(self._versions.get((member.name, version), ()))}"
        if text != self._shown[member.name]:
            self._on_serve()
            self._story.change(member.name, self._shown[member.name], text)
            self._shown[member.name] = text


def _version(lambdas: LambdaClient, member: Member) -> str:
    """The version behind a function's alias."""
    return lambdas.get_alias(FunctionName=member.name, Name=member.alias or "")["FunctionVersion"]
