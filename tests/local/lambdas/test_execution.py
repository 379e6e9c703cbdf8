"""Functions run as in Lambda: what they see, what they answer, how they fail."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from local.pythons import InterpreterMissing, find
from tests.local.lambdas.lab import MARK, RUNTIME, Cloud, left_running

SEEN = """
import os, sys
def handler(event, context):
    return {
        "path": sys.path, "environment": dict(os.environ), "cwd": os.getcwd(), "python": list(sys.version_info[:2]),
        "opt": sorted(os.listdir("/opt")), "writable": [p for p in event["places"] if os.access(p, os.W_OK)],
        "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
    }
"""


def test_a_function_sees_what_lambda_shows(machine: Cloud) -> None:
    layer = machine.layer({"python/thing.py": "X = 1", "bin/tool": "#!/bin/sh\n"})
    name = machine.function(SEEN, Layers=[layer], Timeout=7, MemorySize=256)

    seen = machine.call(name, {"places": ["/opt", "/var/task", "/tmp"]})

    environment = seen["environment"]
    task, opt = ("/var/task", "/opt") if machine.mounts else (environment["LAMBDA_TASK_ROOT"], None)
    if machine.mounts:
        assert seen["opt"] == ["bin", "python"]
        assert seen["writable"] == ["/tmp"]
        assert environment["LAMBDA_TASK_ROOT"] == seen["cwd"] == "/var/task"
        assert environment["LAMBDA_RUNTIME_DIR"] == "/var/runtime"
    opt = opt or seen["path"][2].removesuffix("/python")
    assert seen["path"][:4] == [
        task,
        f"{opt}/python/lib/{RUNTIME}/site-packages",
        f"{opt}/python",
        environment["LAMBDA_RUNTIME_DIR"],
    ]
    assert f"{opt}/bin" in environment["PATH"].split(":") and f"{opt}/lib" in environment["LD_LIBRARY_PATH"].split(":")
    assert seen["python"] == list(sys.version_info[:2])
    assert seen["arn"] == f"arn:aws:lambda:eu-central-1:123456789012:function:{name}"
    assert 6000 < seen["left"] <= 7000
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{RUNTIME}",
        "AWS_ENDPOINT_URL": machine.endpoint,
        "AWS_XRAY_SDK_ENABLED": "false",
        "TZ": ":UTC",
        "_HANDLER": "app.handler",
        "TEST_MARK": MARK,
    }
    assert expected.items() <= environment.items()
    assert environment["AWS_LAMBDA_LOG_STREAM_NAME"].startswith("2024/11/27/[$LATEST]")


def test_a_function_gets_nothing_of_this_machine_but_trust(machine: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "1")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    name = machine.function(SEEN)

    environment = machine.call(name, {"places": []})["environment"]

    assert environment["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "A_SECRET_OF_THE_HOST" not in environment and "PYTHONSTARTUP" not in environment
    assert environment["HOME"] == environment["TMPDIR"] != str(Path.home())
    assert not [name for name in environment if name.startswith("LAMINA")]


@pytest.mark.parametrize("module", ["moto", "pydantic", "pytest", "yaml", "pip", "local", "aws_lambda_powertools"])
def test_packages_of_this_machine_are_not_importable(machine: Cloud, module: str) -> None:
    name = machine.function(f"import {module}\ndef handler(event, context): return {module}.__file__")
    answer = machine.invoke(name)
    assert answer.error == "Unhandled"
    assert json.loads(answer.payload)["errorType"] == "Runtime.ImportModuleError", answer.payload


def test_the_runtime_brings_boto3_and_a_layer_precedes_it(machine: Cloud) -> None:
    code = "import boto3\ndef handler(event, context): return [boto3.__version__, boto3.__file__]"
    plain = machine.function(code)
    layered = machine.function(code, Layers=[machine.layer({"python/boto3/__init__.py": "__version__ = 'layer'"})])
    version, place = machine.call(plain)
    assert version.startswith("1.") and "runtime" in place
    assert machine.call(layered)[0] == "layer"


def test_later_layers_win_and_links_and_modes_survive(machine: Cloud) -> None:
    import io
    import stat
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        tool = zipfile.ZipInfo("bin/tool")
        tool.external_attr, tool.create_system = (stat.S_IFREG | 0o755) << 16, 3
        archive.writestr(tool, "#!/bin/sh\necho ran\n")
        link = zipfile.ZipInfo("bin/alias")
        link.external_attr, link.create_system = (stat.S_IFLNK | 0o777) << 16, 3
        archive.writestr(link, "tool")
        archive.writestr("python/which.py", "LAYER = 'first'")
        archive.writestr("python/only_first.py", "")
    first = machine.client("lambda").publish_layer_version(
        LayerName="with-links", Content={"ZipFile": buffer.getvalue()}
    )["LayerVersionArn"]
    second = machine.layer({"python/which.py": "LAYER = 'second'"})
    code = """
