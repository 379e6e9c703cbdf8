"""Reading what a function's code imports, without running it."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import imports
from lamina.imports import imported_modules


def package(**files: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), body)
    return buffer.getvalue()


def python(text: str) -> set[str]:
    return set(imported_modules(package(app_dot_py=text)))


def javascript(text: str, name: str = "app_dot_mjs") -> set[str]:
    return set(imported_modules(package(**{name: text})))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a.b.c as d, e", {"a", "a.b", "a.b.c", "e"}),
        ("from a.b import c, d as e", {"a", "a.b", "a.b.c", "a.b.d"}),
        ("from a import *", {"a"}),
        ("from . import near\nfrom .near import far\nfrom ..up import x", set()),
        ("def f():\n    try:\n        import late\n    except ImportError:\n        import other", {"late", "other"}),
        ("import importlib\nimportlib.import_module('x.y')", {"importlib", "x", "x.y"}),
        ("__import__('z'); import_module('a-b'); import_module(name); import_module('.near', 'a')", {"z"}),
        ("'import not_code'  # import nor_this", set()),
        ("import a\nthis is no Python at all", set()),
        ("\x00", set()),
    ],
)  # fmt: skip
def test_python_is_parsed(text: str, found: set[str]) -> None:
    assert python(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("const a = require('a'), b = require(\"b/sub\")", {"a", "b/sub"}),
        ("import x from 'x'; import {y} from \"@scope/y/z\"; import 'effect'", {"x", "@scope/y/z", "effect"}),
        ("import {\n  a,\n  b,\n} from 'long'", {"long"}),
        ("export * from 'again'; const late = await import('late')", {"again", "late"}),
        ("require('./near'); import '../up.js'; require('/abs'); require('node:fs')", set()),
        ("require(`${name}`); require(name); requirement('no')", set()),
        ("var a=require('min'),b=1;import{c}from'tight'", {"min", "tight"}),
    ],
)
@pytest.mark.parametrize("name", ["app_dot_mjs", "app_dot_js", "src__deep_dot_cjs"])
def test_javascript_is_searched(text: str, found: set[str], name: str) -> None:
    assert javascript(text, name) == found


def test_all_files_count_and_others_do_not() -> None:
    code = package(
        a_dot_py="import one", lib__b_dot_py="import two", c_dot_txt="import three", d_dot_js="require('four')"
    )
    assert imported_modules(code) == {"one", "two", "four"}


def test_what_is_no_zip_or_broken_inside_is_skipped() -> None:
    whole = package(a_dot_py="import one", b_dot_py="import two" + " " * 2000)
    at = whole.index(b"a.py") + 4
    broken = whole[:at] + b"\xff\xff" + whole[at + 2 :]
    assert imported_modules(b"no zip") == imported_modules(b"") == frozenset()
    assert imported_modules(broken) == {"two"}


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "LARGEST_FILE", 1000)
    monkeypatch.setattr(imports, "LARGEST_SUM", 1500)
    monkeypatch.setattr(imports, "MOST_MODULES", 3)
    assert python("import a\n" + "#" * 1000) == set()
    many = package(a_dot_py="import one" + " " * 900, b_dot_py="import two" + " " * 900, deep__c_dot_py="import three")
    assert imported_modules(many) == {"one"}
    assert len(python("import a, b, c, d, e")) == 3


@given(st.binary(max_size=300), st.text(max_size=300))
def test_nothing_that_is_uploaded_raises(body: bytes, text: str) -> None:
    imported_modules(body)
    imported_modules(package(a_dot_py=text, b_dot_js=text, c_dot_py=body))
