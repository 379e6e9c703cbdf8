"""Layer definitions: what is read from them, and what a team is told about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.definition import (
    load_definitions,
    needs_nodejs,
    needs_python,
    parse_definition,
    python_source,
    python_target,
    requirements,
    variants,
)
from lamina.errors import DefinitionRefused
from lamina.gateways.definitions import read_folder, read_folders
from lamina.wanted import parse_requirements
from tests.unit.malformed import MALFORMED, NODE, PACKAGE, Mistake

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
        "package.json": PACKAGE.encode(),
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


@pytest.mark.parametrize("mistake", MALFORMED, ids=lambda mistake: mistake.name)
def test_a_mistake_is_named_with_its_file_key_and_remedy(mistake: Mistake) -> None:
    with pytest.raises(DefinitionRefused) as refused:
        parse_definition("web", mistake.content(), "s3://bucket/layers/web")

    message = str(refused.value)
    assert message.startswith(f"s3://bucket/layers/web/{mistake.at}")
    for part in mistake.says:
        assert part in message
    assert "word@" not in message and "=word" not in message
    assert "\n" not in message


def test_every_mistake_has_a_message_of_its_own() -> None:
    messages = set()
    for mistake in MALFORMED:
        _, refusals = load_definitions({"web": mistake.content()})
        messages.add(refusals[0].message)

    assert len(messages) == len(MALFORMED) > 20


def test_how_many_mistakes_follow_is_said() -> None:
    assert "and 1 more to correct after it" in refusal(MINIMAL + "[update]\nallow = 'huge'\ncooldown-days = 'x'\n")


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


def test_every_variant_holds_every_source_chosen_for_its_own_runtime_or_the_newest_of_the_language() -> None:
    runtimes = '["nodejs22.x", "python3.9", "python3.12", "python3.10", "provided.al2023"]'
    toml = MINIMAL.replace('["python3.13"]', runtimes) + "[nodejs]\npackage = 'package.json'\n"
    definition = parse_definition("web", folder(toml) | {"package.json": PACKAGE.encode()})

    assert all(
        needs_python(definition, variant) and needs_nodejs(definition, variant) for variant in variants(definition)
    )
    assert [python_target(definition, variant).runtime for variant in variants(definition)] == [
        "python3.12", "python3.9", "python3.12", "python3.10", "python3.12",
    ]  # fmt: skip
    assert {python_target(definition, variant).variant for variant in variants(definition)} == {
        variant.variant for variant in variants(definition)
    }


def test_a_definition_of_one_language_needs_no_other() -> None:
    python = parse_definition("web", folder())
    node = parse_definition("web", {"layer.toml": NODE.encode(), "package.json": PACKAGE.encode()})

    assert (needs_python(python, variants(python)[0]), needs_nodejs(python, variants(python)[0])) == (True, False)
    assert (needs_python(node, variants(node)[0]), needs_nodejs(node, variants(node)[0])) == (False, True)
    with pytest.raises(DefinitionRefused, match=r"web-nodejs22x-arm64 has no \[python\] source; add it"):
        python_source(node, variants(node)[0])
    with pytest.raises(DefinitionRefused, match=r"needs a python runtime, but layer\.runtimes is"):
        python_target(node, variants(node)[0])


def test_files_alone_are_a_definition_for_any_runtime() -> None:
    toml = MINIMAL.replace('[python]\nrequirements = "requirements.in"', '[files]\nfrom = "own"')
    definition = parse_definition("web", {"layer.toml": toml.encode(), "own/bin/tool": b""})

    assert not needs_python(definition, variants(definition)[0])


def test_an_index_of_its_own_is_read() -> None:
    secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:wheels-a1b2c3"
    toml = f"[python.index]\nurl = 'https://index.example.com/simple/'\nsecret = '{secret}'\n"
    python = parse_definition("web", folder(f"{MINIMAL}{toml}packages = ['acme-*', 'x_y']\n")).tables.python
    repository = "arn:aws:codeartifact:eu-central-1:123456789012:repository/acme/npm-store"
    nodejs = f"registry = {{codeartifact = '{repository}', scopes = ['@acme']}}\n"
    node = parse_definition(
        "web", {"layer.toml": (NODE + nodejs).encode(), "package.json": PACKAGE.encode()}
    ).tables.nodejs

    assert python is not None and python.index is not None
    assert (python.index.url, python.index.secret) == ("https://index.example.com/simple/", secret)
    assert python.index.packages == ("acme-*", "x_y")
    assert node is not None and node.registry is not None
    assert (node.registry.codeartifact, node.registry.scopes) == (repository, ("@acme",))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/simple/", "http://localhost/simple", "https://a.example"])
def test_an_index_on_this_machine_need_not_be_encrypted(url: str) -> None:
    assert parse_definition("web", folder(MINIMAL + f"[python.index]\nurl = '{url}'\n"))


def test_folders_without_a_definition_are_not_definitions_and_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no")
    for name in ("web", "python", "empty"):
        (tmp_path / "opt" / name).mkdir(parents=True)
    (tmp_path / "opt" / "web" / "layer.toml").write_text(MINIMAL)
    (tmp_path / "opt" / "web" / "requirements.in").symlink_to(tmp_path / "secret")

    assert read_folders(tmp_path / "opt") == {"web": {"layer.toml": MINIMAL.encode()}}
    assert read_folder(tmp_path / "opt" / "web") == {"layer.toml": MINIMAL.encode()}
    assert read_folder(tmp_path / "opt" / "empty") == {}


def test_the_shipped_definitions_are_all_usable() -> None:
    definitions, refusals = load_definitions(read_folders(REPOSITORY / "layers"))

    assert refusals == ()
    assert {definition.name for definition in definitions} >= {"dependencies", "web"}
    for definition in definitions:
        for variant in variants(definition):
            assert needs_python(definition, variant) or needs_nodejs(definition, variant) or definition.tables.files


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_however_broken_stops_the_others(body: bytes) -> None:
    definitions, refusals = load_definitions({"a": {"layer.toml": body}, "web": folder()})

    assert [definition.name for definition in definitions] == ["web"]
    assert [refusal.layer for refusal in refusals] == ["a"]
