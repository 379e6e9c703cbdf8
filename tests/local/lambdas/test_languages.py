"""Functions in Node.js and with runtimes of their own, and what layers bring besides modules: each run for real."""

from __future__ import annotations

import json
import platform
import shutil
import struct
import time
from pathlib import Path

import pytest

from local import nodes
from tests.local.lambdas.lab import Cloud
from tests.local.lambdas.programs import BOOTSTRAP, WATCHER, a_library, packed_programs

NODE = ("nodejs20.x", "nodejs22.x", "nodejs24.x")


def layer(machine: Cloud, name: str, files: dict[str, str | bytes], *executable: str) -> str:
    answer = machine.client("lambda").publish_layer_version(
        LayerName=name, Content={"ZipFile": packed_programs(files, *executable)}
    )
    arn: str = answer["LayerVersionArn"]
    return arn


def function(machine: Cloud, runtime: str, files: dict[str, str | bytes], *executable: str, **settings: object) -> str:
    """Create a function of any runtime from its files."""
    return machine.function("", Runtime=runtime, Code={"ZipFile": packed_programs(files, *executable)}, **settings)


def test_a_node_function_requires_from_its_layer(machine: Cloud) -> None:
    arn = layer(machine, "node-modules", {
        "nodejs/node_modules/left/package.json": '{"name": "left", "main": "lib/main.js"}',
        "nodejs/node_modules/left/lib/main.js": "module.exports = (text) => '<' + text",
        "nodejs/node22/node_modules/only22/index.js": "exports.is = true",
    })  # fmt: skip
    code = """
const left = require('left'), fs = require('fs');
exports.handler = async (event, context) => ({
  left: left(event.text), only: require('only22').is, arn: context.invokedFunctionArn,
  remaining: context.getRemainingTimeInMillis(), memory: context.memoryLimitInMB,
  environment: process.env, cwd: process.cwd(),
});
"""
    name = function(machine, "nodejs22.x", {"app.js": code}, Layers=[arn], Timeout=7, MemorySize=256)

    seen = machine.call(name, {"text": "x"})

    assert (seen["left"], seen["only"], seen["memory"]) == ("<x", True, "256")
    assert seen["arn"] == f"arn:aws:lambda:eu-central-1:123456789012:function:{name}"
    assert 6000 < seen["remaining"] <= 7000
    environment = seen["environment"]
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_nodejs22.x"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert not [key for key in environment if key.startswith("LAMINA")]
    if machine.mounts:
        assert seen["cwd"] == "/var/task"
        assert environment["NODE_PATH"].startswith("/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules:")


HANDLERS = {
    "commonjs": {"app.js": "exports.handler = async (event) => 'c' + event.n"},
    "cjs": {"app.cjs": "exports.handler = async (event) => 'c' + event.n"},
    "mjs": {"app.mjs": "await Promise.resolve(); export const handler = async (event) => 'c' + event.n"},
    "type": {
        "package.json": '{"type": "module"}',
        "app.js": "export async function handler(event) { return 'c' + event.n }",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", HANDLERS)
def test_a_node_handler_is_found_in_every_form_of_a_module(machine: Cloud, form: str) -> None:
    name = function(machine, "nodejs20.x", dict(HANDLERS[form]))
    assert [machine.call(name, {"n": n}) for n in (1, 2)] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("exports.handler = (event, context, callback) => setTimeout(() => callback(null, 'late'), 20)", "late"),
        ("exports.handler = (event, context, callback) => { callback(null, 'now'); }", "now"),
        ("exports.handler = (event, context, done) => { context.succeed({a: 1}); }", {"a": 1}),
        ("exports.handler = (event, context, callback) => { setTimeout(() => 0, 10) }", None),
        ("exports.handler = async () => {}", None),
    ],
)
def test_a_node_handler_may_take_a_callback(machine: Cloud, code: str, answer: object) -> None:
    name = function(machine, "nodejs22.x", {"app.js": code})
    assert [machine.call(name), machine.call(name)] == [answer, answer]


