"""Definitions with one mistake each, and what a team is told about it."""

from __future__ import annotations

from dataclasses import dataclass, field

WHOLE = """[layer]
owner = "platform-team"
runtimes = ["python3.13"]
architectures = ["arm64"]

[python]
requirements = "requirements.in"
"""
NODE = """[layer]
owner = "platform-team"
runtimes = ["nodejs22.x"]
architectures = ["arm64"]

[nodejs]
package = "package.json"
"""
PACKAGE = '{"dependencies": {"express": "^5.0.0"}}'


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        toml: the `layer.toml`.
        at: file and key as the message begins, after the folder.
        says: the rest of what it must say, the remedy last.
        files: other files than a `requirements.in` and a `package.json` that are as they should be.
        editor: whether an editor with the JSON Schema can see it.
    """

    name: str
    toml: str
    at: str
    says: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    editor: bool = True

    def content(self) -> dict[str, bytes]:
        """The folder's files."""
        named = {"layer.toml": self.toml, "requirements.in": "requests>=2.31\n", "package.json": PACKAGE} | self.files
        return {path: text.encode() for path, text in named.items()}


def _python(name: str, old: str, new: str, at: str, *says: str, editor: bool = True) -> Mistake:
    assert old in WHOLE
    return Mistake(name, WHOLE.replace(old, new), at, says, editor=editor)


def _more(name: str, toml: str, at: str, *says: str, editor: bool = True) -> Mistake:
    return Mistake(name, WHOLE + toml, at, says, editor=editor)


def _index(name: str, toml: str, at: str, *says: str, editor: bool = True) -> Mistake:
    return _more(name, f"[python.index]\n{toml}\n", f"layer.toml: python.index{at}", *says, editor=editor)


def _file(name: str, path: str, text: str, at: str, *says: str) -> Mistake:
    toml = NODE if path == "package.json" else WHOLE
    return Mistake(name, toml, f"{path}{at}", says, {path: text}, editor=False)


