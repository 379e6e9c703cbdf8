"""What a build leaves in S3: single files or one zip, under path, namespace and name."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any


class ArtifactError(Exception):
    """Artifacts that could not be found or stored."""


def upload(s3: Any, build: Mapping[str, Any], section: Mapping[str, Any] | None, source: Path) -> str:
    """Store a build's artifacts; returns their ARN.

    `section` is the buildspec's `artifacts`, `build` has the target (`artifacts`: location, path, name, packaging,
    namespaceType). With packaging NONE the name is a folder, and `/` means none.

    Raises:
        ArtifactError: where nothing matches, or the bucket refuses.
    """
    if section is None:
        return ""
    target = build["artifacts"]
    base = source / section.get("base-directory", ".")
    files = dict(_files(base, section))
    if not files:
        raise ArtifactError(
            f"no matching artifact paths found: {section['files']} in {section.get('base-directory', '.')}"
        )
    parts = [target.get("path") or ""]
    if target.get("namespaceType") == "BUILD_ID":
        parts.append(build["id"].rsplit(":", 1)[1])
    parts.append(target.get("name") or build["projectName"])
    prefix = "/".join(part.strip("/") for part in parts if part.strip("/"))
    bucket = target["location"]
    try:
        if target.get("packaging", "NONE") == "ZIP":
            s3.put_object(Bucket=bucket, Key=prefix, Body=_zip(files))
        else:
            for name, path in files.items():
                s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}" if prefix else name, Body=path.read_bytes())
    except Exception as problem:
        raise ArtifactError(f"{bucket}/{prefix}: {problem}") from problem
    return f"arn:aws:s3:::{bucket}/{prefix}"


def _files(base: Path, section: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    flat = str(section.get("discard-paths", "no")).lower() in ("yes", "true")
    excluded = section.get("exclude-paths") or []
    for pattern in section["files"]:
        for path in sorted(base.glob(str(PurePosixPath(pattern)))):
            name = path.relative_to(base)
            if path.is_file() and not any(name.match(skip) for skip in excluded):
                yield (path.name if flat else name.as_posix()), path


def _zip(files: Mapping[str, Path]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.write(path, name)
    return buffer.getvalue()
