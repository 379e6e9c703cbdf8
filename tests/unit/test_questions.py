"""What probe functions are made of, for each kind of layer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lamina.bundle import BuiltNodePackage, BuiltPackage, Manifest, Sizes
from lamina.definition import Definition, parse_definition
from lamina.explain import Explanation
from lamina.questions import LONGEST_INIT, Program, language, program, relevant, smoke_test, wanted_imports

SOURCES = {"probe.py": b"python", "probe.mjs": b"node", "probe.sh": b"shell"}
MANIFEST = Manifest(
    variant="web-python313-arm64",
    digest="a" * 64,
    sha256="b" * 64,
    sizes=Sizes(zipped=1, unzipped=2),
    packages={
        "flask": BuiltPackage(version="3", modules=("flask",)),
        "pyyaml": BuiltPackage(version="6", modules=("_yaml", "yaml")),
    },
    node_packages={name: BuiltNodePackage(version="1") for name in ("express", "qs", "express/node_modules/qs")},
    own_modules=("ours",),
)
EXPLANATION = Explanation.model_validate(
    {
        "variant": "web-python313-arm64",
        "run": "r-1",
        "asOf": datetime(2026, 1, 1, tzinfo=UTC),
        "cutoff": datetime(2026, 1, 1, tzinfo=UTC),
        "requirements": ("flask",),
        "exclude": (),
        "direct": ("flask",),
        "nodeDirect": ("express",),
        "packages": {},
        "changes": (),
        "held": (),
        "summary": "",
    }
)


def definition(verify: str = "", **files: str) -> Definition:
    text = """
[layer]
owner = "web"
runtimes = ["python3.13", "nodejs22.x", "provided.al2023"]
architectures = ["arm64"]
[python]
requirements = "requirements.in"
[nodejs]
package = "package.json"
[files]
from = "files"
[verify]
"""
    content = {
        "layer.toml": text + verify,
        "requirements.in": "flask",
        "package.json": '{"dependencies": {"express": "5"}}',
    }
    content |= {"files/bin/x": "x"} | {name.replace("_", "."): body for name, body in files.items()}
    return parse_definition("web", {name: body.encode() for name, body in content.items()})


def made(
    runtime: str, manifest: Manifest = MANIFEST, verify: str = "", used: tuple[str, ...] = (), **files: str
) -> Program:
    return program(runtime, manifest, EXPLANATION, definition(verify, **files), SOURCES, used)


def test_a_python_probe_imports_packages_own_modules_and_what_is_named() -> None:
    found = made(
        "python3.13", verify='imports = ["yaml.cyaml"]\nsmoke = "smoke.py"', used=("flask.cli",), smoke_py="x = 1"
    )

    assert found.files == {"probe.py": b"python", "smoke.py": b"x = 1"}
    assert found.question.packages == ("flask", "pyyaml")
    assert found.question.modules == ("yaml.cyaml", "flask.cli", "ours", "boto3")
    assert found.question.smoke == "smoke.py"
    assert found.init == ("flask", "ours")


def test_a_node_probe_loads_every_copy_of_every_package() -> None:
    found = made("nodejs22.x", verify='smoke = "smoke.py"', smoke_py="x = 1")

    assert found.files == {"probe.mjs": b"node"}  # the smoke test is for another language
    assert found.question.packages == ("express", "express/node_modules/qs", "qs")
    assert (found.question.modules, found.question.smoke, found.init) == ((), None, ("express",))


def test_a_runtime_without_a_language_gets_a_shell_program_and_a_layer_that_is_one_gets_nothing() -> None:
    shell = made("provided.al2023", verify='smoke = "smoke.sh"', smoke_sh="exit 0")
    runtime = MANIFEST.model_copy(update={"bootstrap": True})
    bare = made("provided.al2023", runtime)
    handled = made("provided.al2023", runtime, verify='smoke = "tests.sh"', tests_sh="handler() { :; }")

    assert shell.files == {"bootstrap": b"shell", "smoke.sh": b"exit 0"}
    assert (shell.executable, shell.answers) == ({"bootstrap"}, True)
    assert "bootstrap" not in bare.files and bare.files
    assert not bare.answers
    # A runtime may well end where its function has no handler: the smoke test is one.
    assert handled.files == {"smoke.sh": b"handler() { :; }"}
    assert (handled.handler, handled.question.smoke, handled.answers) == ("smoke.handler", "smoke.sh", False)


@pytest.mark.parametrize(
    ("listed", "python", "node"),
    [
        ('"auto"', (), ()),
        ('["flask.cli"]', ("flask.cli",), ("flask.cli",)),
        ('["python:flask", "nodejs:@scope/x", "both"]', ("flask", "both"), ("@scope/x", "both")),
    ],
)
def test_names_to_import_may_say_which_language_they_are_for(
    listed: str, python: tuple[str, ...], node: tuple[str, ...]
) -> None:
    found = definition(f"imports = {listed}")
    assert (wanted_imports(found, "python"), wanted_imports(found, "nodejs")) == (python, node)
    assert wanted_imports(found, "provided") == ()


@pytest.mark.parametrize(
    ("name", "of"),
    [("t.py", "python"), ("t.mjs", "nodejs"), ("t.cjs", "nodejs"), ("t.js", "nodejs"), ("t.sh", "provided")],
)
def test_a_smoke_test_runs_where_its_language_does(name: str, of: str) -> None:
    found = definition(f'smoke = "{name}"', **{name.replace(".", "_"): "text"})
    hits = {spoken: smoke_test(found, spoken) for spoken in ("python", "nodejs", "provided")}
    assert {spoken: hit for spoken, hit in hits.items() if hit} == {of: (f"smoke.{name[2:]}", b"text")}


def test_only_what_the_layer_has_is_asked_of_what_functions_import() -> None:
    used = {"flask", "flask.cli", "os.path", "app.near", "_yaml", "ours.part", "express", "express/lib/x", "qs2"}
    assert relevant(used, "python", MANIFEST) == {"flask", "flask.cli", "_yaml", "ours.part"}
    assert relevant(used, "nodejs", MANIFEST) == {"express", "express/lib/x"}
    scoped = MANIFEST.model_copy(update={"node_packages": {"@a/b": MANIFEST.node_packages["qs"]}})
    assert relevant({"@a/b/c", "@a/d"}, "nodejs", scoped) == {"@a/b/c"}
    assert relevant(used, "provided", MANIFEST) == frozenset()


def test_what_is_imported_at_the_start_fits_into_a_functions_variables() -> None:
    modules = tuple(f"module{number}" for number in range(1000))
    many = MANIFEST.model_copy(update={"own_modules": modules})
    assert 0 < len(",".join(made("python3.13", many).init)) <= LONGEST_INIT


def test_every_runtime_has_a_language() -> None:
    assert [language(name) for name in ("python3.9", "nodejs24.x", "provided.al2")] == ["python", "nodejs", "provided"]
