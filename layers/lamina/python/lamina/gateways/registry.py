"""The registry: one DynamoDB table that remembers layers, releases, runs, rollouts and their journals.

=====================  =====================  ======================================================
pk                     sk                     what
=====================  =====================  ======================================================
``LAYER#<variant>``    ``STATE``              promoted version, held back package versions
``LAYER#<variant>``    ``LOCK``               the rollout that may change the variant's fleet
``LAYER#<variant>``    ``RELEASE#<version>``  a published release
``LAYER#<variant>``    ``SHARED``             for a variant without a layer of its own: whose release its functions have
``LAYER#<variant>``    ``DOUBT#<digest>``     the rollout that first put a set of changes back without knowing a culprit
``LAYER#<variant>``    ``ROLLOUT#<moment>#…``  the name of a rollout of the variant, by when it opened
``RUN#<run>``          ``RUN``                what an update was asked to do
``RUN#<run>``          ``LAYER#<variant>``    how it ended for a variant
``ROLLOUT#<rollout>``  ``ROLLOUT``            a rollout: candidate, waves, status
``ROLLOUT#<rollout>``  ``FUNCTION#<name>``    the journal: one function, before and after
``ROLLOUT#<rollout>``  ``WATCH#<number>``     the evidence of one look at the metrics
``CLAIM#<variant>``    what is to be fixed    the run that is fixing it, and until when that counts
``DELIVERY#<digest>``  ``SEEN``               a webhook's delivery that was dealt with
``INDEX#<digest>``     ``PACKAGE#<name>``     since when which versions were seen in an index without upload times
``PLAN``               ``KNOWN``              the variants that there are, as the last plan found them
``NOTICE``             its name               when the topic was last told of something that lasts
=====================  =====================  ======================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from lamina import bisecting
from lamina.culprit import canonical
from lamina.inputs import Known
from lamina.model import Advisory, Change, HeldBack, LayerOutcome, LayerState, Release, Released, Shared

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item: TypeAlias = dict[str, Any]
Document: TypeAlias = tuple[str, str, Mapping[str, object]]
Guard: TypeAlias = tuple[str, str, str, object]

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def _pack(value: Mapping[str, object]) -> Item:
    exact = json.loads(json.dumps(value), parse_float=Decimal)
    return {name: _serialize(part) for name, part in exact.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _unpack(item: Item) -> Item:
    return {name: _plain(_deserialize(part)) for name, part in item.items() if name not in ("pk", "sk")}


class Table:
    """JSON documents in one DynamoDB table, addressed by partition and sort key. All reads are consistent."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self._client = client
        self._name = name

    def get(self, pk: str, sk: str) -> Item | None:
        """The document, or None."""
        answer = self._client.get_item(TableName=self._name, Key=_pack({"pk": pk, "sk": sk}), ConsistentRead=True)
        return _unpack(answer["Item"]) if "Item" in answer else None

    def put(self, pk: str, sk: str, document: Mapping[str, object]) -> None:
        """Write the document, whatever stood there."""
        self._client.put_item(TableName=self._name, Item=_pack({"pk": pk, "sk": sk, **document}))

    def put_if(
        self,
        pk: str,
        sk: str,
        document: Mapping[str, object],
        field: str,
        expected: object | None,
        counted: tuple[str, int] | None = None,
    ) -> bool:
        """Write the document if `field` of the stored one equals `expected` (None: if there is no document yet).

        `counted` is a field that counts changes, and the count that the change is based on.
        """
        arguments: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if expected is not None:
            arguments = {
                "ConditionExpression": "#field = :expected",
                "ExpressionAttributeNames": {"#field": field},
                "ExpressionAttributeValues": _pack({":expected": expected}),
            }
        if expected is not None and counted is not None:
            arguments["ConditionExpression"] += " AND (attribute_not_exists(#counted) OR #counted = :counted)"
            arguments["ExpressionAttributeNames"] |= {"#counted": counted[0]}
            arguments["ExpressionAttributeValues"] |= _pack({":counted": counted[1]})
        item = _pack({"pk": pk, "sk": sk, **document})
        return self._conditional(lambda: self._client.put_item(TableName=self._name, Item=item, **arguments))

    def put_all(self, documents: Sequence[Document], guard: Guard) -> bool:
        """Write all of the documents, if the guard holds, or none of them.

        Args:
            documents: partition key, sort key and contents of each.
            guard: partition key and sort key of a stored document, the name of one of its fields and what that must be.
        """
        pk, sk, field, expected = guard
        condition = {
            "ConditionExpression": "#field = :expected",
            "ExpressionAttributeNames": {"#field": field},
            "ExpressionAttributeValues": _pack({":expected": expected}),
        }
        items: list[Any] = []
        for key, sort, document in documents:
            put: Item = {"TableName": self._name, "Item": _pack({"pk": key, "sk": sort, **document})}
            items.append({"Put": put | (condition if (key, sort) == (pk, sk) else {})})
        if (pk, sk) not in {(key, sort) for key, sort, _ in documents}:
            check = {"TableName": self._name, "Key": _pack({"pk": pk, "sk": sk}), **condition}
            items.append({"ConditionCheck": check})
        try:
            self._client.transact_write_items(TransactItems=items)
        except self._client.exceptions.TransactionCanceledException as error:
            reasons: list[Any] = error.response.get("CancellationReasons", [])
            if any(reason.get("Code") == "ConditionalCheckFailed" for reason in reasons):
                return False
            raise
        return True

    def amend(self, pk: str, sk: str, changes: Mapping[str, object], field: str, expected: object) -> bool:
        """Set some fields of a document and leave all others, if its `field` equals `expected` or is not there yet."""
        names = {f"#{number}": name for number, name in enumerate(changes)}
        values = {f":{number}": value for number, value in enumerate(changes.values())}
        return self._conditional(
            lambda: self._client.update_item(
                TableName=self._name,
                Key=_pack({"pk": pk, "sk": sk}),
                UpdateExpression="SET " + ", ".join(f"#{number} = :{number}" for number in range(len(names))),
                ConditionExpression="attribute_not_exists(#field) OR #field = :expected",
                ExpressionAttributeNames={**names, "#field": field},
                ExpressionAttributeValues=_pack({**values, ":expected": expected}),
            )
        )

    def delete_if(self, pk: str, sk: str, field: str, expected: object) -> bool:
        """Delete the document if its `field` equals `expected`."""
        return self._conditional(
            lambda: self._client.delete_item(
                TableName=self._name,
                Key=_pack({"pk": pk, "sk": sk}),
                ConditionExpression="#field = :expected",
                ExpressionAttributeNames={"#field": field},
                ExpressionAttributeValues=_pack({":expected": expected}),
            )
        )

    def query(self, pk: str, prefix: str = "") -> Iterator[Item]:
        """All documents of a partition whose sort key begins with `prefix`, in key order."""
        arguments: dict[str, Any] = {
            "TableName": self._name,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :sk)" if prefix else ""),
            "ExpressionAttributeValues": _pack({":pk": pk, **({":sk": prefix} if prefix else {})}),
        }
        while True:
            page = self._client.query(**arguments)
            yield from (_unpack(item) for item in page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _conditional(self, call: Any) -> bool:
        try:
            call()
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


class Layers:
    """What is published, promoted and held back, for each variant."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def state(self, variant: str) -> LayerState:
        """The variant's state; a variant that was never released has an empty one."""
        item = self._table.get(f"LAYER#{variant}", "STATE")
        return LayerState(variant=variant) if item is None else LayerState.model_validate(item)

    def save(self, state: LayerState) -> None:
        """Replace the variant's state."""
        self._table.put(f"LAYER#{state.variant}", "STATE", state.to_json())

    def release(self, variant: str, version: int) -> Release | None:
        """One release of the variant."""
        item = self._table.get(f"LAYER#{variant}", f"RELEASE#{version:08d}")
        return None if item is None else Release.model_validate(item)

    def releases(self, variant: str) -> tuple[Release, ...]:
        """All releases of the variant, oldest first."""
        return tuple(Release.model_validate(item) for item in self._table.query(f"LAYER#{variant}", "RELEASE#"))

    def record(self, release: Release) -> None:
        """Write a release; writing it again replaces it."""
        self._table.put(f"LAYER#{release.variant}", f"RELEASE#{release.version:08d}", release.to_json())

    def promoted(self, variant: str) -> Release | None:
        """The promoted release, or None before the first."""
        version = self.state(variant).promoted
        return None if version is None else self.release(variant, version)

    def shared(self, variant: str) -> Shared | None:
        """Whose release the functions of a variant have that never had one of its own; None if nobody's."""
        item = self._table.get(f"LAYER#{variant}", "SHARED")
        return None if item is None else Shared.model_validate(item)

    def serving(self, variant: str) -> Release | None:
        """The promoted release that a variant's functions have: its own, or the one that it shares."""
        own = self.promoted(variant)
        shared = None if own is not None else self.shared(variant)
        if shared is None:
            return own
        theirs = self.promoted(shared.leader)
        return theirs if theirs is not None and variant in theirs.shared_by else None

    def promotion(self, variant: str, version: int, rollout: str) -> list[Document]:
        """The documents that move the promoted pointer to a release, and mark the release as promoted by a rollout.

        Variants that share the release are noted as doing so: they have no pointer of their own.
        """
        state = self.state(variant).model_copy(update={"promoted": version})
        release = self.release(variant, version)
        if release is not None:
            state = bisecting.after_promotion(state, {"PyPI": release.packages, "npm": release.node_packages})
        documents: list[Document] = [(f"LAYER#{variant}", "STATE", state.to_json())]
        if release is not None:
            marked = release.model_copy(update={"status": "promoted", "rollout": rollout})
            documents.append((f"LAYER#{variant}", f"RELEASE#{version:08d}", marked.to_json()))
            for name in release.shared_by:
                shared = Shared(variant=name, leader=variant, version=version)
                documents.append((f"LAYER#{name}", "SHARED", shared.to_json()))
        return documents

    def hold_back(self, variant: str, held: tuple[HeldBack, ...]) -> None:
        """Add package versions to those that are not offered again; the same version twice stays one entry."""
        while True:
            state = self.state(variant)
            known = {_named(entry) for entry in state.held_back}
            fresh = tuple(entry for entry in held if _named(entry) not in known)
            if not fresh or self._keep(state, state.model_copy(update={"held_back": state.held_back + fresh})):
                return

    def bisect(self, variant: str, moved: tuple[HeldBack, ...], rollout: str) -> tuple[HeldBack, ...]:
        """Suspect the changes of a candidate that did harm; what is held back of them from now on.

        Asked again for the same rollout, the answer is the same.
        """
        names = {_named(entry) for entry in moved}
        while True:
            state = new = self.state(variant)
            if state.narrowed != rollout:
                new = bisecting.after_harm(state, moved).model_copy(update={"narrowed": rollout})
            if new is state or self._keep(state, new):
                return tuple(entry for entry in new.held_back if _named(entry) in names)

    def let_go(self, variant: str, packages: Collection[str], run: str, now: datetime) -> None:
        """Offer held-back versions of these packages again, on the word of whoever started the run.

        Args:
            packages: names as `lamina.culprit.canonical` has them.
        """
        while True:
            state = self.state(variant)
            gone = tuple(entry for entry in state.held_back if canonical(entry.package) in packages)
            released = tuple(Released(**dict(entry), by=run, at=now) for entry in gone)
            new = bisecting.without(state, gone).model_copy(update={"released": state.released + released})
            if not gone or self._keep(state, new):
                return

    def doubted(self, variant: str, changes: Iterable[Change], rollout: str, now: datetime) -> bool:
        """Note that this set of changes was put back without a known culprit; whether another rollout had been before.

        Asked again for the same rollout, the answer is the same.
        """
        moves = sorted((change.ecosystem, change.package, change.to or "") for change in changes)
        pk, sk = f"LAYER#{variant}", "DOUBT#" + hashlib.sha256(json.dumps(moves).encode()).hexdigest()[:32]
        document = {"rollout": rollout, "since": now.isoformat(), "changes": [list(move) for move in moves]}
        if self._table.put_if(pk, sk, document, "rollout", None):
            return False
        there = self._table.get(pk, sk)
        return there is not None and there["rollout"] != rollout

    def _keep(self, state: LayerState, new: LayerState) -> bool:
        """Write what is held back, if nobody has meanwhile; what is promoted is not this one's to write."""
        document = new.to_json()
        fields = {name: document[name] for name in ("variant", "heldBack", "released", "suspects", "narrowed")}
        return self._table.amend(f"LAYER#{state.variant}", "STATE", fields, "heldBack", state.to_json()["heldBack"])


class Runs:
    """What updates were asked to do, and how they ended."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def open(self, run: str, document: Mapping[str, object]) -> None:
        """Record what a run is about to do."""
        self._table.put(f"RUN#{run}", "RUN", document)

    def get(self, run: str) -> Item | None:
        """What the run was asked to do."""
        return self._table.get(f"RUN#{run}", "RUN")

    def keep_known(self, known: Known) -> None:
        """Note which variants there are."""
        self._table.put("PLAN", "KNOWN", known.to_json())

    def known(self) -> Known | None:
        """The variants that there were when an update was last planned; None before the first."""
        item = self._table.get("PLAN", "KNOWN")
        return None if item is None else Known.model_validate(item)

    def conclude(self, run: str, outcome: LayerOutcome) -> None:
        """Record how the run ended for one variant."""
        self._table.put(f"RUN#{run}", f"LAYER#{outcome.variant}", outcome.to_json())

    def outcomes(self, run: str) -> tuple[LayerOutcome, ...]:
        """How the run ended, variant by variant."""
        return tuple(LayerOutcome.model_validate(item) for item in self._table.query(f"RUN#{run}", "LAYER#"))


class Claims:
    """Fixes that a run is at work on, so that many findings of one vulnerability start one update.

    A claim is on taking a package of a variant to its fixed version, whatever the advisory is called: databases have
    names of their own for the same vulnerability.
    """

    LASTING = timedelta(hours=24)

    def __init__(self, table: Table) -> None:
        self._table = table

    def take(self, variant: str, advisory: Advisory, run: str, now: datetime) -> str:
        """Claim a fix for a run, unless another has it; gives back the run that has it then."""
        pk, sk = f"CLAIM#{variant}", _fix(advisory)
        document = {"fix": sk, "run": run, "advisory": advisory.id, "until": (now + self.LASTING).isoformat()}
        while True:
            there = self._table.get(pk, sk)
            if there is not None and (there["run"] == run or _lasts(there, now)):
                return str(there["run"])
            if self._table.put_if(pk, sk, document, "until", None if there is None else there["until"]):
                return run

    def held(self, variant: str, advisories: Iterable[Advisory], now: datetime) -> tuple[Advisory, ...]:
        """Those of the advisories whose fix a run has claimed."""
        taken = {str(item["fix"]) for item in self._table.query(f"CLAIM#{variant}") if _lasts(item, now)}
        return tuple(advisory for advisory in advisories if _fix(advisory) in taken)


class Deliveries:
    """Webhook deliveries that were dealt with, by a digest of what was delivered."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def seen(self, digest: str) -> bool:
        """Whether it was dealt with before."""
        return self._table.get(f"DELIVERY#{digest}", "SEEN") is not None

    def mark(self, digest: str, delivery: str, now: datetime) -> bool:
        """Note that it is being dealt with; False if somebody else has noted that already."""
        document = {"delivery": delivery, "at": now.isoformat()}
        return self._table.put_if(f"DELIVERY#{digest}", "SEEN", document, "delivery", None)

    def forget(self, digest: str, delivery: str) -> None:
        """Take the note back, because dealing with it failed."""
        self._table.delete_if(f"DELIVERY#{digest}", "SEEN", "delivery", delivery)


class Sightings:
    """When versions were first seen in an index that does not say when they were uploaded."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def look(
        self, index: str, packages: Mapping[str, Iterable[str]], now: datetime, *, remember: bool
    ) -> dict[str, dict[str, datetime]]:
        """When each version was first seen; what was there at the first look at a package is left out, it is old.

        Args:
            index: URL of the index, or another name of it.
            packages: package to the versions that it has now.
            remember: write down what is new.
        """
        pk = "INDEX#" + hashlib.sha256(index.encode()).hexdigest()[:32]
        found: dict[str, dict[str, datetime]] = {}
        for package, versions in packages.items():
            sk = f"PACKAGE#{package}"
            there = self._table.get(pk, sk)
            old = sorted(versions) if there is None else list(there["old"])
            seen = {} if there is None else dict(there["seen"])
            fresh = {version: now.isoformat() for version in sorted(versions) if version not in (*old, *seen)}
            if remember and (there is None or fresh):
                self._table.put(pk, sk, {"index": index, "old": old, "seen": seen | fresh})
            found[package] = {version: datetime.fromisoformat(moment) for version, moment in (seen | fresh).items()}
        return found


class Notices:
    """What the topic is told once in a while, although it is found more often."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def due(self, name: str, now: datetime, every: timedelta) -> bool:
        """Whether it is time to tell of it again; if so, that it is told now is noted."""
        there = self._table.get("NOTICE", name)
        if there is not None and now < datetime.fromisoformat(str(there["at"])) + every:
            return False
        return self._table.put_if("NOTICE", name, {"at": now.isoformat()}, "at", there and there["at"])


def _named(held: HeldBack) -> tuple[str, str, str]:
    return held.ecosystem, held.package, held.version


def _fix(advisory: Advisory) -> str:
    return f"{advisory.ecosystem}#{advisory.package}#{advisory.fixed}"


def _lasts(claim: Item, now: datetime) -> bool:
    return now < datetime.fromisoformat(str(claim["until"]))