import subprocess, which, only_first
def handler(event, context): return [which.LAYER, subprocess.check_output(["alias"], text=True)]
"""
    assert machine.call(machine.function(code, Layers=[first, second])) == ["second", "ran\n"]
    assert machine.call(machine.function(code, Layers=[second, first])) == ["first", "ran\n"]


def another_python() -> int:
    """The minor version of a Python on this machine that is not the one of this process."""
    for minor in (13, 12, 11, 14):
        with contextlib.suppress(InterpreterMissing):
            if minor != sys.version_info.minor and find(f"python3.{minor}"):
                return minor
    pytest.skip("needs a second Python (3.11 to 3.14), which this machine has not")


def test_other_python_versions_run_on_their_own_interpreter(machine: Cloud) -> None:
    minor = another_python()
    name = machine.function(SEEN, Runtime=f"python3.{minor}")
    assert machine.call(name, {"places": []})["python"] == [3, minor]


def test_a_runtime_that_is_not_here_is_named(machine: Cloud) -> None:
    answer = machine.invoke(machine.function("", Runtime="ruby3.3"))
    assert answer.error == "Unhandled"
    assert "ruby3.3" in json.loads(answer.payload)["errorMessage"]


def test_a_raised_error_is_unhandled_and_a_value_that_looks_like_one_is_not(machine: Cloud) -> None:
    code = """
def handler(event, context):
    if event.get("raise"): raise KeyError("gone")
    return {"errorMessage": "m", "errorType": "T", "stackTrace": []}
"""
    name = machine.function(code)
    raised, returned = machine.invoke(name, {"raise": True}), machine.invoke(name)
    assert (raised.status, raised.error) == (200, "Unhandled")
    body = json.loads(raised.payload)
    assert (body["errorType"], body["errorMessage"], body["requestId"]) == ("KeyError", "'gone'", raised.request_id)
    assert "[ERROR] KeyError: 'gone'\nTraceback" in raised.log_tail
    assert (returned.error, json.loads(returned.payload)["errorType"]) == (None, "T")


def test_an_import_error_is_reported_at_every_cold_start(machine: Cloud) -> None:
    name = machine.function("print('before')\nimport does_not_exist")
    for _ in range(2):
        answer = machine.invoke(name)
        body = json.loads(answer.payload)
        assert (answer.error, answer.cold, body["errorType"]) == ("Unhandled", True, "Runtime.ImportModuleError")
        assert body["errorMessage"] == "Unable to import module 'app': No module named 'does_not_exist'"
        assert body["requestId"] == answer.request_id and body["stackTrace"] == []
        assert "[ERROR] Runtime.ImportModuleError: Unable to import module 'app'" in answer.log_tail
        assert "before" in answer.log_tail and "Status: error" in answer.log_tail


def test_a_timeout_is_enforced_and_the_next_invocation_starts_anew(machine: Cloud) -> None:
    code = """
import os, time
def handler(event, context):
    print("began")
    time.sleep(event.get("sleep", 0))
    return os.getpid()
"""
    name = machine.function(code, Timeout=1)
    assert machine.invoke(name).cold
    began = time.monotonic()
    answer = machine.invoke(name, {"sleep": 30})
    assert 1.0 <= time.monotonic() - began < 3.0
    body = json.loads(answer.payload)
    assert answer.error == "Unhandled" and body["errorType"] == "Sandbox.Timedout"
    assert body["errorMessage"] == f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds"
    assert f"{answer.request_id} Task timed out after 1.00 seconds" in answer.log_tail and "began" in answer.log_tail
    assert answer.duration_ms == 1000.0
    assert machine.invoke(name).cold


def test_the_timeout_does_not_count_the_initialisation(machine: Cloud) -> None:
    name = machine.function("import time\ntime.sleep(1.3)\ndef handler(event, context): return 'done'", Timeout=1)
    answer = machine.invoke(name)
    assert (answer.error, answer.payload) == (None, b'"done"')
    assert answer.duration_ms < 1000
    init = float(answer.log_tail.split("Init Duration: ")[1].split(" ms")[0])
    assert 1300 < init < 5000


def test_a_process_that_exits_is_an_error_and_is_replaced(machine: Cloud) -> None:
    code = "import os\ndef handler(event, context):\n    os._exit(3) if event.get('exit') else None\n    return 'ok'"
    name = machine.function(code)
    answer = machine.invoke(name, {"exit": True})
    assert answer.error == "Unhandled"
    assert json.loads(answer.payload)["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in json.loads(answer.payload)["errorMessage"]
    assert machine.invoke(name).payload == b'"ok"'


def test_an_environment_that_was_killed_while_idle_is_replaced_unnoticed(machine: Cloud) -> None:
    name = machine.function("def handler(event, context): return 'ok'", Environment={"Variables": {"TEST_MARK": MARK}})
    assert machine.invoke(name).cold
    environment = next(iter(machine.engine._pools._idle[_serial(machine, name)]))
    machine.engine._sandbox.kill(environment._pid)
    assert machine.engine._sandbox.wait(environment._pid, 10)
    answer = machine.invoke(name)
    assert (answer.error, answer.cold, answer.payload) == (None, True, b'"ok"')


def test_large_answers_and_logs_pass(machine: Cloud) -> None:
    code = """
