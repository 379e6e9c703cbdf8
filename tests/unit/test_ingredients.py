"""What a layer is built from beside packages: what counts as a change of it, and how that is said."""

from __future__ import annotations

import pytest

from lamina.bundle import sources
from lamina.definition import Definition, parse_definition, variants
from lamina.explain import summarize
from lamina.ingredients import ingredients, moved, own_files
from lamina.model import Change

TOML = """
[layer]
owner = "o"
runtimes = ["python3.13", "nodejs22.x"]
architectures = ["arm64"]
LAYER
[python]
requirements = "requirements.in"
PYTHON
[nodejs]
package = "package.json"
NODEJS
[files]
from = "./files"
REST
"""


def defined(body: bytes = b"A = 1\n", **parts: str) -> Definition:
    toml = TOML
    for part in ("LAYER", "PYTHON", "NODEJS", "REST"):
        toml = toml.replace(part, parts.get(part.lower(), ""))
    content = {
        "layer.toml": toml.encode(),
        "requirements.in": parts.get("wants", "idna\n").encode(),
        "package.json": b'{"dependencies": {"a": "1"}}',
        "files/python/own.py": body,
        "README.md": parts.get("readme", "").encode(),
    }
    return parse_definition("web", content)


NOW = ingredients(defined())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (defined(), ()),
        (defined(readme="what it is for"), ()),
        (defined(wants="idna\nrequests\n"), ()),
        (defined(rest="[update]\nallow = 'major'\n[rollout]\nweight = 0.5\n"), ()),
        (defined(layer="description = 'the layer'\n"), ()),
        (defined(b"A = 2\n"), ("own files changed",)),
        (defined(rest="[build]\nstrip = true\n"), ("build options changed",)),
        (defined(python="build-from-source = ['odd']\n"), ("build options changed",)),
        (defined(nodejs="without-scripts = ['odd']\n"), ("build options changed",)),
        (defined(layer="signing-profile = 'layers'\n"), ("signing profile changed",)),
        (defined(b"", rest="[build]\nprune = false\n"), ("build options changed", "own files changed")),
    ],
)
def test_what_is_built_from_counts_and_nothing_else(changed: Definition, said: tuple[str, ...]) -> None:
    assert moved(NOW, ingredients(changed)) == said


def test_a_file_that_is_renamed_or_goes_is_a_change() -> None:
    definition = defined()
    other = parse_definition(
        "web",
        {path.replace("own.py", "mine.py"): body for path, body in definition.content.items()},
    )

    assert moved(NOW, ingredients(other)) == ("own files changed",)


def test_of_a_release_that_did_not_record_it_only_what_cannot_be_known_is_new() -> None:
    bare = parse_definition("web", {
        "layer.toml": TOML.replace('[files]\nfrom = "./files"', "").replace("LAYER", "").replace("PYTHON", "")
        .replace("NODEJS", "").replace("REST", "").encode(),
        "requirements.in": b"idna\n",
        "package.json": b'{"dependencies": {"a": "1"}}',
    })  # fmt: skip

    assert moved(None, ingredients(bare)) == ()
    assert moved(None, NOW) == ("own files may have changed",)
    assert moved(None, ingredients(defined(layer="signing-profile = 'layers'\n"))) == (
        "own files may have changed",
        "signing profile changed",
    )


def test_the_own_files_are_those_that_a_bundle_takes_along() -> None:
    definition = defined()
    taken = sources(definition, variants(definition)[0], "", "{}")

    assert {path.removeprefix("files/"): body for path, body in taken.items() if path.startswith("files/")} == (
        own_files(definition)
    )


def test_the_summary_tells_of_packages_first_and_of_the_rest_after_them() -> None:
    change = Change(package="idna", from_="3.1", to="3.2", direct=True)

    assert summarize((change,), first=False, also=("own files changed",)) == "idna 3.1 to 3.2, own files changed"
    assert summarize((), first=False, also=("own files changed",)) == "own files changed"
    assert summarize((), first=False) == "nothing new"
    assert summarize((), first=True, also=("own files changed",)) == "first release, without packages"
