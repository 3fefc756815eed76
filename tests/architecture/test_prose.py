from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, tracked

# Where somebody's checkout or home lies is nobody else's business, and breaks on the next machine.
MACHINE = re.compile(r"(?<![\w.<$~/-])/(?:work|home|Users|root)/(?!\.\.\.|USER|NAME|alice|pi/|pi\b|\.ssh/)[\w.-]+")
# Packages come from where the person's pip and npm are set to look: no other host stands in a lock or a script.
HOST = re.compile(r"https?://([\w.-]+)")
REGISTRY_FILES = re.compile(
    r"(requirements/.*|.*package(-lock)?\.json|.*\.npmrc|pip\.conf|pyproject\.toml|scripts/.*)$"
)
OPTIONS = re.compile(r"--(?:extra-)?index-url|--trusted-host|^registry\s*=", re.MULTILINE)
BINARY = {".png", ".ico", ".woff2", ".gz", ".zst", ".bin", ".zdict", ".skr"}
HERE = Path("tests/architecture/test_prose.py")


def texts() -> list[tuple[Path, str]]:
    paths = [path for path in tracked() if path.suffix not in BINARY and path != HERE]
    return [(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths]


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    found = {str(path): match.group() for path, text in texts() if (match := MACHINE.search(text))}
    assert found == {}


def test_no_file_names_the_folder_it_was_checked_out_to() -> None:
    here = str(ROOT)
    assert len(here) > 1
    assert [str(path) for path, text in texts() if f"{here}/" in text] == []


def test_locks_and_scripts_name_no_registry() -> None:
    strange = {
        f"{path}: {host}"
        for path, text in texts()
        if REGISTRY_FILES.match(str(path))
        for host in HOST.findall(text)
        if "registry" in host or "pypi" in host or "mirror" in host or "artifact" in host or "proxy" in host
    }
    assert strange == set()
    assert [str(path) for path, text in texts() if path.suffix != ".py" and OPTIONS.search(text)] == []


@pytest.mark.parametrize("password", [r"password\s*=\s*[\"'][^\"'{}<$]+[\"']"])
def test_no_secret_stands_in_what_is_shipped(password: str) -> None:
    shipped = [
        (path, text) for path, text in texts() if path.parts[0] in {"protocol", "controller", "edge_agent", "tsh"}
    ]
    found = [str(path) for path, text in shipped if path.suffix == ".py" and re.search(password, text)]
    keys = [
        str(path) for path, text in texts() if re.search(r"^-----BEGIN [A-Z ]*PRIVATE KEY-----$", text, re.MULTILINE)
    ]
    assert found == []
    assert keys == []
