"""The package index through uv: what uv is told, what its endings mean; and the four real histories."""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lamina.definition import parse_definition, variants
from lamina.errors import ResolutionFailed
from lamina.gateways.index import Index, IndexUnavailable, find_uv, plain_words, uv_environment
from lamina.lock import Lock
from lamina.model import Advisory
from lamina.resolve import Question, accept, ask

PYLOCK = '[[packages]]\\nname = "requests"\\nversion = "2.32.0"\\nwheels = [{hashes = {sha256 = "ab"}}]\\n'


def question(
    wants: str = "requests\n",
    *,
    as_of: str = "2024-11-27",
    current: Lock | None = None,
    update: str = "cooldown-days = 0",
    packages: dict[str, str] | None = None,
    advisories: tuple[Advisory, ...] = (),
) -> Question:
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["python3.11"]
    architectures = ["x86_64"]
    [python]
    requirements = "requirements.in"
    [update]
    {update}
    """
    definition = parse_definition("web", {"layer.toml": toml.encode(), "requirements.in": wants.encode()})
    moment = datetime.fromisoformat(as_of).replace(tzinfo=UTC) + timedelta(days=1)
    return ask(
        definition,
        variants(definition)[0],
        current,
        as_of=moment,
        packages=packages or {},
        advisories=advisories,
        held_back=(),
    )


def stand_in(folder: Path, body: str) -> Path:
    """A uv that does as it is told, to see what becomes of each ending."""
    binary = folder / "uv"
    binary.write_text(f"#!{sys.executable}\nimport sys, time, os, pathlib\n{body}\n")
    binary.chmod(0o755)
    return binary


def test_no_solution_is_a_failed_resolution_in_plain_words(tmp_path: Path) -> None:
    said = (
        "error: No solution found when resolving dependencies\\n"
        "  cause: Because all versions of docopt have no usable wheels and you require docopt, we can conclude that\\n"
        "         your requirements are unsatisfiable.\\n"
        "hint: Wheels are required for `docopt` because building from source is disabled for all packages "
        "(i.e., with `--no-build`)"
    )
    uv = stand_in(tmp_path, f'print("""{said}""", file=sys.stderr); sys.exit(1)')

    with pytest.raises(ResolutionFailed) as failed:
        Index(uv, sys.executable, tmp_path, {}).resolve(question())

    assert str(failed.value) == (
        "web-python311-x86_64: no set of packages fits, nothing was changed. Because all versions of docopt have no "
        "usable wheels and you require docopt, we can conclude that your requirements are unsatisfiable. Hint: Wheels "
        "are required for `docopt` because only wheels are taken"
    )


@pytest.mark.parametrize("body", ['print("error: Failed to fetch", file=sys.stderr); sys.exit(2)', "time.sleep(60)"])
def test_an_index_that_does_not_answer_is_unknown_and_not_up_to_date(tmp_path: Path, body: str) -> None:
    index = Index(stand_in(tmp_path, body), sys.executable, tmp_path, {}, timeout=1)

    with pytest.raises(IndexUnavailable, match="what is new is unknown"):
        index.resolve(question())


def test_the_answer_names_versions_that_their_authors_withdrew(tmp_path: Path) -> None:
    warning = 'warning: `Requests==2.32.0` is yanked (reason: "conflicts")'
    uv = stand_in(tmp_path, f"print('{warning}', file=sys.stderr); pathlib.Path('pylock.toml').write_text('{PYLOCK}')")

    answer = Index(uv, sys.executable, tmp_path, {}).resolve(question())

    assert answer.lock.packages == {"requests": "2.32.0"}
    assert answer.yanked == {"requests"}


def test_uv_is_told_of_trust_proxies_and_its_own_settings_and_of_no_credentials(tmp_path: Path) -> None:
    told = uv_environment(
        {
            "UV_DEFAULT_INDEX": "http://index.invalid",
            "SSL_CERT_FILE": "/ca",
            "https_proxy": "p",
            "AWS_SECRET_ACCESS_KEY": "no",
            "PYTHONPATH": "/opt/python",
        },
        tmp_path / "cache",
    )

    assert told == {
        "UV_DEFAULT_INDEX": "http://index.invalid",
        "SSL_CERT_FILE": "/ca",
        "https_proxy": "p",
        "UV_SYSTEM_CERTS": "1",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "UV_PYTHON_DOWNLOADS": "never",
    }


def test_a_binary_that_a_layer_build_left_without_its_mode_is_made_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a layer as `sam build` makes it: the package, and its scripts where the wheel has them
    scripts = tmp_path / "layer" / "uv-0.0.0.data" / "scripts"
    scripts.mkdir(parents=True)
    (tmp_path / "layer" / "uv").mkdir()
    (tmp_path / "layer" / "uv" / "__init__.py").touch()
    (scripts / "uv").write_text("#!/bin/sh\n")
    monkeypatch.syspath_prepend(str(tmp_path / "layer"))
    monkeypatch.delitem(sys.modules, "uv", raising=False)

    # WHEN it is looked for, twice
    found = find_uv(tmp_path), find_uv(tmp_path)

    # THEN a copy that runs is used
    assert found == (tmp_path / "uv", tmp_path / "uv")
    assert (tmp_path / "uv").stat().st_mode & stat.S_IXUSR


def test_hints_speak_of_the_cooldown_and_not_of_options() -> None:
    hint = (
        "hint: `requests` was filtered by `exclude-newer` to only include packages uploaded before 2024-05-20. The "
        "latest version is v2.34.2. Consider using `exclude-newer-package` to override the cutoff for this package."
    )

    assert plain_words(f"\x1b[1merror\x1b[0m: no\n{hint}") == (
        "no Hint: `requests` was filtered by the cooldown to only include packages uploaded before 2024-05-20. The "
        "latest version is v2.34.2."
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    work = tmp_path_factory.mktemp("work")
    return Index(find_uv(work), sys.executable, work, os.environ)


def moved(before: Lock, after: Lock) -> dict[str, tuple[str | None, str]]:
    return {
        name: (before.packages.get(name), version)
        for name, version in after.packages.items()
        if before.packages.get(name) != version
    }


@pytest.mark.index
@pytest.mark.parametrize(
    ("wants", "update", "dates", "expected"),
    [
        ("openai==1.55.2", "cooldown-days = 0", ("2024-11-27", "2024-11-30"), {"httpx": ("0.27.2", "0.28.0")}),
        ("numpy", "cooldown-days = 0", ("2022-12-15", "2022-12-20"), {"numpy": ("1.23.5", "1.24.0")}),
        (
            "flask==2.2.2",
            'cooldown-days = 0\nallow = "major"',
            ("2023-09-20", "2023-10-05"),
            {"werkzeug": ("2.3.7", "3.0.0")},
        ),
        (
            "requests",
            "cooldown-days = 7",
            ("2023-11-01", "2024-07-01"),
            {
                "certifi": ("2023.7.22", "2024.6.2"),
                "charset-normalizer": ("3.3.1", "3.3.2"),
                "idna": ("3.4", "3.7"),
                "requests": ("2.31.0", "2.32.3"),
                "urllib3": ("2.0.7", "2.2.2"),
            },
        ),
    ],
)
def test_history_repeats_itself(
    index: Index, wants: str, update: str, dates: tuple[str, str], expected: dict[str, tuple[str, str]]
) -> None:
    first = question(wants, as_of=dates[0], update=update)
    before = accept(first, index.resolve(first), None)

    second = question(wants, as_of=dates[1], update=update, current=before)
    after = accept(second, index.resolve(second), before)

    assert moved(before, after) == expected
    assert all(pin.uploaded is not None and pin.uploaded < second.cutoff for pin in after.pins.values())


@pytest.mark.index
def test_a_longer_cooldown_never_takes_back_what_is_there(index: Index) -> None:
    # GIVEN a lock without a cooldown, a day after urllib3 2.2.2 was uploaded
    first = question(as_of="2024-06-18")
    before = accept(first, index.resolve(first), None)
    assert before.packages["urllib3"] == "2.2.2"

    # WHEN the next check has a cooldown of 30 days, under which a resolver alone would answer 2.2.1
    second = question(as_of="2024-06-19", current=before, update="cooldown-days = 30")
    after = accept(second, index.resolve(second), before)

    # THEN nothing moves
    assert after == before


@pytest.mark.index
def test_a_fix_is_let_in_before_its_cooldown_ends_and_nothing_else_is(index: Index) -> None:
    # GIVEN werkzeug 3.0.0, and its fix 3.0.1 of 2023-10-24 one day old under a cooldown of 14 days
    first = question("flask==2.3.3", as_of="2023-10-05", update="cooldown-days = 0")
    before = accept(first, index.resolve(first), None)
    fix = Advisory(id="CVE-2023-46136", package="werkzeug", fixed="3.0.1")

    second = question(
        "flask==2.3.3", as_of="2023-10-25", current=before, update="cooldown-days = 14", advisories=(fix,)
    )
    after = accept(second, index.resolve(second), before)

    assert moved(before, after)["werkzeug"] == ("3.0.0", "3.0.1")
    young = {name for name, pin in after.pins.items() if pin.uploaded is None or pin.uploaded >= second.cutoff}
    assert young == {"werkzeug"}


@pytest.mark.index
def test_an_exact_version_is_taken_before_its_cooldown_ends(index: Index) -> None:
    first = question(as_of="2024-06-01")
    before = accept(first, index.resolve(first), None)

    second = question(as_of="2024-06-18", current=before, update="cooldown-days = 30", packages={"urllib3": "2.2.2"})
    after = accept(second, index.resolve(second), before)

    assert moved(before, after) == {"urllib3": ("2.2.1", "2.2.2")}


@pytest.mark.index
def test_requirements_that_contradict_each_other_are_explained(index: Index) -> None:
    with pytest.raises(ResolutionFailed, match=r"depends on httpx>=0\.23\.0.*you require httpx==0\.22\.0"):
        index.resolve(question("openai==1.55.2\nhttpx==0.22.0\n"))


@pytest.mark.index
def test_an_unreachable_index_is_not_mistaken_for_one_without_news(tmp_path: Path) -> None:
    nowhere = dict(os.environ) | {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}

    with pytest.raises(IndexUnavailable, match="the package index could not be asked"):
        Index(find_uv(tmp_path), sys.executable, tmp_path, nowhere).resolve(question())