MALFORMED = (
    _python("not TOML", "[python]", "[python", "layer.toml: not a TOML file", "correct it"),
    _python("no layer", "[layer]", "[layers]", "layer.toml: unknown key layers", "did you mean 'layer'?"),
    _python("no owner", 'owner = "platform-team"\n', "", "layer.toml: layer.owner", "is missing; it is required"),
    _python("empty owner", '"platform-team"', '""', "layer.toml: layer.owner", "is empty; write a text"),
    _python("typing mistake", "requirements =", "requirments =", "layer.toml: unknown key python.requirments",
            "did you mean 'requirements'?"),
    _python("unknown runtime", '"python3.13"', '"python3.7"', "layer.toml: layer.runtimes.0",
            "'python3.7' is not a runtime", "use one of python3.9"),
    _python("no runtime", '["python3.13"]', "[]", "layer.toml: layer.runtimes", "is empty; name at least one"),
    _python("runtime twice", '["python3.13"]', '["python3.13", "python3.13"]', "layer.toml: layer.runtimes",
            "stands there twice", "name each once"),
    _python("unknown architecture", '"arm64"', '"arm"', "layer.toml: layer.architectures.0",
            "'arm' is not an architecture", "use one of x86_64, arm64"),
    _python("no source", '[python]\nrequirements = "requirements.in"\n', "", "layer.toml: has no source",
            "add one of [python], [nodejs] and [files]"),
    _python("source without runtime", '"python3.13"', '"nodejs22.x"', "layer.toml: [python] needs a python runtime",
            "add one of python3.9", editor=False),
    _python("runtime without source", '"python3.13"', '"python3.13", "nodejs22.x"',
            "layer.toml: layer.runtimes names nodejs22.x", "remove it from layer.runtimes or add [nodejs]",
            editor=False),
    _python("leaves the folder", '"requirements.in"', '"../requirements.in"', "layer.toml: python.requirements",
            "leaves the folder", "give a path inside it", editor=False),
    _python("absolute path", '"requirements.in"', '"/etc/passwd"', "layer.toml: python.requirements",
            "'/etc/passwd' leaves the folder", "give a path inside it", editor=False),
    _python("no such file", '"requirements.in"', '"wants.in"', "layer.toml: python.requirements",
            "there is no file 'wants.in'", "add it or correct the path", editor=False),
    _more("number in quotes", "[update]\ncooldown-days = '7'\n", "layer.toml: update.cooldown-days",
          "must be a valid integer"),
    _more("negative number", "[update]\ncooldown-days = -1\n", "layer.toml: update.cooldown-days",
          "must be greater than or equal to 0"),
    _more("unknown choice", "[update]\nallow = 'huge'\n", "layer.toml: update.allow",
          "must be 'patch', 'minor' or 'major'"),
    _more("name for a list", "[update]\nignore = 'six'\n", "layer.toml: update.ignore", "must be a list"),
    _more("table for a key", "[[update]]\n", "layer.toml: update", "must be a table"),
    _more("date", "[update]\ncooldown-days = 2024-01-01\n", "layer.toml: holds a date", "write text or a number"),
    _more("falling waves", "[rollout]\nwaves = [50, 10]\n", "layer.toml: rollout.waves",
          "rise and end with 100, such as [10, 50, 100]", editor=False),
    _more("share above one", "[rollout]\nweight = 1.5\n", "layer.toml: rollout.weight", "must be less than 1"),
    _more("less than least", "[rollout]\nmin-minutes = 40\n", "layer.toml: rollout.max-minutes",
          "is less than rollout.min-minutes (40)", "raise it or lower the other", editor=False),
    _more("account", "[share]\naccounts = ['12']\n", "layer.toml: share.accounts.0", "give its 12 digits"),
    _python("not a signing profile", "[python]", "signing-profile = 'our-profile'\n[python]",
            "layer.toml: layer.signing-profile", "'our-profile' is not the name of a signing profile",
            "2 to 64 letters, digits and '_'"),
    _more("organization", "[share]\norganization = 'mine'\n", "layer.toml: share.organization",
          "it looks like o-a1b2c3d4e5"),
    _more("environment's name", "[environments.Dev]\nrequirements = 'requirements.in'\n",
          "layer.toml: environments.Dev", "up to 16 lower-case letters and digits"),
    _more("environment's key", "[environments.dev]\nrequires = 'x'\n",
          "layer.toml: unknown key environments.dev.requires", "did you mean 'requirements'?"),
    _more("files without a folder", "[files]\nfrom = 'files'\n", "layer.toml: files.from",
          "there is no folder with files 'files'", "add it or correct the path", editor=False),
    _more("smoke without a file", "[verify]\nsmoke = 'smoke.py'\n", "layer.toml: verify.smoke",
          "there is no file 'smoke.py'", editor=False),
    _index("no address", "", ": needs url, or codeartifact", "add one"),
    _index("two addresses", "url = 'https://index.example.com/simple/'\n"
           "codeartifact = 'arn:aws:codeartifact:eu-central-1:123456789012:repository/acme/wheels'",
           ": has both url and codeartifact", "remove one"),
    _index("not encrypted", "url = 'http://index.example.com/simple/'", ".url", "is not encrypted", "https://"),
    _index("password in the address", "url = 'https://me:word@index.example.com/simple/'", ".url",
           "holds a user name or password", "Secrets Manager"),
    _index("token in the address", "url = 'https://index.example.com/simple/?token=word'", ".url",
           "has a '?' or '#'", "Secrets Manager"),
    _index("not an address", "url = 'index'", ".url", "'index' is not an index's address", "write for example"),
    _index("not a repository", "codeartifact = 'wheels'", ".codeartifact", "is not a CodeArtifact repository's ARN",
           "it looks like arn:aws:codeartifact:"),
    _index("secret beside a repository",
           "codeartifact = 'arn:aws:codeartifact:eu-central-1:123456789012:repository/acme/wheels'\n"
           "secret = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:wheels-a1b2c3'",
           ": codeartifact needs no secret", "remove secret"),
    _index("the secret itself", "url = 'https://index.example.com/'\nsecret = 'word'", ".secret",
           "must be the ARN of a secret", "store the credentials there"),
    _index("not a pattern", "url = 'https://index.example.com/'\npackages = ['acme[a-z]']", ".packages.0",
           "is not a package's name or a pattern", "such as acme-*"),
    _index("every package", "url = 'https://index.example.com/'\npackages = ['*']", ".packages.0",
           "means every package", "leave `packages` out", editor=False),
    _more("wrong key", "[python.index]\nurl = 'https://index.example.com/'\nscopes = ['@acme']\n",
          "layer.toml: unknown key python.index.scopes", "known there: codeartifact, packages, secret, url"),
    Mistake("not a scope", NODE + "registry = {url = 'https://npm.example.com/', scopes = ['acme']}\n",
            "layer.toml: nodejs.registry.scopes.0", ("'acme' is not a scope of npm", "such as @acme")),
    _file("half a requirement", "requirements.in", "requests==\n", ", line 1: 'requests==' is not a requirement",
          "write for example"),
    _file("option of pip", "requirements.in", "\n# all\n-r base.in\n", ", line 3: '-r' is an option of pip",
          "list the packages themselves"),
    _file("file for a package", "requirements.in", "thing @ https://me:word@example.org/thing.whl\n",
          ", line 1: 'thing @", "points to a file", "name the package and its versions"),
    _file("package twice", "requirements.in", "requests\nRequests>=2\n",
          ", line 2: requests is already required in line 1", "write one line"),
    _file("nothing wanted", "requirements.in", "# nothing\n", ": holds no requirement", "name at least one"),
    _file("not text", "requirements.in", "\0\0\0", ", line 1: ", "is not a requirement"),
    _file("not JSON", "package.json", "{", ": is not JSON", "correct it"),
    _file("not an object", "package.json", "[]", ": must be an object"),
    _file("no package", "package.json", "{}", ": names no package", "add at least one under dependencies"),
    _file("repository for a range", "package.json", '{"dependencies": {"left-pad": "git+https://example.org/x.git"}}',
          ": dependencies.left-pad", "is not a range of versions", "write for example"),
)  # fmt: skip
