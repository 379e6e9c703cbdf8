"""Code and layers of a fleet, read from a Lambda that runs here: how large they are, and what they import."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lamina.budget import Size
from lamina.fleet import Scope
from lamina.gateways import usage
from lamina.gateways.functions import Functions
from lamina.gateways.packages import Packages, Unreadable
from lamina.gateways.sizes import Sizes
from lamina.gateways.web import Web
from lamina.rollout import RolloutPolicy
from tests.local.lambdas.lab import Cloud, packed, running
from tests.unit.fakes import layer

ZEROS = b"\0" * 5_000_000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("lambda")) as found:
        yield found


def packages() -> Packages:
    return Packages(Web({}, at_once=4))


class Counting:
    """A client that counts what is asked of it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found) or name == "get_paginator":
            return found

        def call(**arguments: Any) -> Any:
            self.asked.append(name)
            return found(**arguments)

        return call


def scales(cloud: Cloud) -> tuple[Sizes, Counting]:
    client: Any = Counting(cloud.client("lambda"))
    return Sizes(client, Functions(client), packages()), client


def digest(cloud: Cloud, name: str) -> str:
    found: str = cloud.client("lambda").get_function_configuration(FunctionName=name)["CodeSha256"]
    return found


def test_layers_and_code_are_measured_and_asked_for_once(cloud: Cloud) -> None:
    arn = cloud.layer({"python/a.py": "A = 1", "data": ZEROS})
    many = cloud.layer({f"{'long' * 20}{number}": b"x" for number in range(2000)})
    name = cloud.function("import a")
    sizes, client = scales(cloud)
    code = {digest(cloud, name): name}

    layers, measured = sizes.measure([arn, many, arn], code)

    zipped = cloud.client("lambda").get_layer_version_by_arn(Arn=arn)["Content"]["CodeSize"]
    assert layers[arn] == Size(zipped, 5_000_005)
    assert layers[many].unzipped == 2000
    assert [size.unzipped for size in measured.values()] == [len("import a")]
    assert sorted(client.asked) == ["get_function", "get_layer_version_by_arn", "get_layer_version_by_arn"]
    assert sizes.measure([arn, many], code) == (layers, measured)
    assert len(client.asked) == 3


def test_what_cannot_be_read_is_unknown_and_asked_for_again(cloud: Cloud) -> None:
    gone, name = layer("gone", 1), cloud.function("import a")
    sizes, client = scales(cloud)
    for _ in range(2):
        layers, code = sizes.measure([gone], {"other code than it has": name, "no code": "nobody"})
        assert layers == {gone: Size()}
        assert code == {"other code than it has": Size(), "no code": Size()}
    assert len(client.asked) == 6


def test_after_its_time_nothing_more_is_asked(cloud: Cloud) -> None:
    client: Any = Counting(cloud.client("lambda"))
    times = iter([0.0])
    sizes = Sizes(client, Functions(client), packages(), clock=lambda: next(times, 10_000.0))
    arn = cloud.layer({"a": ""})
    assert sizes.measure([arn], {}) == ({arn: Size()}, {})
    assert client.asked == []


# -- what the fleet imports

POLICY = RolloutPolicy(exclude=("app-excluded",), replaces=("older",))


@pytest.fixture(scope="module")
def fleet(cloud: Cloud) -> str:
    """Functions on the layer `used`, on one that it replaces, and on neither; the ARN of a newer version."""
    old, older, other = (cloud.layer({"a": ""}, name) for name in ("used", "older", "different"))
    cloud.function("import one.part", "app-one", Layers=[other, old])
    cloud.function("import one.part", "app-one-more", Layers=[old])
    cloud.function("from two import thing", "app-two", Layers=[older])
    cloud.function("import three", "app-other", Layers=[other])
    cloud.function("import four", "app-excluded", Layers=[old])
    cloud.function("import five", "job-outside", Layers=[old])
    cloud.function("import six", "lamina-own", Layers=[old])
    return old.rpartition(":")[0] + ":2"


@dataclass
class Kept:
    """The bucket, in memory."""

    objects: dict[str, Any] = field(default_factory=dict)

    def read_json(self, key: str) -> Any:
        return self.objects.get(key)

    def write_json(self, key: str, value: Any) -> str:
        self.objects[key] = value
        return key


def reader(cloud: Cloud, **more: Any) -> tuple[usage.Usage, Counting]:
    client: Any = Counting(cloud.client("lambda"))
    store: Any = more.pop("store", None) or Kept()
    return usage.Usage(Functions(client), packages(), store, Scope(names="app-*", own="lamina-"), **more), client


def test_what_the_functions_in_reach_import_is_read_once_for_each_code(cloud: Cloud, fleet: str) -> None:
    usage_, client = reader(cloud)
    found = usage_.imported(fleet, POLICY)
    assert found.modules == {"one", "one.part", "two", "two.thing"}
    assert (found.functions, found.unread, found.unknown) == (3, {}, "")
    assert client.asked.count("get_function") == 2


