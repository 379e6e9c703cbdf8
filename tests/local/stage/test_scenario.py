"""What a scenario's author learns when it is wrong, and what the stage gets when it is right."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path

import pytest

from local.fleet import package
from local.redeploy import merged
from local.scenario import Outage, ScenarioError, load

SCENARIOS = Path(__file__).parents[3] / "scenarios"

GOOD = """
title = "a good one"
before = 2024-01-01
after = 2024-02-01

[fleet.api]
layers = ["web"]
per-minute = 30
"""
LAYER = """
[layer]
owner = "team"
runtimes = ["python3.11", "python3.12"]
architectures = ["x86_64"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenario.toml").write_text(GOOD)
    for layer in ("web", "other"):
        (tmp_path / "layers" / layer).mkdir(parents=True)
        (tmp_path / "layers" / layer / "layer.toml").write_text(LAYER)
    (tmp_path / "fleet" / "api").mkdir(parents=True)
    (tmp_path / "fleet" / "api" / "app.py").write_text("def handler(event, context): ...")
    return tmp_path


def test_the_defaults_of_a_short_scenario(folder: Path) -> None:
    scenario = load(folder)

    assert (scenario.before, scenario.after) == (dt.date(2024, 1, 1), dt.date(2024, 2, 1))
    assert (scenario.minute_seconds, scenario.warm_up_minutes, scenario.expect) == (1.0, 20, None)
    (member,) = scenario.fleet
    assert (member.name, member.runtime, member.architectures) == ("api", "python3.11", ("x86_64",))
    assert (member.alias, member.event, member.error_rate) == (None, {}, 0.0)


def test_count_numbers_the_functions_and_its_absence_means_one_that_is_called_as_its_folder(folder: Path) -> None:
    (folder / "scenario.toml").write_text(GOOD + "count = 3\n")
    assert [member.name for member in load(folder).fleet] == ["api-1", "api-2", "api-3"]
    (folder / "scenario.toml").write_text(GOOD)
    assert [member.name for member in load(folder).fleet] == ["api"]


def test_several_layers_need_a_runtime_in_common(folder: Path) -> None:
    (folder / "scenario.toml").write_text(GOOD.replace('["web"]', '["web", "other"]'))
    (folder / "layers/other/layer.toml").write_text(LAYER.replace('"python3.11", ', ""))
    assert load(folder).fleet[0].runtime == "python3.12"

    (folder / "layers/other/layer.toml").write_text(LAYER.replace('"python3.11", "python3.12"', '"python3.13"'))
    with pytest.raises(ScenarioError, match=r"no runtime and architecture in common"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace("title", "titel"), r"titel is not a key that scenarios have"),
        (GOOD.replace('title = "a good one"\n', ""), r"title is missing; add it"),
        (GOOD.replace("2024-01-01", '"new year"'), r"before Input should be a valid date; it is 'new year'"),
        (GOOD.replace("2024-01-01", "2025-01-01"), r"before \(2025-01-01\) is later than after"),
        (GOOD.replace("30", "-1"), r"fleet\.api\.per-minute Input should be greater than or equal to 0"),
        (GOOD.replace("per-minute = 30\n", ""), r"fleet\.api\.per-minute is missing; add it"),
        (GOOD.replace('layers = ["web"]\n', ""), r"fleet\.api\.layers is missing; add it"),
        (GOOD.replace("[fleet", "next-day = 2024-01-31\n[fleet"), r"next-day \(2024-01-31\) is earlier than after"),
        (GOOD + '[expect]\noutcome = "held"\nnext = "held"\n', r"expect\.next needs a second update; add next-day"),
        (GOOD + 'package = "image"\n', r'fleet\.api\.layers is nothing that a function with package = "image" has'),
        (GOOD + 'package = "tar"\n', r"fleet\.api\.package Input should be 'zip' or 'image'; it is 'tar'"),
        (GOOD + "unreleased = true\n", r"fleet\.api\.unreleased is about the version behind an alias; add alias"),
        (GOOD + "provisioned-concurrency = 1\n", r"fleet\.api\.provisioned-concurrency is about the version behind"),
        (GOOD + "snap-start = true\n", r"fleet\.api\.snap-start is about the version behind an alias; add alias"),
        (GOOD + "fill-mb = 251\n", r"fleet\.api\.fill-mb Input should be less than or equal to 250"),
        (GOOD + 'state = "Pending"\n', r"fleet\.api\.state Input should be 'Active', 'Inactive' or 'Failed'"),
        (GOOD + "tags = { team = 1 }\n", r"fleet\.api\.tags\.team Input should be a valid string; it is 1"),
        (
            GOOD + "invocations-per-environment = 0\n",
            r"invocations-per-environment Input should be greater",
        ),
        (GOOD + "[[trouble]]\n", r"trouble\.0\.minutes is missing; add it"),
        (
            GOOD + '[[trouble]]\nminutes = 1\nafter = "noon"\n',
            r"trouble\.0\.after Input should be 'start'",
        ),
        (
            GOOD + '[[trouble]]\nminutes = 1\nfunctions = ["apy"]\n',
            r"trouble\.0\.functions names 'apy', which is no function; use one of api",
        ),
        (
            GOOD + '[expect]\noutcome = "held"\nlayers = { wbe = "held" }\n',
            r"expect\.layers names 'wbe'; use one of other, web",
        ),
        (
            GOOD + '[expect]\noutcome = "held"\nleft-alone = { apy = "" }\n',
            r"expect\.left-alone names 'apy', which is no function; use one of api",
        ),
        (GOOD + "error-rate = 5\n", r"fleet\.api\.error-rate Input should be less than or equal to 1"),
        (GOOD + "count = 0\n", r"fleet\.api\.count Input should be greater than or equal to 1"),
        (GOOD + 'count = "4"\n', r"fleet\.api\.count Input should be a valid integer"),
        (GOOD.replace('["web"]', "[]"), r"fleet\.api\.layers List should have at least 1 item"),
        (GOOD.replace('"web"', '"wbe"'), r"names the layer 'wbe'; add it, or correct the name"),
        (GOOD.replace("fleet.api", "fleet.apy"), r"fleet/api is not used; add a table \[fleet\.api\]"),
        (
            GOOD + '[fleet.none]\nlayers = ["web"]\nper-minute = 1\n',
            r"\[fleet\.none\] has no code; add fleet/none/app.py",
        ),
        (GOOD + '[expect]\noutcome = "fine"\n', r"expect\.outcome Input should be 'promoted', 'rolled_back'"),
        ("title = ", r"is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(folder: Path, content: str, message: str) -> None:
    (folder / "scenario.toml").write_text(content)

    with pytest.raises(ScenarioError, match=message) as caught:
        load(folder)

    assert "scenario.toml" in str(caught.value)


def test_a_folder_that_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"scenario\.toml does not exist: a scenario is a folder with"):
        load(tmp_path)


def test_functions_of_every_kind(folder: Path) -> None:
    for name in ("asleep", "idle", "rare"):
        (folder / "fleet" / name).mkdir()
        (folder / "fleet" / name / "app.py").write_text("")
    (folder / "scenario.toml").write_text(
        GOOD
        + """
alias = "live"
unreleased = true
provisioned-concurrency = 2
snap-start = true
fill-mb = 249.5
tags = { "lamina:critical" = "true" }
invocations-per-environment = 4
[fleet.picture]
package = "image"
count = 2
[fleet.asleep]
layers = ["web"]
state = "Inactive"
[fleet.idle]
layers = ["web"]
per-minute = 0
[fleet.rare]
layers = ["web"]
per-minute = 0.05
"""
    )
    api, *others = load(folder).fleet

    assert (api.unreleased, api.snap_start, api.provisioned_concurrency, api.fill_mb) == (True, True, 2, 249.5)
    assert (api.tags, api.invocations_per_environment) == ({"lamina:critical": "true"}, 4)
    assert [(member.name, member.per_minute, member.layers) for member in others] == [
        ("picture-1", 0.0, ()),
        ("picture-2", 0.0, ()),
        ("asleep", 0.0, ("web",)),
        ("idle", 0.0, ("web",)),
        ("rare", 0.05, ("web",)),
    ]


def test_trouble_and_expectations_name_tables_or_single_functions(folder: Path) -> None:
    (folder / "fleet/job").mkdir()
    (folder / "fleet/job/app.py").write_text("")
    (folder / "scenario.toml").write_text(
        GOOD
        + """
count = 2
[fleet.job]
layers = ["web"]
per-minute = 1
[[trouble]]
minutes = 5
[[trouble]]
after = "update"
from-minute = 3
minutes = 1
functions = ["api-2", "job"]
error-rate = 0.5
[expect]
outcome = "promoted"
left-alone = { api = "full" }
"""
    )
    scenario = load(folder)

    assert scenario.trouble == (
        Outage("canary", 0, 5, frozenset({"api-1", "api-2", "job"}), 1.0),
        Outage("update", 3, 1, frozenset({"api-2", "job"}), 0.5),
    )
    assert scenario.expect is not None
    assert scenario.expect.left_alone == {"api-1": "full", "api-2": "full"}


def test_definitions_may_change_for_the_update_under_test(folder: Path, tmp_path: Path) -> None:
    assert load(folder).definitions_after is None
    changed = folder / "layers-after/web/own/python/slow.py"
    changed.parent.mkdir(parents=True)
    changed.write_text("new")
    (folder / "layers/web/own/python").mkdir(parents=True)
    for name in ("slow", "kept"):
        (folder / f"layers/web/own/python/{name}.py").write_text("old")
    scenario = load(folder)
    assert scenario.definitions_after is not None

    target = merged(scenario.definitions, scenario.definitions_after, tmp_path / "target")

    assert {path.name: path.read_text() for path in (target / "web/own/python").iterdir()} == {
        "slow.py": "new",
        "kept.py": "old",
    }
    assert (target / "web/layer.toml").read_text() == (target / "other/layer.toml").read_text() == LAYER
    changed.parents[2].rename(folder / "layers-after/wbe")
    with pytest.raises(ScenarioError, match=r"layers-after/wbe: there is no layers/wbe to change; correct its name"):
        load(folder)


def test_two_functions_of_one_name(folder: Path) -> None:
    (folder / "fleet/api-1").mkdir()
    (folder / "fleet/api-1/app.py").write_text("")
    (folder / "scenario.toml").write_text(GOOD + 'count = 1\n[fleet.api-1]\nlayers = ["web"]\nper-minute = 1\n')

    with pytest.raises(ScenarioError, match=r"two functions would be called api-1"):
        load(folder)


def of_kinds(folder: Path, runtimes: str, files: str = "", *, key: str = "") -> str:
    """The runtime of the function `api` with these files, on a layer that is for these runtimes."""
    quoted = ", ".join(f'"{runtime}"' for runtime in runtimes.split())
    (folder / "layers/web/layer.toml").write_text(LAYER.replace('"python3.11", "python3.12"', quoted))
    (folder / "fleet/api/app.py").unlink()
    for name in files.split():
        path = folder / "fleet/api" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (folder / "scenario.toml").write_text(GOOD + (f'runtime = "{key}"\n' if key else ""))
    return load(folder).fleet[0].runtime


@pytest.mark.parametrize(
    ("runtimes", "files", "key", "expected"),
    [
        ("nodejs22.x", "app.mjs", "", "nodejs22.x"),
        ("nodejs22.x", "app.js", "", "nodejs22.x"),
        ("nodejs22.x", "app.cjs", "", "nodejs22.x"),
        ("provided.al2023", "bootstrap", "", "provided.al2023"),
        ("python3.11 nodejs22.x", "app.js", "", "nodejs22.x"),
        ("nodejs22.x python3.11", "app.py", "", "python3.11"),
        ("provided.al2023 python3.11", "app.py", "", "python3.11"),
        ("python3.11 python3.12", "app.py", "python3.12", "python3.12"),
        ("python3.11 nodejs22.x", "app.py app.js", "nodejs22.x", "nodejs22.x"),
    ],
)
def test_a_function_runs_on_what_its_folder_has_code_for(
    folder: Path, runtimes: str, files: str, key: str, expected: str
) -> None:
    assert of_kinds(folder, runtimes, files, key=key) == expected


def test_the_bootstrap_may_be_the_layers(folder: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no code; add fleet/api/bootstrap, or any file where a layer has the"):
        of_kinds(folder, "provided.al2023", "app.sh")
    (folder / "fleet/api/app.py").write_text("")
    (folder / "layers/web/own").mkdir()
    (folder / "layers/web/own/bootstrap").write_text("")
    definition = folder / "layers/web/layer.toml"
    definition.write_text(definition.read_text() + '[files]\nfrom = "own"\n')

    assert load(folder).fleet[0].runtime == "provided.al2023"


@pytest.mark.parametrize(
    ("runtimes", "files", "key", "message"),
    [
        ("nodejs22.x", "app.ts", "", r"\[fleet\.api\] has no code; add fleet/api/app\.mjs that exports handler$"),
        ("python3.11 nodejs22.x", "", "", r"app\.py with handler\(event, context\); or fleet/api/app\.mjs"),
        ("python3.11 nodejs22.x", "app.py", "nodejs22.x", r"has no code; add fleet/api/app\.mjs"),
        ("python3.11", "app.py", "nodejs22.x", r"runtime 'nodejs22\.x' is not what its layers web are for; use one"),
        ("java21", "app.java", "", r"would run on java21; functions of scenarios are for python\*, nodejs\* and"),
    ],
)
def test_a_function_without_code_for_its_runtime_is_told_what_to_add(
    folder: Path, runtimes: str, files: str, key: str, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        of_kinds(folder, runtimes, files, key=key)

    assert "scenario.toml: [fleet.api]" in str(caught.value)


def test_whatever_became_of_its_mode_a_functions_bootstrap_can_be_executed(folder: Path) -> None:
    for name in ("bootstrap", "data"):
        (folder / name).write_text("x")
        (folder / name).chmod(0o644)
    with zipfile.ZipFile(io.BytesIO(package(folder))) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}

    assert (modes["bootstrap"], modes["data"], modes["fleet/api/app.py"]) == (0o755, 0o644, 0o644)


def test_an_update_may_be_forced(folder: Path) -> None:
    assert not load(folder).force
    (folder / "scenario.toml").write_text("force = true\n" + GOOD)
    assert load(folder).force


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.toml")))
def test_the_scenarios_that_come_along_are_well_formed(name: str) -> None:
    scenario = load(SCENARIOS / name)

    assert scenario.name == name
    assert scenario.expect is not None
    assert scenario.fleet
