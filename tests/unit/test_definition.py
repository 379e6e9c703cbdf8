"""Layer definitions: what is read from them, and what a team is told about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.definition import (
    definition_of,
    load_definitions,
    parse_definition,
    parse_requirements,
    python_source,
    read_folders,
    requirements,
    variants,
)
from lamina.errors import DefinitionRefused

MINIMAL = """
[layer]
owner = "platform-team"
runtimes = ["python3.13"]
architectures = ["arm64"]

[python]
requirements = "requirements.in"
"""
REPOSITORY = Path(__file__).parents[2]


def folder(toml: str = MINIMAL, **files: str) -> dict[str, bytes]:
    named = {"layer.toml": toml, "requirements.in": "requests>=2.31\n"} | {
        name.replace("__", "/").replace("_", "."): text for name, text in files.items()
    }
    return {name: text.encode() for name, text in named.items()}


def refusal(toml: str = MINIMAL, name: str = "web", **files: str) -> str:
    with pytest.raises(DefinitionRefused) as refused:
        parse_definition(name, folder(toml, **files))
    return str(refused.value)


def test_everything_but_the_layer_and_one_source_has_a_default() -> None:
    tables = parse_definition("web", folder()).tables

    assert (tables.update.allow, tables.update.cooldown_days, tables.update.security) == ("minor", 7, "immediate")
    assert (tables.rollout.waves, tables.rollout.weight, tables.rollout.alias) == ((10, 50, 100), 0.1, "live")
    assert (tables.rollout.min_minutes, tables.rollout.max_minutes, tables.rollout.extend_minutes) == (5, 30, 1440)
    assert (tables.rollout.alpha, tables.rollout.tolerance, tables.rollout.on_no_traffic) == (0.01, 0.02, "hold")
    assert (tables.verify.imports, tables.verify.smoke, tables.retain.versions) == ("auto", None, 5)


def test_every_table_of_a_full_definition_is_read() -> None:
    toml = """
    [layer]
    description = "everything"
    owner = "platform-team"
    runtimes = ["python3.13", "nodejs22.x"]
    architectures = ["x86_64", "arm64"]
    [python]
    requirements = "requirements.in"
    exclude = ["boto3"]
    build-from-source = ["docopt"]
    [nodejs]
    package = "package.json"
    [environments.dev]
    requirements = "dev.in"
    [files]
    from = "own"
    [update]
    allow = "patch"
    cooldown-days = 0
    security = "scheduled"
    ignore = ["six"]
    [verify]
    imports = ["requests"]
    smoke = "smoke.py"
    [rollout]
    strategy = "latest"
    alias = "prod"
    canary = ["a-1"]
    weight = 0.25
    waves = [100]
    min-minutes = 1
    max-minutes = 2
    extend-minutes = 0
    alpha = 0.05
    tolerance = 0.1
    on-no-traffic = "promote"
    alarms = ["too-slow"]
    exclude = ["legacy-*"]
    replaces = ["old-web"]
    [share]
    accounts = ["123456789012"]
    organization = "o-a1b2c3d4e5"
    [retain]
    versions = 2
    """
    content = {
        "layer.toml": toml.encode(),
        "requirements.in": b"requests\n",
        "dev.in": b"pytest\n",
        "package.json": b"{}",
        "own/bin/tool": b"#!",
        "smoke.py": b"",
    }

    definition = parse_definition("all", content)

    assert definition.tables.rollout.replaces == ("old-web",)
    assert definition.tables.share.accounts == ("123456789012",)
    assert [str(wish) for wish in requirements(definition, "dev")] == ["requests", "pytest"]
    assert [variant.variant for variant in variants(definition)] == [
        "all-python313-x86_64",
        "all-python313-arm64",
        "all-nodejs22x-x86_64",
        "all-nodejs22x-arm64",
        "all-dev-python313-x86_64",
        "all-dev-python313-arm64",
        "all-dev-nodejs22x-x86_64",
        "all-dev-nodejs22x-arm64",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("requirements =", "requirments ="), ["unknown key python.requirments", "'requirements'"]),
        (("[layer]", "[layers]"), ["unknown key layers", "'layer'"]),
        (('owner = "platform-team"', ""), ["layer.owner is missing"]),
        (('"python3.13"', '"python3.7"'), ["layer.runtimes.0", "'python3.7' is not a runtime", "python3.13"]),
        (('"arm64"', '"arm"'), ["layer.architectures.0", "'arm' is not an architecture", "arm64"]),
        (('["arm64"]', '["arm64", "arm64"]'), ["layer.architectures", "stands there twice"]),
        (('"requirements.in"', '"../requirements.in"'), ["python.requirements", "leaves the folder layers/web"]),
        (('"requirements.in"', '"/etc/passwd"'), ["python.requirements", "leaves the folder"]),
        (('"requirements.in"', '"wants.in"'), ["there is no file 'wants.in'", "there is: requirements.in"]),
        (("[python]", "[python"), ["not a TOML file"]),
        (('requirements = "requirements.in"', ""), ["python.requirements is missing"]),
        (('[python]\nrequirements = "requirements.in"', ""), ["has no source", "[python], [nodejs] and [files]"]),
        (('"python3.13"', '"nodejs22.x"'), ["[python] needs a python runtime", "add one of python3.9"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_named_with_its_file_key_and_remedy(change: tuple[str, str], says: list[str]) -> None:
    message = refusal(MINIMAL.replace(*change))

    assert message.startswith("layers/web/layer.toml: ")
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("[update]\nallow = 'huge'", "update.allow: must be 'patch', 'minor' or 'major', not \"huge\""),
        ("[update]\ncooldown-days = '7'", "update.cooldown-days: must be a valid integer"),
        ("[update]\ncooldown-days = -1", "update.cooldown-days: must be greater than or equal to 0"),
        ("[update]\ncooldown-days = 2024-01-01", "holds a date"),
        ("[update]\nignore = 'six'", "update.ignore"),
        ("[rollout]\nwaves = [50, 10]", "rollout.waves: must be percentages that rise and end with 100"),
        ("[rollout]\nweight = 1.5", "rollout.weight"),
        ("[rollout]\nmin-minutes = 40", "rollout.max-minutes (30) is less than rollout.min-minutes (40)"),
        ("[rollout]\ncanary = 'some'", "rollout.canary: must be 'auto' or a list of names"),
        ("[share]\naccounts = ['12']", "not an AWS account's number"),
        ("[verify]\nsmoke = 'smoke.py'", "verify.smoke: there is no file 'smoke.py'"),
        ("[files]\nfrom = 'files'", "files.from: there is no folder with files 'files'"),
        ("[environments.Dev]\nrequirements = 'requirements.in'", "environments.Dev"),
        ("[environments.dev]\nrequires = 'x'", "unknown key environments.dev.requires; did you mean 'requirements'?"),
        ("[retain]\nversions = 0", "retain.versions: must be greater than or equal to 1"),
        ("[[update]]", "update: must be a table"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(tables: str, says: str) -> None:
    assert says in refusal(MINIMAL + tables)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("requests==\n", "'requests==' is not a requirement"),
        ("\n# all\n-r base.in\n", "requirements.in, line 3: '-r base.in' is an option of pip"),
        ("thing @ https://example.org/thing.whl\n", "points to a file"),
        ("requests\nRequests>=2\n", "line 2: requests is already required in line 1"),
        ("# nothing\n", "holds no requirement"),
    ],
)
def test_a_requirement_that_no_lock_can_be_made_of_is_refused(text: str, says: str) -> None:
    assert says in refusal(requirements_in=text)


def test_comments_continuations_and_markers_are_understood() -> None:
    text = "requests[socks] >=2.31, \\\n  <3  # the client\n\ntomli; python_version < '3.11'\n"

    assert [str(wish) for wish in parse_requirements(text, "x")] == [
        "requests[socks]<3,>=2.31",
        'tomli; python_version < "3.11"',
    ]


@pytest.mark.parametrize("name", ["python", "nodejs", "lib", "bin", "extensions", "Web", "we b", "x" * 41])
def test_a_name_that_lambda_or_a_layer_cannot_have_is_refused(name: str) -> None:
    assert f"layers/{name}/layer.toml" in refusal(name=name)


def test_one_teams_mistake_leaves_the_other_layers_alone() -> None:
    definitions, refusals = load_definitions({"bad": folder("["), "good": folder()})

    assert [definition.name for definition in definitions] == ["good"]
    assert [(refusal.layer, refusal.message[:22]) for refusal in refusals] == [("bad", "layers/bad/layer.toml:")]


def test_two_definitions_cannot_publish_under_the_same_name() -> None:
    environment = "[environments.dev]\nrequirements = 'requirements.in'\n"
    definitions, refusals = load_definitions({"web": folder(MINIMAL + environment), "web-dev": folder()})

    assert [definition.name for definition in definitions] == ["web"]
    assert "web-dev-python313-arm64, which layers/web already publishes" in refusals[0].message


@pytest.mark.parametrize("source", ["[nodejs]\npackage = 'package.json'", "[files]\nfrom = 'own'"])
def test_a_source_that_cannot_be_built_yet_is_not_ignored(source: str) -> None:
    toml = MINIMAL.replace('["python3.13"]', '["python3.13", "nodejs22.x"]') + source
    content = folder(toml) | {"package.json": b"{}", "own/tool": b""}
    definition = parse_definition("web", content)

    with pytest.raises(DefinitionRefused, match=r"web-python313-arm64 has a .* source, which this version"):
        python_source(definition, variants(definition)[0])


def test_a_runtime_without_a_source_is_an_error_of_that_variant_alone() -> None:
    definition = parse_definition("web", folder(MINIMAL.replace('["python3.13"]', '["python3.13", "nodejs22.x"]')))
    python, node = variants(definition)

    assert python_source(definition, python).requirements == "requirements.in"
    with pytest.raises(DefinitionRefused, match=r"nothing to build for nodejs22\.x"):
        python_source(definition, node)


def test_folders_without_a_definition_are_not_definitions_and_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no")
    for name in ("web", "python", "empty"):
        (tmp_path / "opt" / name).mkdir(parents=True)
    (tmp_path / "opt" / "web" / "layer.toml").write_text(MINIMAL)
    (tmp_path / "opt" / "web" / "requirements.in").symlink_to(tmp_path / "secret")

    folders = read_folders(tmp_path / "opt")

    assert folders == {"web": {"layer.toml": MINIMAL.encode()}}
    with pytest.raises(DefinitionRefused, match=r"there is no file 'requirements\.in'"):
        definition_of(tmp_path / "opt", "web")


def test_the_shipped_definitions_are_all_usable() -> None:
    definitions, refusals = load_definitions(read_folders(REPOSITORY / "layers"))

    assert refusals == ()
    assert {definition.name for definition in definitions} >= {"dependencies", "web"}
    for definition in definitions:
        for variant in variants(definition):
            python_source(definition, variant)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_however_broken_stops_the_others(body: bytes) -> None:
    definitions, refusals = load_definitions({"a": {"layer.toml": body}, "web": folder()})

    assert [definition.name for definition in definitions] == ["web"]
    assert [refusal.layer for refusal in refusals] == ["a"]
