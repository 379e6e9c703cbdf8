"""Which of the changed packages do the errors point at? From log lines to suspects with reasons.

Reading (``parse_errors``) and suspecting (``suspects``) are separate. Only changed packages can be suspected; an error
that points nowhere near a change suspects nobody. Log lines are strangers' text: whatever they hold, the work is
bounded and nothing is raised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

MAX_MESSAGES = 1000
MAX_LENGTH = 32_768
MAX_FRAMES = 100
_MAX_TEXT = 2_000

CERTAIN_ENOUGH = 0.3
"""Confidence below which nobody is suspected."""

_API_ERRORS = frozenset(
    {
        "AttributeError",
        "ImportError",
        "ModuleNotFoundError",
        "NameError",
        "NotImplementedError",
        "ReferenceError",
        "Runtime.ImportModuleError",
        "Runtime.UserCodeSyntaxError",
        "TypeError",
    }
)
"""What a caller sees when a package's interface has changed under it."""

_LAYER = re.compile(r"/opt/(?:python/(?:lib/python3\.\d+/site-packages/)?|nodejs/(?:node\d+/)?node_modules/)")
_PYTHON_FRAME = re.compile(r'^\s*File "([^"]{1,500})",? [Ll]ine (\d{1,9})(?:, in (.{1,200}))?$')
_NODE_FRAME = re.compile(r"^\s*at (?:(.{1,200}) \()?(?:file://)?(/[^():]{1,500}):(\d{1,9})(?::\d{1,9})?\)?$")
_TEXT_ERROR = re.compile(r"^\[ERROR\] ([A-Za-z_][\w.]{0,199})(?:: ?(.*))?$", re.DOTALL)
_TIMEOUT = re.compile(r"Task timed out after [\d.]{1,12} seconds")
_EXIT = re.compile(r"RequestId: \S{1,64} Error: (.{1,300})")
_NODE_ERROR = re.compile(
    r"\tERROR\t(?:Invoke Error|Uncaught Exception|Unhandled Promise Rejection) ?\t(\{.*)", re.DOTALL
)
_PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_REPORT", "[ERROR]", "[WARNING]", "[INFO]")
_TRACEBACK = "Traceback (most recent call last):"
_QUOTED = re.compile(r"['\"`]((?:@[\w.-]{1,100}/)?[A-Za-z_][\w.-]{0,199}(?:/[\w./-]{1,200})?)['\"`]")
_DOTTED = re.compile(r"(?<![\w./'\"-])([A-Za-z_]\w{0,99}(?:\.\w{1,99})+)")
_USED = re.compile(r"(?<![\w.])([A-Za-z_]\w{0,99})(?=[.(]|['\"`]? object\b)")
_OPT = re.compile(r"/opt/[^()\s'\"`,:;]{1,500}")
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*\b|\d+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback; ``code`` is its source text where the log has it."""

    path: str
    line: int
    function: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """One failed invocation as its log tells it.

    ``frames`` are outermost first, ``sample`` is the cleaned text to show people, ``imports`` are the modules that the
    function imports, as far as they are known.
    """

    type: str
    message: str
    frames: tuple[Frame, ...]
    sample: str
    imports: frozenset[str] = frozenset()

    @property
    def signature(self) -> tuple[str, str, str]:
        """What is the same whenever the same thing goes wrong: type, message without numbers, innermost file."""
        place = self.frames[-1].path if self.frames else ""
        return self.type, _VARYING.sub("#", self.message)[:300], place


@dataclass(frozen=True, slots=True)
class Suspect:
    """A changed package that errors point at: confidence 0-1, why, and up to three log samples."""

    package: str
    confidence: float
    why: str
    samples: tuple[str, ...]


# --- reading


def parse_errors(log_messages: Iterable[str], imports: Iterable[str] = ()) -> list[ErrorRecord]:
    """Finds the failed invocations in log messages: Python and Node, text and JSON format, timeouts and crashes.

    A message may be one log event or a whole log tail. Lines that a function logged itself are left out.

    Args:
        log_messages: of one function, if its imports are given.
        imports: modules that the function imports, as ``imports.imported_modules`` finds them.
    """
    records: list[ErrorRecord] = []
    for number, message in enumerate(log_messages):
        if number >= MAX_MESSAGES or len(records) >= MAX_MESSAGES:
            break
        if isinstance(message, str):
            records.extend(_read(message[:MAX_LENGTH]))
    modules = frozenset(imports)
    return [replace(record, imports=modules) for record in records[:MAX_MESSAGES]]


def _read(message: str) -> Iterator[ErrorRecord]:
    node = _NODE_ERROR.search(message)
    if node:
        yield from _read_json(node[1], message)
        return
    if message.lstrip().startswith("{"):
        for line in message.splitlines():
            yield from _read_json(line, line)
        return
    lines = message.replace("\u00a0", " ").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at = 0
    while at < len(lines):
        if lines[at].startswith("[ERROR] "):
            end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith(_PLATFORM)), len(lines))
            record = _read_text(lines[at:end])
            if record:
                yield record
            at = end
            continue
        timeout, crash = _TIMEOUT.search(lines[at]), _EXIT.search(lines[at])
        if timeout:
            yield _record("Timeout", timeout[0], (), lines[at])
        elif crash:
            yield _record("Runtime.ExitError", crash[1], (), lines[at])
        at += 1


def _read_text(lines: Sequence[str]) -> ErrorRecord | None:
    stop = next((i for i, line in enumerate(lines) if line == _TRACEBACK), len(lines))
    error = _TEXT_ERROR.match("\n".join(lines[:stop]))
    if not error:
        return None
    return _record(error[1], error[2] or "", _frames(lines[stop + 1 :]), "\n".join(lines))


def _read_json(text: str, sample: str) -> Iterator[ErrorRecord]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(data, dict):
        return
    error, message = data.get("errorType"), data.get("errorMessage")
    stack = data.get("stackTrace", data.get("stack"))
    if isinstance(error, str) or isinstance(message, str):
        lines = (
            [line for item in stack[:MAX_FRAMES] for line in str(item).splitlines()] if isinstance(stack, list) else []
        )
        name, said = str(error or "Error"), str(message or "")
        timeout = _TIMEOUT.search(said)
        shown = f"{name}: {said}\n" + "\n".join(lines)
        yield _record("Timeout" if timeout else name, said, _frames(lines), shown)
    elif data.get("type") == "platform.report":
        record = data.get("record")
        if isinstance(record, dict) and record.get("status") == "timeout":
            yield _record("Timeout", "Task timed out", (), sample)


def _frames(lines: Sequence[str]) -> tuple[Frame, ...]:
    """Frames outermost first; of very deep tracebacks the innermost ones."""
    frames: list[Frame] = []
    node = False
    for raw in lines:
        line = raw.replace("\u00a0", " ")[:1000]
        if match := _PYTHON_FRAME.match(line):
            frames.append(Frame(match[1], int(match[2]), match[3] or ""))
        elif match := _NODE_FRAME.match(line):
            frames.append(Frame(match[2], int(match[3]), match[1] or ""))
            node = True
        elif frames and not frames[-1].code and line.strip():
            last = frames[-1]
            frames[-1] = Frame(last.path, last.line, last.function, line.strip()[:300])
    if node:
        frames.reverse()
    return tuple(frames[-MAX_FRAMES:])


def _record(error: str, message: str, frames: tuple[Frame, ...], sample: str) -> ErrorRecord:
    return ErrorRecord(_clean(error)[:200], _clean(message)[:_MAX_TEXT], frames, _clean(sample)[:_MAX_TEXT])


def printable(text: str) -> str:
    """Text whose control and direction-changing characters, which could make it lie, are replaced."""
    return _CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode()


def _clean(text: str) -> str:
    text = text[:MAX_LENGTH].replace("\u00a0", " ").replace("\r\n", "\n").replace("\r", "\n")
    return printable(text).strip()


# --- suspecting


def canonical(package: str) -> str:
    """A package's name as indexes compare it (PEP 503); npm scopes are kept."""
    return package.lower() if package.startswith("@") else re.sub(r"[-_.]+", "-", package).lower()


