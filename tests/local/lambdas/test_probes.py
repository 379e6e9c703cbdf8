"""Lamina's probes, created and asked through Lambda's API, with each kind of layer attached and run for real."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.gateways.probes import Probes
from lamina.model import Variant
from lamina.probing import ProbeAnswer
from lamina.questions import Program, Question
from tests.local.lambdas.lab import RUNTIME, Cloud, running
from tests.local.lambdas.programs import BOOTSTRAP, WATCHER, a_library, packed_programs

FOLDER = Path(__file__).parents[3] / "functions" / "verify" / "probe"
KINDS = Path(__file__).parents[3] / "scenarios" / "every-kind" / "layers"
SOURCES = {path.name: path.read_bytes() for path in FOLDER.glob("probe.*")}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local Lambda whose functions see their layers at /opt."""
    with running(tmp_path_factory.mktemp("lambda")) as found:
        if not found.mounts:
            pytest.skip("probes look at /opt, which needs private mounts")
        yield found


def ask(lab: Cloud, runtime: str, files: dict[str, str | bytes], program: Program, *executable: str) -> ProbeAnswer:
    """Attach a layer of these files to a probe function and ask it."""
    client = lab.client("lambda")
    published = client.publish_layer_version(
        LayerName="probed", Content={"ZipFile": packed_programs(files, *executable)}
    )
    variant = Variant(variant="probed", layer="probed", runtime=runtime, architecture="x86_64")
    answer = Probes(client, lab.role).ask("probe", variant, published["LayerVersionArn"], program)
    assert client.list_functions()["Functions"] == []
    return answer


def python(
    *packages: str, init: tuple[str, ...] = (), smoke: str | None = None, modules: tuple[str, ...] = ()
) -> Program:
    files = {"probe.py": SOURCES["probe.py"]} | ({"smoke.py": smoke.encode()} if smoke else {})
    question = Question(packages=packages, modules=modules, smoke="smoke.py" if smoke else None)
    return Program("probe.handler", files, question, init=init)


def node(
    *packages: str, init: tuple[str, ...] = (), smoke: str | None = None, modules: tuple[str, ...] = ()
) -> Program:
    files = {"probe.mjs": SOURCES["probe.mjs"]} | ({"smoke.mjs": smoke.encode()} if smoke else {})
    question = Question(packages=packages, modules=modules, smoke="smoke.mjs" if smoke else None)
    return Program("probe.handler", files, question, init=init)


def failures(answer: ProbeAnswer) -> dict[str, str]:
    assert answer.broken is None, answer
    return {failure.module: failure.type for failure in answer.failures}


