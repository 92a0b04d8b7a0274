"""A certificate for a server of a test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.lifeline import LOOPBACK
from tests.support.server_process import missing


def certificate(directory: Path) -> tuple[str, str]:
    """A self-signed one for loopback, and its key: two files."""
    if shutil.which("openssl") is None:
        missing("openssl is not on PATH")
    crt, key = str(directory / "server.crt"), str(directory / "server.key")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    owner = ("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}", "-days", "1")
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *owner, "-out", crt, "-keyout", key],
        check=True,
        capture_output=True,
    )
    return crt, key