class _Changes:
    """The changed packages, and how to find them from modules, paths and words."""

    def __init__(
        self,
        changes: Iterable[tuple[str, str | None, str | None]],
        modules: Mapping[str, Collection[str]],
        requires: Mapping[str, Collection[str]],
    ) -> None:
        self.versions = {canonical(name): (old, new) for name, old, new in changes}
        self.names = {canonical(name): name for name, _, _ in changes}
        self.requires = {canonical(name): {canonical(need) for need in needs} for name, needs in requires.items()}
        self.owners: dict[str, set[str]] = {}
        listed = {canonical(name): tops for name, tops in modules.items()}
        self.packages = self.versions.keys() | listed.keys()
        for name in self.packages:
            for module in listed.get(name) or (name, name.replace("-", "_")):
                self.owners.setdefault(module, set()).add(name)

    def owner(self, module: str) -> set[str]:
        """The packages that a module belongs to: a dotted one by its longest known beginning, npm's by its package."""
        if "/" in module:
            module = "/".join(module.split("/")[: 2 if module.startswith("@") else 1])
        parts = module.split(".")[:12]
        for length in range(len(parts), 0, -1):
            found = self.owners.get(".".join(parts[:length]))
            if found:
                return found
        return {canonical(module)} if module.startswith("@") else set()

    def of_path(self, path: str) -> set[str]:
        """The packages that a file under /opt belongs to; empty for any other file."""
        match = _LAYER.search(path)
        if not match:
            return set()
        if "node_modules" in match[0]:
            return self._of_place(path[match.end() :])
        parts = path[match.end() :].split("/")
        inner = ".".join(re.sub(r"\.(?:py|pyc|[\w.-]*so)$", "", part) for part in parts)
        return self.owner(inner) or {canonical(parts[0].split(".")[0])}

    def _of_place(self, path: str) -> set[str]:
        """The npm package that a file in node_modules belongs to; a copy further down is another one's."""
        *above, inner = path.split("/node_modules/")
        name = "/".join(inner.split("/")[: 2 if inner.startswith("@") else 1])
        place = canonical("/node_modules/".join((*above, name)))
        return {place} if above or place in self.packages else self.owners.get(name, {place})

    def instead_of(self, package: str) -> set[str]:
        """The package, or, for one that is no longer there, those changed ones that needed it before."""
        if self.versions[package][1] is not None:
            return {package}
        before = {name for name, needs in self.requires.items() if package in needs and name in self.versions}
        return {name for name in before if self.versions[name][1] is not None} or {package}

    def distance(self, package: str, changed: str) -> int | None:
        """How many steps of requirements lead from a package to a changed one; None where none do, within three."""
        seen, edge = {package}, {package}
        for steps in range(1, 4):
            edge = {need for name in edge for need in self.requires.get(name, ())} - seen
            if changed in edge:
                return steps
            seen |= edge
        return None

    def breaking(self, package: str) -> float:
        """How readily a step from one version to the other breaks callers: major and 0.x steps more than patches."""
        old, new = self.versions[package]
        if not old or not new:
            return 1.0
        a, b = (re.findall(r"\d+", version)[:3] for version in (old, new))
        if a[:1] != b[:1] or (a[:1] == ["0"] and a[:2] != b[:2]):
            return 1.0
        return 0.95 if a[:2] != b[:2] else 0.9


