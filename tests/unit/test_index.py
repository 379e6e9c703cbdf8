"""The package index through uv: what uv is told, and what its endings mean."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.definition import parse_definition, variants
from lamina.errors import ResolutionFailed
from lamina.gateways.index import Index, IndexUnavailable, Unsolved, find_uv, uv_environment
from lamina.lock import Lock, Pin
from lamina.resolution import Access, Order
from lamina.resolve import Approach, Question, ask, basis
from lamina.uv import command, plain_words, untimed
from tests.simpleindex import SimpleIndex

PYLOCK = '[[packages]]\\nname = "requests"\\nversion = "2.32.0"\\nwheels = [{hashes = {sha256 = "ab"}}]\\n'


def question(wants: str = "requests\n", access: Access | None = None) -> Question:
    toml = """
    [layer]
    owner = "o"
    runtimes = ["python3.11"]
    architectures = ["x86_64"]
    [python]
    requirements = "requirements.in"
    """
    definition = parse_definition("web", {"layer.toml": toml.encode(), "requirements.in": wants.encode()})
    order = Order(definition, variants(definition)[0], None, datetime(2024, 11, 28, tzinfo=UTC), access=access)
    return ask(basis(order), Approach())


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


OLD = datetime(2024, 1, 1, tzinfo=UTC)
SECRET = "a-very-secret-word"


@pytest.fixture
def private() -> Iterator[SimpleIndex]:
    with SimpleIndex(credentials=("reader", SECRET)) as index:
        index.add("acme-app", "1.0", requires=["acme-core"], uploaded=OLD)
        index.add("acme-app", "2.0", requires=["acme-core", "acme-more"], uploaded=OLD)
        index.add("acme-core", "1.0", uploaded=OLD)
        index.add("acme-more", "1.0", uploaded=OLD)
        yield index


def through(work: Path, *, default: str | None = None) -> Index:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    environment |= {"UV_HTTP_RETRIES": "0"} | ({"UV_DEFAULT_INDEX": default} if default else {})
    return Index(find_uv(work), sys.executable, work, environment)


def test_an_index_of_its_own_gets_its_credentials_and_no_command_line_has_them(
    private: SimpleIndex, tmp_path: Path
) -> None:
    asked = question("acme-app\n", Access(private.url, "reader", SECRET))

    answer = through(tmp_path).resolve(asked)

    assert answer.lock.packages == {"acme-app": "2.0", "acme-core": "1.0", "acme-more": "1.0"}
    assert SECRET not in " ".join(command(asked, "uv", "python")) + repr(asked)


@pytest.mark.parametrize(("status", "says"), [(401, "(401)"), (403, "(403)"), (500, "500"), (503, "503")])
def test_an_index_of_its_own_that_does_not_answer_never_lets_the_default_one_step_in(
    private: SimpleIndex, tmp_path: Path, status: int, says: str
) -> None:
    # GIVEN the same name on the default index
    with SimpleIndex() as default:
        default.add("acme-app", "9.0", uploaded=OLD)
        private.status = status

        # WHEN the definition's own index answers with an error
        with pytest.raises(IndexUnavailable) as failed:
            through(tmp_path, default=default.url).resolve(
                question("acme-app\n", Access(private.url, "reader", SECRET, ("acme-*",)))
            )

    # THEN what is new is unknown, and nothing else was asked for it
    assert says in str(failed.value)
    assert "what is new is unknown" in str(failed.value)
    assert SECRET not in str(failed.value)
    assert "acme-app" not in default.asked


def test_wrong_credentials_are_named_as_such_without_being_shown(private: SimpleIndex, tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable, match=r"refused Lamina \(401\).*Check its credentials") as failed:
        through(tmp_path).resolve(question("acme-app\n", Access(private.url, "reader", "wrong-word")))

    assert "wrong-word" not in str(failed.value)


def test_one_package_that_is_refused_does_not_lead_to_an_older_set_without_it(
    private: SimpleIndex, tmp_path: Path
) -> None:
    # GIVEN an index that refuses a package that the newest version needs, where uv alone answers 1.0 with exit 0
    private.broken = {"acme-more": 403}

    with pytest.raises(IndexUnavailable, match=r"refused Lamina \(403\)"):
        through(tmp_path).resolve(question("acme-app\n", Access(private.url, "reader", SECRET)))


def test_it_is_told_which_index_each_package_is_from(private: SimpleIndex, tmp_path: Path) -> None:
    with SimpleIndex() as default:
        default.add("public", "1.0", uploaded=OLD)
        asked = question("acme-app\npublic\n", Access(private.url, "reader", SECRET, ("acme-*",)))
        index = through(tmp_path, default=default.url)

        found = index.origins(asked, Lock.of([Pin("acme-core", "1.0"), Pin("public", "1.0")]))

    assert {name: url.rstrip("/") for name, url in found.items()} == {"acme-core": private.url, "public": default.url}


@pytest.mark.parametrize("requires", [[], ["undated"]])
def test_packages_without_upload_times_are_named_whatever_the_ending(tmp_path: Path, requires: list[str]) -> None:
    with SimpleIndex() as index:
        index.add("undated", "1.0")
        index.add("dated", "1.0", uploaded=OLD)
        index.add("dated", "1.1", uploaded=OLD, requires=["undated"])
        asked = question("\n".join(["dated", *requires]), Access(index.url))
        try:
            found = through(tmp_path).resolve(asked).untimed
        except Unsolved as failed:
            found = failed.untimed

    assert found == {"undated"}


def test_files_whose_names_say_nothing_are_nobodys() -> None:
    assert untimed("warning: `x.whl` is missing an upload date, but user provided: 2024") == frozenset()