def handler(event, context):
    for _ in range(event.get("lines", 0)): print("x" * 1000)
    return "y" * event.get("size", 0)
"""
    name = machine.function(code, Timeout=20)
    assert len(machine.call(name, {"size": 5_000_000})) == 5_000_000
    assert json.loads(machine.invoke(name, {"size": 7_000_000}).payload)["errorType"] == "Function.ResponseSizeTooLarge"
    for _ in range(2):  # more than a pipe holds, and more than the log file may grow to
        answer = machine.invoke(name, {"lines": 3000})
        assert answer.error is None and len(answer.log_tail) == 4096
    assert machine.invoke(name, {"lines": 1}).log_tail.count("x" * 1000) == 1


def test_output_without_a_final_newline_stays_whole(machine: Cloud) -> None:
    code = "import sys\ndef handler(event, context):\n    print('a\\nb', end='')\n    sys.stderr.write('c')"
    lines = machine.invoke(machine.function(code)).log_tail.splitlines()
    assert [line[:5] for line in lines if line[:4] not in ("INIT",)] == ["START", "a", "bc", "END R", "REPOR"]


def test_credentials_are_the_roles_own(machine: Cloud) -> None:
    code = """
import boto3, os
def handler(event, context):
    return [os.environ["AWS_ACCESS_KEY_ID"], boto3.client("sts").get_caller_identity()["Arn"]]
"""
    name = machine.function(code, Timeout=20)
    key, arn = machine.call(name)
    assert key.startswith("ASIA") and machine.engine.role_of(key) == "worker"
    assert machine.engine.role_of("operator") is None
    assert arn == f"arn:aws:sts::123456789012:assumed-role/worker/{name}"


def test_concurrent_invocations_start_more_environments(machine: Cloud) -> None:
    code = """
import os, time
def handler(event, context):
    time.sleep(0.4)
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""
    name = machine.function(code)
    streams: list[Any] = []
    threads = [threading.Thread(target=lambda: streams.append(machine.call(name))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(streams) == 6
    assert 2 <= len(set(streams)) <= 4  # the machine's limit; the others waited


def test_the_network_answer_carries_version_log_and_error(machine: Cloud) -> None:
    name = machine.function("def handler(event, context):\n    print('hello')\n    return event['x']")
    client = machine.client("lambda")
    good = client.invoke(FunctionName=name, Payload=b'{"x": 1}', LogType="Tail")
    assert (good["StatusCode"], good["ExecutedVersion"], good["Payload"].read()) == (200, "$LATEST", b"1")
    assert "hello\nEND RequestId" in base64.b64decode(good["LogResult"]).decode()
    bad = client.invoke(FunctionName=f"{machine.role.split(':')[4]}:function:{name}", Payload=b"{}")
    assert bad["FunctionError"] == "Unhandled" and "LogResult" not in bad
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName=name, Payload=b"no json")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody")


def test_an_asynchronous_invocation_is_run(machine: Cloud) -> None:
    name = machine.function("def handler(event, context): return 1")
    assert machine.client("lambda").invoke(FunctionName=name, InvocationType="Event")["StatusCode"] == 202
    for _ in range(2000):
        if machine.engine.snapshot().get((name, "$LATEST", ())) == (1, 0):
            return
        time.sleep(0.005)
    raise AssertionError(machine.engine.snapshot())


def test_mounts_are_seen_by_the_function_only(machine: Cloud) -> None:
    places = [Path("/var/runtime"), Path("/var/task")]
    before = [place.exists() for place in places]
    layer = machine.layer({"python/seen_only_inside.py": ""})
    code = "import seen_only_inside\ndef handler(event, context): return 'ran'"

    assert machine.call(machine.function(code, Layers=[layer])) == "ran"

    assert left_running()  # it is still there, and yet:
    assert [place.exists() for place in places] == before
    assert not Path("/opt/python/seen_only_inside.py").exists()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(machine.engine.files.root) not in mounts and "/.cache/runtime-" not in mounts


def test_layers_and_code_change_only_once_an_update_has_settled(machine: Cloud) -> None:
    first, second = (machine.layer({"python/which.py": f"N = {n}"}, "which") for n in (1, 2))
    name = machine.function("import which\ndef handler(event, context): return which.N", Layers=[first])
    assert machine.call(name) == 1
    changes: list[Any] = []
    machine.engine.on_change.append(changes.append)
    machine.client("lambda").update_function_configuration(FunctionName=name, Layers=[second])
    machine.settled(name)
    machine.engine.on_change.remove(changes.append)
    assert machine.call(name) == 2
    assert [(change.function, change.version, change.alias, change.layers) for change in changes] == [
        (name, "$LATEST", None, (second,))
    ]
    assert machine.engine.counts[(name, "$LATEST", (first,))] == (1, 0)
    assert machine.engine.counts[(name, "$LATEST", (second,))] == (1, 0)


def _serial(machine: Cloud, name: str) -> int:
    from local.lambdas.backend import find_backend

    return find_backend("123456789012", "eu-central-1").target(name, None).release.serial