@dataclass(frozen=True, slots=True)
class _Clue:
    score: float
    why: str


def suspects(
    records: Sequence[ErrorRecord],
    changes: Iterable[tuple[str, str | None, str | None]],
    modules: Mapping[str, Collection[str]],
    requires: Mapping[str, Collection[str]],
) -> tuple[Suspect, ...]:
    """The changed packages that the errors point at, most likely first.

    Args:
        records: failed invocations, see ``parse_errors``.
        changes: (package, old version or None, new version or None).
        modules: the top-level modules of each package of the release, changed or not; a dotted name for a share of a
            namespace. Modules that only the old version had may be added.
        requires: the packages that each package depends on, or did in the old version; may be empty.
    """
    known = _Changes(tuple(changes), modules, requires)
    best: dict[str, _Clue] = {}
    samples: dict[str, list[tuple[float, str]]] = {}
    for record in records[:MAX_MESSAGES]:
        clues = _holdable(_clues(record, known), known)
        loudest = max((clue.score for clue in clues.values()), default=0.0)
        for name, clue in clues.items():
            if clue.score < CERTAIN_ENOUGH or clue.score < 0.7 * loudest:
                continue
            if name not in best or clue.score > best[name].score:
                best[name] = clue
            samples.setdefault(name, []).append((clue.score, record.sample))
    found = []
    for name, clue in best.items():
        confidence = clue.score * known.breaking(name)
        if len(known.versions) == 1:
            confidence += (1 - confidence) / 2
        ordered = dict.fromkeys(sample for _, sample in sorted(samples[name], key=lambda item: -item[0]))
        found.append(Suspect(known.names[name], round(confidence, 2), clue.why, tuple(ordered)[:3]))
    return tuple(sorted(found, key=lambda suspect: (-suspect.confidence, suspect.package)))


def _holdable(clues: Mapping[str, _Clue], known: _Changes) -> dict[str, _Clue]:
    """The clues about changed packages, with whoever dropped it in the place of one that is gone."""
    found: dict[str, _Clue] = {}
    for name, clue in clues.items():
        if name not in known.versions:
            continue
        for other in known.instead_of(name):
            mine = clue if other == name else _Clue(clue.score, f"{clue.why}; {other} needed it and does no longer")
            if other not in found or found[other].score < mine.score:
                found[other] = mine
    return found