def test_a_callback_that_waits_for_the_event_loop_is_answered_when_it_is_empty(machine: Cloud) -> None:
    code = """
let finished = false;
exports.handler = (event, context, callback) => {
  setTimeout(() => { finished = true }, 30);
  callback(null, { get finished() { return finished } });
};
"""
    assert machine.call(function(machine, "nodejs22.x", {"app.js": code})) == {"finished": True}


def test_node_24_has_no_callbacks(machine: Cloud) -> None:
    name = function(machine, "nodejs24.x", {"app.js": "exports.handler = (event, context, callback) => callback()"})
    answer = machine.invoke(name)
    assert (answer.error, json.loads(answer.payload)["errorType"]) == ("Unhandled", "Runtime.CallbackHandlerDeprecated")


@pytest.mark.parametrize(
    ("files", "handler", "kind", "message"),
    [
        ({"app.js": "require('nowhere')"}, "app.handler", "Runtime.ImportModuleError", "Cannot find module 'nowhere'"),
        ({"app.mjs": "import 'nowhere'"}, "app.handler", "Runtime.ImportModuleError", "Cannot find package 'nowhere'"),
        ({"app.js": "exports.other = 1"}, "app.handler", "Runtime.HandlerNotFound", "undefined or not exported"),
        ({"app.js": "let let = 1"}, "app.handler", "Runtime.UserCodeSyntaxError", "SyntaxError"),
        ({"app.js": ""}, "../app.handler", "Runtime.MalformedHandlerName", "not a valid handler name"),
        ({"app.js": "throw new TypeError('at once')"}, "app.handler", "TypeError", "at once"),
        ({"app.js": "process.exit(3)"}, "app.handler", "Runtime.ExitError", "exit status 3"),
    ],
)
def test_a_node_function_that_cannot_start_says_what_lambda_says(
    machine: Cloud, files: dict[str, str | bytes], handler: str, kind: str, message: str
) -> None:
    answer = machine.invoke(function(machine, "nodejs22.x", files, Handler=handler))
    body = json.loads(answer.payload)
    assert (answer.error, body["errorType"]) == ("Unhandled", kind), body
    assert message in body["errorMessage"]
    assert "Init Duration" in answer.log_tail and "Status: error" in answer.log_tail