def distribution(name: str, **modules: str) -> dict[str, str | bytes]:
    """A Python package with its metadata, as a layer has it."""
    files: dict[str, str | bytes] = {
        f"python/{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    }
    return files | {f"python/{name}/{module}.py": code for module, code in ({"__init__": ""} | modules).items()}


def test_a_python_layer_is_imported_in_full_and_its_smoke_test_runs(lab: Cloud) -> None:
    layer = distribution("slow", __init__="import time; time.sleep(0.3)") | distribution("bad", part="1 / 0")
    smoke = """
import slow
def handler(event, context):
    assert context.get_remaining_time_in_millis() > 0 and event == {}
"""

    plain = ask(lab, RUNTIME, layer, python("slow", "bad", smoke=smoke, modules=("boto3",)))
    timed = ask(lab, RUNTIME, layer, python("slow", "bad", init=("slow",)))

    assert failures(plain) == {"bad.part": "ZeroDivisionError"}
    assert (plain.modules, plain.imported) == (4, 3)
    assert plain.names == ("bad", "bad.part", "slow", "boto3")
    assert plain.smoke is not None and plain.smoke.failure is None
    assert plain.init_ms is not None and timed.init_ms is not None
    assert timed.init_ms > 300  # what functions that import it pay, too


@pytest.mark.parametrize(
    ("smoke", "kind"),
    [
        ("def handler(event, context): raise LookupError('no answer')", "LookupError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("import os\ndef handler(event, context): os._exit(4)", "InterpreterEnded"),
        ("x = 1", "AttributeError"),
    ],
)
def test_a_python_smoke_test_that_fails_is_told_beside_the_imports(lab: Cloud, smoke: str, kind: str) -> None:
    answer = ask(lab, RUNTIME, distribution("good"), python("good", smoke=smoke))
    assert (answer.imported, failures(answer)) == (1, {})
    assert answer.smoke is not None and (answer.smoke.module, answer.smoke.type) == ("smoke.py", kind)


def test_a_module_that_ends_the_interpreter_when_the_function_starts_hides_nothing(lab: Cloud) -> None:
    layer = distribution("deadly", __init__="import os; os._exit(5)") | distribution("good")
    answer = ask(lab, RUNTIME, layer, python("deadly", "good", init=("deadly", "good")))
    assert failures(answer) == {"deadly": "InterpreterEnded"}
    assert answer.imported == 1


def test_names_that_functions_import_from_modules_are_tried_too(lab: Cloud) -> None:
    layer = distribution("good", __init__="Thing = 1")
    answer = ask(lab, RUNTIME, layer, python("good", modules=("good.Thing", "good.Gone")))
    assert failures(answer) == {"good.Gone": "ModuleNotFoundError"}


NODE_LAYER: dict[str, str | bytes] = {
    "nodejs/node_modules/plain/index.js": "console.log('noise'); exports.x = require('nested').x",
    "nodejs/node_modules/plain/package.json": '{"name": "plain"}',
    "nodejs/node_modules/plain/node_modules/nested/package.json": '{"main": "n.js"}',
    "nodejs/node_modules/plain/node_modules/nested/n.js": "exports.x = 1",
    "nodejs/node_modules/esm/package.json": '{"type": "module", "exports": {".": {"import": "./index.js"}}}',
    "nodejs/node_modules/esm/index.js": "import fs from 'fs'; await Promise.resolve(); export const y = 2",
    "nodejs/node_modules/@types/thing/package.json": '{"main": "", "types": "index.d.ts"}',
    "nodejs/node_modules/@types/thing/index.d.ts": "",
    "nodejs/node_modules/wrong/index.js": "require('not-there')",
    "nodejs/node_modules/exits/index.js": "process.exit(3)",
    "nodejs/node_modules/last/index.js": "setInterval(() => 0, 1000); exports.z = 3",
}
PLACES = ("@types/thing", "esm", "exits", "last", "plain", "plain/node_modules/nested", "wrong")


@pytest.mark.parametrize("runtime", ["nodejs20.x", "nodejs22.x", "nodejs24.x"])
def test_every_package_of_a_node_layer_is_loaded_in_a_process_of_its_own(lab: Cloud, runtime: str) -> None:
    smoke = (
        "export const handler = async (event, context) => { if (!(context.getRemainingTimeInMillis() > 0)) throw 1; }"
    )
    answer = ask(lab, runtime, NODE_LAYER, node(*PLACES, init=("plain",), smoke=smoke, modules=("plain/package.json",)))
    assert failures(answer) == {"exits": "InterpreterEnded", "wrong": "MODULE_NOT_FOUND"}
    assert (answer.modules, answer.imported, answer.skipped, answer.untried) == (8, 5, 1, 0)
    assert answer.smoke is not None and answer.smoke.failure is None
    assert answer.init_ms is not None and answer.init_ms > 0


@pytest.mark.parametrize(
    ("smoke", "kind"),
    [
        ("export const handler = async () => { throw new RangeError('far') }", "RangeError"),
        ("import 'nowhere'", "ERR_MODULE_NOT_FOUND"),
        ("export const handler = () => process.exit(4)", "InterpreterEnded"),
    ],
)
def test_a_node_smoke_test_that_fails_is_told(lab: Cloud, smoke: str, kind: str) -> None:
    answer = ask(lab, "nodejs22.x", NODE_LAYER, node("plain", smoke=smoke))
    assert failures(answer) == {}
    assert answer.smoke is not None and answer.smoke.type == kind


def test_a_node_function_that_cannot_start_with_what_it_loads_is_asked_again_without(lab: Cloud) -> None:
    answer = ask(lab, "nodejs22.x", NODE_LAYER, node("exits", "plain", init=("exits",)))
    assert failures(answer) == {"exits": "InterpreterEnded"}


def native_layer(tmp_path: Path) -> dict[str, str | bytes]:
    """A program that loads, and a library that needs one which is not there."""
    if not (found := a_library("libssl.so*")):
        pytest.skip("needs a library that needs another one outside of the C library")
    body = found.read_bytes()
    needed = next(name for name in (b"libcrypto.so.3", b"libcrypto.so.1.1") if name in body)
    return {
        "bin/tool": Path(shutil.which("true") or "/bin/true").read_bytes(),
        "lib/inner/libneedy.so": body.replace(needed, needed.replace(b"libcrypto", b"libnowhere"[:9])),
        "lib/readme.txt": 'not "machine" code\n',
    }


@pytest.mark.parametrize("runtime", [RUNTIME, "nodejs22.x", "provided.al2023"])
def test_libraries_that_need_what_is_not_there_are_found_in_every_runtime(
    lab: Cloud, runtime: str, tmp_path: Path
) -> None:
    program = python() if runtime == RUNTIME else node()
    if runtime.startswith("provided"):
        program = Program("probe.handler", {"bootstrap": SOURCES["probe.sh"]}, Question(), frozenset({"bootstrap"}))

    answer = ask(lab, runtime, native_layer(tmp_path), program, "bin/tool")

    assert failures(answer) == {"lib/inner/libneedy.so": "LibraryMissing"}
    assert "libnowher.so" in answer.failures[0].message and "not found" in answer.failures[0].message
    if runtime.startswith("provided"):
        assert answer.names == ("bin/tool", "lib/inner/libneedy.so", "lib/readme.txt")


@pytest.mark.parametrize(("smoke", "kind"), [("exit 0", ""), ("echo 'it \"fails\"' >&2; exit 7", "Status7")])
def test_a_shell_smoke_test_runs_where_there_is_no_language(lab: Cloud, smoke: str, kind: str) -> None:
    files = {"bootstrap": SOURCES["probe.sh"], "smoke.sh": smoke.encode()}
    program = Program("probe.handler", files, Question(smoke="smoke.sh"), frozenset({"bootstrap"}))
    answer = ask(lab, "provided.al2023", {"bin/x": "x"}, program)
    assert answer.smoke is not None and answer.smoke.type == kind
    assert answer.smoke.message == ('it "fails"' if kind else "")


def test_a_layer_that_is_a_runtime_has_to_answer_and_may_refuse(lab: Cloud) -> None:
    bare = Program("probe.handler", {"probe.txt": b"x"}, Question(), answers=False)
    fine = ask(lab, "provided.al2023", {"bootstrap": BOOTSTRAP}, bare, "bootstrap")
    refusing = ask(lab, "provided.al2023", {"bootstrap": BOOTSTRAP.replace("*fail*", "*")}, bare, "bootstrap")
    dead = ask(lab, "provided.al2023", {"bootstrap": "#!/bin/sh\nexit 3\n"}, bare, "bootstrap")
    assert (fine.clean, failures(refusing)) == (True, {"bootstrap": "Own"})
    assert dead.broken is not None and dead.broken.startswith("Runtime.ExitError")


def of_scenario(layer: str) -> dict[str, str | bytes]:
    """The own files of one of the layers of every kind."""
    folder = KINDS / layer / "files"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_runtime_that_ends_without_a_handler_gets_the_smoke_test_as_one(lab: Cloud) -> None:
    def handled(text: bytes) -> Program:
        return Program("smoke.handler", {"smoke.sh": text}, Question(smoke="smoke.sh"), answers=False)

    shell = of_scenario("shell")
    bare = ask(lab, "provided.al2023", shell, Program("probe.handler", {"x": b"x"}, Question(), answers=False), *shell)
    fine = ask(lab, "provided.al2023", shell, handled((KINDS / "shell" / "smoke.sh").read_bytes()), *shell)
    failing = ask(lab, "provided.al2023", shell, handled(b"handler() { echo no >&2; return 1; }"), *shell)

    assert bare.broken is not None and "give it one: verify.smoke" in bare.broken
    assert fine.clean and fine.smoke is not None
    assert failing.broken is None and failing.smoke is not None
    assert (failing.smoke.module, failing.smoke.type, failing.smoke.message) == ("smoke.sh", "HandlerFailed", "no")


def test_native_code_is_found_where_lambda_looks_for_it(lab: Cloud) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the scenario's native code is for x86_64")
    smoke = (KINDS / "native" / "smoke.py").read_text()

    answer = ask(lab, RUNTIME, of_scenario("native"), python(smoke=smoke), "bin/adler32")
    alone = {path: body for path, body in of_scenario("native").items() if path.startswith("bin/")}
    missing = ask(lab, RUNTIME, alone, python(smoke=smoke), "bin/adler32")

    assert answer.clean, answer
    assert failures(missing) == {"bin/adler32": "LibraryMissing"}
    assert missing.smoke is not None and missing.smoke.type == "OSError"


def test_a_layer_with_an_extension_has_to_register_it(lab: Cloud) -> None:
    extension = "extensions/watcher"
    fine = ask(lab, RUNTIME, {extension: WATCHER} | distribution("good"), python("good"), extension)
    crashed = ask(lab, RUNTIME, {extension: "#!/bin/sh\nexit 1\n"} | distribution("good"), python("good"), extension)
    assert fine.clean and fine.imported == 1
    assert crashed.broken is not None and crashed.broken.startswith("Extension.Crash")
