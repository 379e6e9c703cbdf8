"""botocore sessions that know nothing of this machine's AWS settings: no profile, no configuration files."""

from __future__ import annotations

import os
from typing import Any

import boto3
import botocore.session

# Variable → (in the config file, in the environment, its value, its conversion), as botocore wants it.
_ALONE: dict[str, tuple[Any, ...]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
SESSION: Any = botocore.session.Session(session_vars=_ALONE)


def boto_session(region: str) -> boto3.Session:
    """A boto3 session of its own, with botocore's models loaded once for all of them."""
    session = botocore.session.Session(session_vars=_ALONE)
    session.register_component("data_loader", SESSION.get_component("data_loader"))
    return boto3.Session(botocore_session=session, region_name=region)


def service_model(service: str) -> Any:
    """botocore's model of a service."""
    return SESSION.get_service_model(service)