def _clues(record: ErrorRecord, known: _Changes) -> dict[str, _Clue]:
    clues: dict[str, _Clue] = {}

    def note(package: str, score: float, why: str) -> None:
        if package not in clues or clues[package].score < score:
            clues[package] = _Clue(min(score, 0.95), why)

    if record.type == "Timeout":
        return clues
    interface = 0.15 if record.type in _API_ERRORS else 0.0
    deliberate = (
        record.frames and not _LAYER.search(record.frames[-1].path) and record.frames[-1].code.startswith("raise")
    )
    if not deliberate:
        for token, score in _named(record.message):
            for package in known.of_path(token) if token.startswith("/") else known.owner(token):
                note(package, score, f"the error names {token.rsplit('/opt/', 1)[-1]}")
    inside = [(frame, known.of_path(frame.path)) for frame in record.frames if _LAYER.search(frame.path)]
    if inside:
        _from_frames(record, inside, known, interface, note)
    elif interface and not deliberate:
        _from_imports(record, known, note)
    return clues


def _from_imports(record: ErrorRecord, known: _Changes, note: Callable[[str, float, str], None]) -> None:
    """The function's own code asked for something that is not there: was it of a package that it imports?"""
    owners = {module: known.owner(module) & known.versions.keys() for module in record.imports}
    mine = {package for packages in owners.values() for package in packages}
    for package in mine:
        # Of many, to suspect each would be to suspect none.
        score = 0.35 if len(mine) == 1 else 0.3 if len(mine) <= 3 else 0.2
        note(package, score, "the function imports it, and the error looks like a changed interface")
    said = {_word(name) for name in (*_QUOTED.findall(record.message), *_USED.findall(record.message))}
    used = {_word(name) for name in re.findall(r"[A-Za-z_]\w{0,99}", record.frames[-1].code if record.frames else "")}
    for module, packages in owners.items():
        name = _word(re.split(r"[./]", module)[-1])
        for package in packages if len(name) > 2 else ():
            if name in said:
                note(package, 0.65, f"the function imports {module}, and the error names it")
            elif name in used:
                note(package, 0.5, f"the function imports {module}, and the line that failed uses it")


def _word(name: str) -> str:
    """A name as it is compared: compilers of JavaScript add numbers to the names of modules."""
    return re.sub(r"_\d+$", "", name).replace("-", "").replace("_", "").lower()


def _from_frames(
    record: ErrorRecord,
    inside: Sequence[tuple[Frame, set[str]]],
    known: _Changes,
    interface: float,
    note: Callable[[str, float, str], None],
) -> None:
    own_code = record.frames[-1].path.startswith("/var/task")
    innermost, owners = inside[-1]
    place = _LAYER.sub("", innermost.path)
    words = (record.message + "\n" + "\n".join(frame.code for frame, _ in inside[-3:])).lower()
    for package in owners & known.versions.keys():
        # A callback of the function's own that fails inside a framework is not the framework's failure.
        note(package, 0.25 if own_code else 0.75 + interface, f"the innermost frame in a layer is its {place}")
    if own_code:
        return
    for _, outer in reversed(inside[:-1]):
        if outer == owners:
            continue
        for package in outer & known.versions.keys():
            note(package, 0.4 + interface, f"it called {place}, where the error arose")
        break
    for package in known.versions.keys() - owners:
        steps = min((d for owner in owners if (d := known.distance(owner, package)) is not None), default=None)
        if steps is None:
            continue
        named = any(len(top) > 2 and top.lower() in words for top, by in known.owners.items() if package in by)
        score = (0.4, 0.3, 0.2)[steps - 1] + interface + (0.25 if named else 0.0)
        need = f"{'/'.join(sorted(owners))} {'depends on it' if steps == 1 else 'needs it indirectly'}"
        note(package, score, f"the error arose in {place}; {need}" + (", and the traceback names it" if named else ""))


def _named(message: str) -> Iterator[tuple[str, float]]:
    """Modules and files that a message names, with how much that tells."""
    for match in _OPT.finditer(message):
        yield match[0], 0.9
    missing = re.search(r"No module named ['\"]([\w.]{1,200})['\"]", message)
    if missing:
        yield missing[1], 0.95
    for match in _QUOTED.finditer(message):
        yield match[1], 0.9
    for match in _DOTTED.finditer(message):
        yield match[1], 0.7
    for match in re.finditer(r"\b([A-Za-z_][\w-]{2,60})[ /=-]{1,2}v?\d", message):
        yield match[1].lower(), 0.6