def test_what_was_read_once_is_not_asked_for_again_and_what_was_not_is(
    cloud: Cloud, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Kept()
    monkeypatch.setattr(usage, "MOST_PACKAGES", 1)
    first = reader(cloud, store=store)[0].imported(fleet, POLICY)
    assert len(store.objects) == 1 and first.unread
    monkeypatch.undo()
    again, client = reader(cloud, store=store)
    second = again.imported(fleet, POLICY)
    assert client.asked.count("get_function") == 1
    assert second.unread == {} and second.by_function.items() > first.by_function.items()
    store.objects = {key: {"not": "a list"} for key in store.objects}
    third, client = reader(cloud, store=store)
    assert third.imported(fleet, POLICY) == second
    assert client.asked.count("get_function") == 2


def test_the_functions_named_first_are_read_first_as_far_as_the_bytes_reach(
    cloud: Cloud, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_, client = reader(cloud)
    views = {view.name: view for view in Functions(client).all()}
    wanted = [views[name] for name in ("app-two", "app-one", "app-one-more")]
    monkeypatch.setattr(usage, "LARGEST_SUM", views["app-two"].code_size)
    found = usage_.read(wanted)
    assert found.by_function == {"app-two": {"two", "two.thing"}}
    assert set(found.unread) == {"app-one", "app-one-more"}
    assert "packages of code have more than" in found.unread["app-one"]


def test_code_that_was_replaced_since_it_was_listed_is_unread(cloud: Cloud, fleet: str) -> None:
    usage_, client = reader(cloud)
    view = next(view for view in Functions(client).all() if view.name == "app-two")
    found = usage_.read([replace(view, code="other")])
    assert found.unread == {"app-two": "its code was replaced meanwhile"}


def test_what_is_too_large_is_not_read_and_named(cloud: Cloud, fleet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = cloud.client("lambda").get_function_configuration(FunctionName="app-one")["CodeSize"]
    monkeypatch.setattr(usage, "LARGEST_PACKAGE", size - 1)
    found = reader(cloud)[0].imported(fleet, POLICY)
    assert "one" not in found.modules
    assert {"app-one", "app-one-more"} <= found.unread.keys()
    assert f"its code package has {size} bytes" in found.unread["app-one"]
    assert found.unknown.startswith("what app-one and ")


def test_no_more_packages_are_read_than_may_be(cloud: Cloud, fleet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_PACKAGES", 1)
    found = reader(cloud)[0].imported(fleet, POLICY)
    assert found.functions + len(found.unread) == 3 and found.unread
    assert set(found.unread.values()) == {"the fleet has more than 1 packages of code"}


def test_nothing_is_begun_when_the_time_is_over(cloud: Cloud, fleet: str) -> None:
    times = iter([0.0])
    found = reader(cloud, clock=lambda: next(times, 10_000.0))[0].imported(fleet, POLICY)
    assert found.modules == frozenset() and len(found.unread) == 3


def test_a_function_that_lambda_refuses_to_show_is_named(cloud: Cloud, fleet: str) -> None:
    usage_, client = reader(cloud)
    real = client._client

    class Refusing:
        exceptions = real.exceptions
        get_paginator = real.get_paginator

        def get_function(self, **arguments: Any) -> Any:
            if arguments["FunctionName"] == "app-two":
                raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetFunction")
            return real.get_function(**arguments)

    client._client = Refusing()
    found = usage_.imported(fleet, POLICY)
    assert found.modules == {"one", "one.part"}
    assert found.unread == {"app-two": "Lambda did not say where its code is (AccessDeniedException)"}
    assert found.unknown == f"what app-two imports is unknown ({found.unread['app-two']})"


# -- servers that do not answer as they should


class Stumbling(BaseHTTPRequestHandler):
    """Answers by its path."""

    def do_GET(self) -> None:
        body = packed({"a": b"1" * 1000})
        status, headers = 200, {}
        if self.path.startswith("/refused"):
            status = 403
        elif self.path.startswith("/moved"):
            status, headers = 302, {"Location": "/whole"}
        elif self.path.startswith("/junk"):
            status, body = 206, b"PK\5\6 and so on"
            headers = {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
        elif self.path.startswith("/other"):
            status, headers = 206, {"Content-Range": "bytes 0-3/4"}
        elif self.path.startswith("/short"):
            self.wfile.write(b"HTTP/1.1 206 Partial\r\nContent-Length: 900\r\nContent-Range: bytes 0-9/10\r\n\r\nabc")
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stumbling)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["refused", "moved", "junk", "other", "short", "whole"])
def test_an_answer_that_is_not_what_was_asked_for_is_no_size_and_no_address_is_told(server: str, path: str) -> None:
    with pytest.raises(Unreadable) as caught:
        packages().unzipped(f"{server}/{path}?X-Amz-Signature=secret")
    assert "secret" not in repr(caught.value) and "127.0.0.1" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_is_not_there_is_no_size_and_no_address_is_told() -> None:
    with pytest.raises(Unreadable, match=r"could not be downloaded \(\w+\)$"):
        packages().whole("http://127.0.0.1:9/a?X-Amz-Signature=secret", 100)


def test_a_zip_is_read_whole_up_to_its_limit(server: str) -> None:
    body = packages().whole(f"{server}/whole", 100_000)
    assert zipfile.ZipFile(io.BytesIO(body)).read("a") == b"1" * 1000
    with pytest.raises(Unreadable, match="more than 10 bytes"):
        packages().whole(f"{server}/whole", 10)
