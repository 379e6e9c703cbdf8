"""From log lines to suspects. The samples are what the Lambda runtime really writes, non-breaking spaces included."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.culprit import CERTAIN_ENOUGH, MAX_MESSAGES, Frame, Suspect, parse_errors, suspects

HTTPX = (
    "[ERROR] TypeError: Client.__init__() got an unexpected keyword argument 'proxies'\r"
    "Traceback (most recent call last):\r"
    '\xa0\xa0File "/var/task/app.py", line 6, in handler\r'
    '\xa0\xa0\xa0\xa0client = openai.OpenAI(api_key="not-a-key", base_url="http://127.0.0.1:9")\r'
    '\xa0\xa0File "/opt/python/openai/_client.py", line 123, in __init__\r'
    "\xa0\xa0\xa0\xa0super().__init__(\r"
    '\xa0\xa0File "/opt/python/openai/_base_client.py", line 857, in __init__\r'
    "\xa0\xa0\xa0\xa0self._client = http_client or SyncHttpxClientWrapper(\r"
    '\xa0\xa0File "/opt/python/openai/_base_client.py", line 755, in __init__\r'
    "\xa0\xa0\xa0\xa0super().__init__(**kwargs)\n"
)
NUMPY = (
    "[ERROR] AttributeError: module 'numpy' has no attribute 'float'\r"
    "Traceback (most recent call last):\r"
    '\xa0\xa0File "/var/task/app.py", line 5, in handler\r'
    "\xa0\xa0\xa0\xa0weights = np.array([1, 2, 3], dtype=np.float)\r"
    '\xa0\xa0File "/opt/python/numpy/__init__.py", line 284, in __getattr__\r'
    '\xa0\xa0\xa0\xa0raise AttributeError("module {!r} has no attribute "\n'
)
WERKZEUG = (
    "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': cannot import name 'url_quote' from "
    "'werkzeug.urls' (/opt/python/werkzeug/urls.py)\rTraceback (most recent call last):\n"
)
USUAL = (
    "[ERROR] TimeoutError: an upstream that is not ours\r"
    "Traceback (most recent call last):\r"
    '\xa0\xa0File "/var/task/app.py", line 6, in handler\r'
    '\xa0\xa0\xa0\xa0raise TimeoutError("an upstream that is not ours")\n'
)
SYNTAX = (
    "[ERROR] Runtime.UserCodeSyntaxError: Syntax error in module 'app': invalid syntax (app.py, line 1)\r"
    'Traceback (most recent call last):\r\xa0\xa0File "/var/task/app.py" Line 1\r\xa0\xa0\xa0\xa0def (:\n'
)
NODE = "2024-07-01T12:00:00.000Z\t5b1a\tERROR\tInvoke Error \t" + json.dumps(
    {
        "errorType": "TypeError",
        "errorMessage": "client.fetchAll is not a function",
        "stack": [
            "TypeError: client.fetchAll is not a function",
            "    at Pool.query (/opt/nodejs/node_modules/@acme/pool/index.js:10:5)",
            "    at Runtime.handler (file:///var/task/index.mjs:3:9)",
        ],
    }
)

OPENAI = {"openai": {"httpx", "anyio", "pydantic", "jiter"}, "httpx": {"anyio", "certifi", "httpcore", "idna"}}
MODULES = {name: (name,) for name in ("openai", "httpx", "anyio", "httpcore", "numpy", "werkzeug", "flask", "requests")}


def accused(
    log: str, *changes: tuple[str, str | None, str | None], requires: Mapping[str, set[str]] | None = None,
    modules: Mapping[str, tuple[str, ...]] | None = None, imports: tuple[str, ...] = (),
) -> dict[str, float]:  # fmt: skip
    found = suspects(parse_errors([log], imports), changes, MODULES if modules is None else modules, requires or {})
    assert all(CERTAIN_ENOUGH <= suspect.confidence <= 1 or len(changes) > 1 for suspect in found)
    return {suspect.package: suspect.confidence for suspect in found}


# --- reading


def test_a_traceback_is_read_with_its_frames_and_their_code() -> None:
    (record,) = parse_errors([HTTPX])
    assert record.type == "TypeError"
    assert record.message == "Client.__init__() got an unexpected keyword argument 'proxies'"
    assert record.frames[0] == Frame(
        "/var/task/app.py", 6, "handler", 'client = openai.OpenAI(api_key="not-a-key", base_url="http://127.0.0.1:9")'
    )
    assert record.frames[-1] == Frame(
        "/opt/python/openai/_base_client.py", 755, "__init__", "super().__init__(**kwargs)"
    )
    assert "\xa0" not in record.sample and "\r" not in record.sample
    assert "\n  File " in record.sample


@pytest.mark.parametrize(
    ("log", "error", "message", "frames"),
    [
        (WERKZEUG, "Runtime.ImportModuleError", "Unable to import module 'app': cannot import name 'url_quote'", 0),
        ("[ERROR] ValueError\rTraceback (most recent call last):\r", "ValueError", "", 0),
        ("[ERROR] ValueError: two\nlines\rTraceback (most recent call last):\r", "ValueError", "two\nlines", 0),
        (SYNTAX, "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'", 1),
        (
            "2024-07-01T12:00:00.000Z 5b1a Task timed out after 3.00 seconds\n\n",
            "Timeout",
            "Task timed out after 3.00",
            0,
        ),
        (
            "RequestId: 5b1a Error: Runtime exited with error: signal: killed\nRuntime.ExitError",
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
            0,
        ),
        (NODE, "TypeError", "client.fetchAll is not a function", 2),
    ],
    ids=["import", "no message", "two lines", "syntax", "timeout", "crash", "node"],
)
def test_every_kind_of_failure_is_read(log: str, error: str, message: str, frames: int) -> None:
    (record,) = parse_errors([log])
    assert record.type == error
    assert record.message.startswith(message)
    assert len(record.frames) == frames


def test_the_json_log_format_is_read() -> None:
    event = {
        "timestamp": "2024-07-01T12:00:00Z",
        "level": "ERROR",
        "errorMessage": "module 'numpy' has no attribute 'float'",
        "errorType": "AttributeError",
        "requestId": "5b1a",
        "stackTrace": ['  File "/var/task/app.py", line 5, in handler\n    x = np.float\n'],
    }
    report = {"type": "platform.report", "record": {"requestId": "5b1a", "status": "timeout"}}
    numpy, timeout = parse_errors([json.dumps(event) + "\n" + json.dumps(report)])
    assert numpy.frames == (Frame("/var/task/app.py", 5, "handler", "x = np.float"),)
    assert timeout.type == "Timeout"


def test_a_log_tail_holds_several_failures_and_much_else() -> None:
    logged = "[ERROR]\t2024-07-01T12:00:00Z\t1\tsomething the function logged itself\n"
    tail = f"START RequestId: 1 Version: $LATEST\n{NUMPY}END RequestId: 1\nhello\n{logged}{USUAL}REPORT RequestId: 1\n"
    assert [record.type for record in parse_errors([tail, "nothing to see"])] == ["AttributeError", "TimeoutError"]


# --- suspecting


def test_httpx_is_suspected_through_openai_which_depends_on_it() -> None:
    changes = ("httpx", "0.27.2", "0.28.0")
    assert accused(HTTPX, changes, requires=OPENAI)["httpx"] > 0.8
    (suspect,) = suspects(parse_errors([HTTPX], ["openai"]), [changes], MODULES, OPENAI)
    assert "openai depends on it, and the traceback names it" in suspect.why
    assert suspect.samples == (parse_errors([HTTPX])[0].sample,)


def test_of_three_changed_packages_only_the_guilty_one_is_suspected() -> None:
    others = (("anyio", "4.6.2", "4.7.0"), ("pydantic", "2.10.1", "2.10.2"))
    assert list(accused(HTTPX, ("httpx", "0.27.2", "0.28.0"), *others, requires=OPENAI)) == ["httpx"]
    trio = (("Werkzeug", "2.3.7", "3.0.0"), ("MarkupSafe", "2.1.1", "2.1.3"), ("click", "8.1.6", "8.1.7"))
    assert list(accused(WERKZEUG, *trio, requires={"flask": {"werkzeug", "click"}})) == ["Werkzeug"]


def test_numpy_is_suspected_by_name_with_or_without_a_frame_of_its_own() -> None:
    changes = ("numpy", "1.23.5", "1.24.0")
    assert accused(NUMPY, changes)["numpy"] > 0.9
    bare = NUMPY.split('\r\xa0\xa0File "/opt')[0]
    assert "/opt" not in bare
    assert accused(bare, changes, ("pandas", "1.5.1", "1.5.2"))["numpy"] > 0.8


def test_an_import_error_names_the_package_it_could_not_import_from() -> None:
    assert accused(WERKZEUG, ("werkzeug", "2.3.7", "3.0.0"), requires={"flask": {"werkzeug"}})["werkzeug"] > 0.9
    gone = "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'six'\r"
    assert accused(gone, ("six", "1.16.0", None), ("idna", "3.6", "3.7"))["six"] > 0.9


def test_the_usual_errors_suspect_nobody() -> None:
    assert accused(USUAL, ("requests", "2.31.0", "2.32.3"), imports=("requests",)) == {}
    assert accused("x Task timed out after 3.00 seconds", ("requests", "2.31.0", "2.32.3"), imports=("requests",)) == {}
    elsewhere = HTTPX.replace("openai", "other")
    assert accused(elsewhere, ("requests", "2.31.0", "2.32.3"), requires=OPENAI) == {}


def test_an_error_that_the_function_raises_itself_suspects_nobody_whatever_it_says() -> None:
    log = USUAL.replace("an upstream that is not ours", "'requests' said no")
    assert accused(log, ("requests", "2.31.0", "2.32.3"), imports=("requests",)) == {}


def test_a_callback_of_the_function_is_not_the_frameworks_fault() -> None:
    log = (
        "[ERROR] KeyError: 'id'\rTraceback (most recent call last):\r"
        '\xa0\xa0File "/opt/python/flask/app.py", line 10, in full_dispatch\r\xa0\xa0\xa0\xa0return view()\r'
        '\xa0\xa0File "/var/task/app.py", line 3, in index\r\xa0\xa0\xa0\xa0return {}["id"]\n'
    )
    assert accused(log, ("flask", "2.3.2", "2.3.3"), ("werkzeug", "2.3.6", "2.3.7")) == {}


def test_only_changed_packages_are_suspected() -> None:
    assert accused(NUMPY, ("requests", "2.31.0", "2.32.0")) == {}
    assert accused(NUMPY) == {}


def test_an_innermost_frame_of_a_changed_package_weighs_more_than_its_caller() -> None:
    log = (
        "[ERROR] ValueError: bad\rTraceback (most recent call last):\r"
        '\xa0\xa0File "/opt/python/requests/sessions.py", line 1, in send\r\xa0\xa0\xa0\xa0a()\r'
        '\xa0\xa0File "/opt/python/urllib3/poolmanager.py", line 2, in open\r\xa0\xa0\xa0\xa0b()\r'
        '\xa0\xa0File "/var/lang/lib/python3.11/socket.py", line 3, in c\r\xa0\xa0\xa0\xa0d()\n'
    )
    both = accused(log, ("requests", "2.31.0", "2.32.0"), ("urllib3", "1.26.18", "2.2.2"))
    assert list(both) == ["urllib3"]
    assert accused(log, ("requests", "2.31.0", "2.32.0")) != {}


def test_an_interface_error_in_own_code_points_at_what_it_imports() -> None:
    log = (
        "[ERROR] AttributeError: 'Session' object has no attribute 'grab'\rTraceback (most recent call last):\r"
        '\xa0\xa0File "/var/task/app.py", line 3, in handler\r\xa0\xa0\xa0\xa0session.grab()\n'
    )
    changes = (("requests", "2.31.0", "3.0.0"), ("idna", "3.6", "3.7"))
    assert list(accused(log, *changes, imports=("requests", "json"))) == ["requests"]
    assert accused(log, *changes, imports=("json",)) == {}


@pytest.mark.parametrize(
    ("error", "code", "imports", "expected"),
    [
        ("'Session' object has no attribute 'grab'", "s.grab()", ("requests.Session", "urllib3.util"), "requests"),
        ("Retry() got an unexpected keyword 'methods'", "x(methods=1)", ("requests", "urllib3.util.Retry"), "urllib3"),
        ("'NoneType' object is not callable", "return requests.grab(url)", ("requests", "urllib3"), "requests"),
        ("'NoneType' object is not callable", "return it()", ("requests", "urllib3"), None),
        ("'NoneType' object is not callable", "return it()", ("requests", "urllib3", "idna", "certifi"), ""),
    ],
    ids=["class", "call", "line", "either", "any of many"],
)
def test_names_in_the_message_and_in_the_line_that_failed_tell_which_of_the_imports_it_was(
    error: str, code: str, imports: tuple[str, ...], expected: str | None
) -> None:
    log = (
        f"[ERROR] TypeError: {error}\rTraceback (most recent call last):\r"
        f'\xa0\xa0File "/var/task/app.py", line 3, in handler\r\xa0\xa0\xa0\xa0{code}\n'
    )
    changes = [(name, "1.0.0", "2.0.0") for name in ("requests", "urllib3", "idna", "certifi")]
    found = accused(log, *changes, imports=imports, modules={})
    assert (list(found) or [""])[0] == (expected or ("requests" if expected is None else ""))
    assert len(found) == {None: 2, "": 0}.get(expected, 1)


def test_what_one_function_imports_says_nothing_of_another_one_s_errors() -> None:
    log = (
        "[ERROR] AttributeError: 'Session' object has no attribute 'grab'\rTraceback (most recent call last):\r"
        '\xa0\xa0File "/var/task/app.py", line 3, in handler\r\xa0\xa0\xa0\xa0session.grab()\n'
    )
    records = [*parse_errors([log], ["json"]), *parse_errors([], ["requests"])]
    assert suspects(records, [("requests", "2.31.0", "3.0.0")], MODULES, {}) == ()


def test_whoever_dropped_a_package_is_blamed_for_its_absence() -> None:
    gone = "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'six'\r"
    changes = (("python-dateutil", "2.8.2", "2.9.0"), ("idna", "3.6", "3.7"), ("six", "1.16.0", None))
    (found,) = suspects(
        parse_errors([gone]), changes, {"six": ("six",)}, {"python-dateutil": {"six"}, "requests": {"six"}}
    )
    assert found.package == "python-dateutil"
    assert found.why == "the error names six; python-dateutil needed it and does no longer"


def test_the_same_error_has_the_same_signature_whatever_its_numbers() -> None:
    first, second, other = parse_errors(
        [
            "[ERROR] KeyError: order 4711 of 6f9619ff-8b86-d011-b42d-00cf4fc964ff at 0x7f00\r",
            "[ERROR] KeyError: order 12 of 00000000-8b86-d011-b42d-00cf4fc964ff at 0x8a11\r",
            "[ERROR] KeyError: another\r",
        ]
    )
    assert first.signature == second.signature != other.signature
    assert (
        parse_errors([NUMPY])[0].signature != parse_errors([NUMPY.replace("numpy/__init__", "numpy/core")])[0].signature
    )


def test_modules_and_packages_may_have_different_names() -> None:
    log = NUMPY.replace("numpy", "yaml")
    assert list(accused(log, ("PyYAML", "5.4", "6.0"), modules={"pyyaml": ("yaml", "_yaml")})) == ["PyYAML"]
    shared = NUMPY.replace("numpy/__init__", "google/cloud/storage/blob").replace("'numpy'", "'blob'")
    owners = {"google-cloud-storage": ("google.cloud.storage",), "google-auth": ("google.auth",)}
    changes = (("google-auth", "2.0", "2.1"), ("google-cloud-storage", "2.0", "3.0"))
    assert list(accused(shared, *changes, modules=owners)) == ["google-cloud-storage"]


def test_node_packages_are_found_by_their_folder() -> None:
    found = accused(NODE, ("@acme/pool", "1.0.0", "2.0.0"), ("left-pad", "1.1.0", "1.2.0"), modules={})
    # The innermost frame comes first in Node, and there it is the function's own call that is outermost.
    assert list(found) == ["@acme/pool"]


def node(error: str, message: str, *frames: str, **more: str) -> str:
    told = {"errorType": error, "errorMessage": message, "stack": [f"{error}: {message}", *frames], **more}
    return "2024-07-01T12:00:00.000Z\t5b1a\tERROR\tInvoke Error \t" + json.dumps(told)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (node("Runtime.ImportModuleError", "Error: Cannot find module 'left-pad'\nRequire stack:\n- /var/task/a.js"),
         "left-pad"),
        (node("Runtime.UserCodeSyntaxError", "SyntaxError: The requested module '@acme/pool/fast' does not provide an "
              "export named 'fetchAll'"), "@acme/pool"),
        (node("Error", 'Package subpath \'./lib\' is not defined by "exports" in '
              "/opt/nodejs/node_modules/left-pad/package.json", "    at Object.<anonymous> (/var/task/index.js:1:1)"),
         "left-pad"),
        (node("TypeError", "(0 , left_pad_1.pad) is not a function", "    at handler (/var/task/index.js:3:9)"),
         "left-pad"),
        (node("TypeError", "boom", "    at parse (/opt/nodejs/node_modules/express/node_modules/qs/lib/parse.js:3:9)",
              "    at handler (/var/task/index.js:3:9)"), "express/node_modules/qs"),
        (node("TypeError", "boom", "    at parse (/opt/nodejs/node_modules/qs/lib/parse.js:3:9)",
              "    at handler (/var/task/index.js:3:9)"), None),
    ],
    ids=["missing", "export", "subpath", "compiled", "a copy further down", "another copy"],
)  # fmt: skip
def test_what_node_says_of_a_package_leads_to_it(log: str, expected: str | None) -> None:
    places = {"left-pad": "left-pad", "@acme/pool": "@acme/pool", "qs": "qs", "express/node_modules/qs": "qs"}
    changes = [(place, "1.0.0", "2.0.0") for place in places if place != "qs"]
    found = accused(
        log, *changes, modules={place: (name,) for place, name in places.items()},
        imports=("left-pad", "@acme/pool/fast", "express"),
    )  # fmt: skip
    assert list(found) == ([expected] if expected else [])


def test_at_most_three_different_samples_are_kept() -> None:
    logs = [NUMPY.replace("line 5", f"line {i % 5}") for i in range(50)]
    (suspect,) = suspects(parse_errors(logs), [("numpy", "1.23.5", "1.24.0")], MODULES, {})
    assert len(suspect.samples) == len(set(suspect.samples)) == 3


# --- hostile input


@given(st.lists(st.text(max_size=300), max_size=5))
def test_any_text_is_survived(messages: list[str]) -> None:
    logs = [
        *messages,
        *(f"[ERROR] {m}" for m in messages),
        *(f'[ERROR] A: {m}\rTraceback (most recent call last):\r  File "{m}", line 1, in {m}' for m in messages),
    ]
    records = parse_errors(logs, messages)
    found = suspects(
        records,
        [("numpy", "1", "2"), *((m, m, m) for m in messages)],
        {m: (m,) for m in messages},
        {m: {m} for m in messages},
    )
    assert all(0 <= suspect.confidence <= 1 and isinstance(suspect, Suspect) for suspect in found)
    json.dumps([record.sample for record in records]).encode()


@pytest.mark.parametrize(
    "hostile",
    [
        "[ERROR] " + "A" * 10_000_000,
        "[ERROR] A: " + "'" * 1_000_000,
        "[ERROR] A: " + "a." * 500_000,
        "[ERROR] A: " + "(/opt/" * 200_000,
        "[" * 1_000_000,
        '{"errorType": ' + "[" * 1_000_000,
        "{" * 1_000_000,
        "[ERROR] A: b\rTraceback (most recent call last):\r" + '  File "/opt/python/a.py", line 1, in b\r' * 100_000,
        '[ERROR] A: b\rTraceback (most recent call last):\r  File "/opt/python/' + "a/" * 200_000 + '", line 1, in b',
        "\ud800\x00\u202e[ERROR] A: \ud800",
        "\tERROR\tInvoke Error \t" + "{" * 100_000,
    ],
    ids=range(11),
)
def test_hostile_lines_cost_little(hostile: str) -> None:
    started = time.process_time()
    records = parse_errors([hostile] * 5)
    suspects(records, [("numpy", "1", "2")], {"numpy": ("numpy",)}, {"a": {"numpy"}})
    assert time.process_time() - started < 1.0
    assert all(len(record.sample) <= 2000 and len(record.message) <= 2000 for record in records)


def test_the_number_of_messages_is_bounded() -> None:
    assert len(parse_errors(USUAL for _ in range(10 * MAX_MESSAGES))) == MAX_MESSAGES


def test_samples_hold_no_characters_that_deceive() -> None:
    (record,) = parse_errors(["[ERROR] ValueError: a\x1b[31mred\u202egnp.exe\x00"])
    assert record.sample == "[ERROR] ValueError: a\ufffd[31mred\ufffdgnp.exe\ufffd"