def test_errors_of_a_node_handler_are_logged_and_a_value_that_looks_like_one_is_not(machine: Cloud) -> None:
    code = """
exports.handler = async (event) => {
  console.log('two\\nlines', { a: 1 });
  if (event.raise) throw new RangeError('too far');
  if (event.loose) { Promise.reject(new Error('nobody waits')); await new Promise(() => setTimeout(() => 0, 500)); }
  return { errorType: 'T', errorMessage: 'm' };
};
"""
    name = function(machine, "nodejs22.x", {"app.js": code})
    raised, returned, loose = (machine.invoke(name, {key: True}) for key in ("raise", "nothing", "loose"))
    body = json.loads(raised.payload)
    assert (raised.error, body["errorType"], body["errorMessage"]) == ("Unhandled", "RangeError", "too far")
    assert body["trace"][0] == "RangeError: too far"
    assert f"{raised.request_id}\tINFO\ttwo\nlines {{ a: 1 }}" in raised.log_tail
    assert '\tERROR\tInvoke Error \t{"errorType":"RangeError","errorMessage":"too far"' in raised.log_tail
    assert "INIT_START Runtime Version: nodejs:22.local" in raised.log_tail
    assert (returned.error, returned.cold) == (None, False)
    assert json.loads(loose.payload)["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert machine.invoke(name).cold


def test_a_node_function_that_takes_too_long_is_ended(machine: Cloud) -> None:
    code = "exports.handler = () => new Promise(() => setInterval(() => 0, 9))"
    name = function(machine, "nodejs22.x", {"app.js": code})
    machine.client("lambda").update_function_configuration(FunctionName=name, Timeout=1)
    machine.settled(name)
    answer = machine.invoke(name)
    assert json.loads(answer.payload)["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in answer.log_tail


def test_an_es_module_finds_nothing_in_a_layer_and_lambda_refuses_to_require_one(machine: Cloud) -> None:
    arn = layer(machine, "es", {
        "nodejs/node_modules/es/package.json": '{"name": "es", "type": "module", "exports": "./index.js"}',
        "nodejs/node_modules/es/index.js": "export const x = 1",
    })  # fmt: skip
    imported = function(machine, "nodejs22.x", {"app.mjs": "import 'es'; export const handler = () => 1"}, Layers=[arn])
    required = {"app.js": "exports.handler = async () => require('es').x"}
    assert json.loads(machine.invoke(imported).payload)["errorType"] == "Runtime.ImportModuleError"
    assert "ERR_REQUIRE_ESM" in machine.invoke(function(machine, "nodejs22.x", dict(required), Layers=[arn])).log_tail
    assert machine.call(function(machine, "nodejs24.x", dict(required), Layers=[arn])) == 1


@pytest.mark.parametrize("runtime", NODE)
def test_every_node_runtime_runs_on_its_own_version_or_a_newer_one(machine: Cloud, runtime: str) -> None:
    found = machine.call(function(machine, runtime, {"app.js": "exports.handler = async () => process.version"}))
    assert int(found[1:].split(".")[0]) >= nodes.version_of(runtime)


@pytest.mark.parametrize("runtime", ["provided.al2", "provided.al2023"])
def test_a_bootstrap_from_a_layer_answers(machine: Cloud, runtime: str) -> None:
    arn = layer(machine, "custom", {"bootstrap": BOOTSTRAP}, "bootstrap")
    name = function(machine, runtime, {"data.txt": "x"}, Layers=[arn], Handler="some.thing")

    first, second = machine.invoke(name, {"n": 1}), machine.invoke(name, {"n": 2})

    body = json.loads(first.payload)
    assert body["event"] == {"n": 1}
    assert body["arn"] == f"arn:aws:lambda:eu-central-1:123456789012:function:{name}"
    assert (first.error, first.cold, second.cold) == (None, True, False)
    assert f"INIT_START Runtime Version: provided:{runtime.partition('.')[2]}.local" in first.log_tail
    assert "starting some.thing" in first.log_tail and "Init Duration" in first.log_tail
    assert 'got {"n": 2}' in second.log_tail


def test_a_functions_own_bootstrap_comes_first_and_its_errors_are_told_apart(machine: Cloud) -> None:
    arn = layer(machine, "second", {"bootstrap": "#!/bin/sh\nexit 9\n"}, "bootstrap")
    name = function(machine, "provided.al2023", {"bootstrap": BOOTSTRAP}, "bootstrap", Layers=[arn])
    failed, died, again = (machine.invoke(name, {key: 1}) for key in ("fail", "die", "fine"))
    assert (failed.error, json.loads(failed.payload)["errorType"]) == ("Unhandled", "Own")
    assert json.loads(died.payload)["errorType"] == "Runtime.ExitError"
    assert (again.error, again.cold) == (None, True)


@pytest.mark.parametrize(
    ("files", "executable", "message"),
    [
        ({"other": ""}, (), "Couldn't find valid bootstrap(s)"),
        ({"bootstrap": "#!/bin/sh\n"}, (), "permission denied"),
        ({"bootstrap": "nonsense"}, ("bootstrap",), "exec format error"),
    ],
)
def test_a_bootstrap_that_cannot_start_says_why(
    machine: Cloud, files: dict[str, str | bytes], executable: tuple[str, ...], message: str
) -> None:
    body = json.loads(machine.invoke(function(machine, "provided.al2023", files, *executable)).payload)
    assert body["errorType"] == "Runtime.InvalidEntrypoint" and message in body["errorMessage"], body


def log_of(machine: Cloud, name: str) -> str:
    logs = machine.client("logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    return "\n".join(event["message"] for event in found)


def until(machine: Cloud, name: str, text: str) -> str:
    limit = time.monotonic() + 20
    while text not in (found := log_of(machine, name)):
        assert time.monotonic() < limit, found
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("runtime", ["python", "nodejs22.x", "provided.al2023"])
def test_an_extension_registers_sees_every_invocation_and_the_end(machine: Cloud, runtime: str) -> None:
    if not machine.mounts:
        pytest.skip("extensions need private mounts")
    arn = layer(machine, "extension", {"extensions/watcher": WATCHER}, "extensions/watcher")
    if runtime == "python":
        name = machine.function("def handler(event, context): return 'here'", Layers=[arn])
    else:
        files = {"app.js": "exports.handler = async () => 'here'", "bootstrap": BOOTSTRAP}
        name = function(machine, runtime, dict(files), "bootstrap", Layers=[arn])

    answers = [machine.invoke(name, {"n": n}) for n in (1, 2)]

    assert [answer.error for answer in answers] == [None, None]
    assert f"watcher: registered for {name}" in answers[0].log_tail and "Init Duration" in answers[0].log_tail
    for answer in answers:
        seen = until(machine, name, '"eventType":"INVOKE"')
        assert answer.request_id in seen
    machine.client("lambda").delete_function(FunctionName=name)
    until(machine, name, '"eventType":"SHUTDOWN"')


@pytest.mark.parametrize(
    ("text", "executable", "kind"),
    [
        ("#!/bin/sh\necho crashing; exit 7\n", True, "Extension.Crash"),
        ("#!/bin/sh\n", False, "Extension.LaunchError"),
    ],
)
def test_an_extension_that_does_not_start_breaks_the_function(
    machine: Cloud, text: str, executable: bool, kind: str
) -> None:
    if not machine.mounts:
        pytest.skip("extensions need private mounts")
    arn = layer(machine, "broken", {"extensions/broken": text}, *(["extensions/broken"] if executable else []))
    answer = machine.invoke(machine.function("def handler(event, context): return 1", Layers=[arn]))
    body = json.loads(answer.payload)
    assert (answer.error, body["errorType"]) == ("Unhandled", kind)
    assert "Status: error" in answer.log_tail


def test_without_private_mounts_a_function_with_an_extension_says_what_is_missing(machine: Cloud) -> None:
    if machine.mounts:
        pytest.skip("here they are possible")
    arn = layer(machine, "extension", {"extensions/watcher": WATCHER}, "extensions/watcher")
    answer = machine.invoke(machine.function("def handler(event, context): return 1", Layers=[arn]))
    assert "its layers bring extensions (watcher)" in json.loads(answer.payload)["errorMessage"]


def test_a_python_function_uses_programs_and_libraries_of_a_layer(machine: Cloud) -> None:
    if not (found := a_library("libz.so.1")):
        pytest.skip("needs a shared library to put into a layer")
    content = found.read_bytes()
    files = {"lib/libgreeting.so": content, "bin/greet": "#!/bin/sh\necho hello $1\n"}
    arn = layer(machine, "native", files, "bin/greet")
    code = """
import ctypes, subprocess
def handler(event, context):
    ctypes.CDLL("libgreeting.so").zlibVersion.restype = ctypes.c_char_p
    version = ctypes.CDLL("libgreeting.so").zlibVersion
    version.restype = ctypes.c_char_p
    return [version().decode()[0], subprocess.check_output(["greet", "you"], text=True)]
"""
    assert machine.call(machine.function(code, Layers=[arn])) == ["1", "hello you\n"]


def elf(number: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, number) + bytes(44)


def test_machine_code_for_another_architecture_is_named_and_not_run(machine: Cloud) -> None:
    other, code = ("x86_64", 62) if platform.machine() in ("arm64", "aarch64") else ("arm64", 183)
    arn = layer(machine, "foreign", {"python/thing/core.so": elf(code), "python/thing/__init__.py": ""})
    source = "import thing\ndef handler(event, context): return 'ran'"
    answer = machine.invoke(machine.function(source, Layers=[arn], Architectures=[other]))
    message = json.loads(answer.payload)["errorMessage"]
    assert f"python/thing/core.so is machine code for {other}" in message and answer.error == "Unhandled"
    plain = layer(machine, "pure", {"python/thing/__init__.py": ""})
    assert machine.call(machine.function(source, Layers=[plain], Architectures=[other])) == "ran"


def test_a_machine_without_node_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.find.cache_clear()
    monkeypatch.setattr(nodes, "_candidates", lambda: iter([Path(shutil.which("sh") or "/bin/sh")]))
    with pytest.raises(nodes.NodeMissing, match=r"no Node\.js 22 or newer"):
        nodes.find("nodejs22.x")
    nodes.find.cache_clear()
