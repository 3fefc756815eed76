from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.architecture.source import PROGRAMS, ROOT, imported, modules

# Each third-party library, and where alone it may be imported: the packages or modules that own it.
OWNERS: dict[str, set[str]] = {
    "argon2": {"controller.accounts.passwords", "controller.operations.sealing"},
    "asyncssh": {"protocol.ssh", "controller.proxy", "controller.web.hall", "edge_agent", "tsh"},
    "click": {
        "controller.cli",
        "controller.command_line",
        "controller.debugging",
        "controller.operations.commands",
        "controller.tctl",
        "edge_agent.commands",
        "edge_agent.operations.commands",
        "edge_agent.rollout.commands",
        "tsh.cli",
        "tsh.commands",
        "tsh.setting",
    },
    "cryptography": {
        "protocol.endorsement",  # verifies what the controller signed
        "protocol.pins",
        "protocol.recording",
        "protocol.ssh",
        "controller.authority",
        "controller.enrolment",  # verifies a joining device's proof
        "controller.operations.sealing",  # backups
        "controller.proxy.host_key",
        "edge_agent.identity",
        "edge_agent.join",
        "edge_agent.renewal_worker",
        "edge_agent.tls",  # TLS on its OpenSSL
        "tsh.sign_in",
    },
    "flask": {"controller.web", "controller.api"},
    "gunicorn": {"controller.https"},
    "markupsafe": {"controller.web"},  # Flask's own
    "paho": {"controller.lookout", "edge_agent.mqtt"},
    "prometheus_client": {"controller.diagnostics.metrics"},
    "pyotp": {"controller.accounts.codes"},
    "segno": {"controller.web"},
    "tinydb": {"controller.store"},
    "websockets": {"controller.web.hall"},
    "werkzeug": {"controller.web"},  # Flask's own
    "yaml": {"protocol.form"},
    "zstandard": {"protocol.recording.frame", "controller.operations.sealing"},
}
CONTROLLER_ONLY = ("flask", "werkzeug", "tinydb", "gunicorn", "pyotp", "argon2", "segno", "controller")


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def users() -> dict[str, set[str]]:
    """Return each third-party library with the modules that import it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in modules(*PROGRAMS):
        for name in imported(tree):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in PROGRAMS:
                found[top].add(module_name(path))
    return found


def owns(owner: str, module: str) -> bool:
    return module == owner or module.startswith(f"{owner}.")


def loaded_by(code: str) -> set[str]:
    """Run `code` in a fresh interpreter and return the top-level modules it left loaded."""
    names = "sorted({name.partition('.')[0] for name, module in sys.modules.items() if module})"
    tail = f"\nimport sys, json\nsys.stdout.write('\\n' + json.dumps({names}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.check_output([sys.executable, "-c", code + tail], text=True, env=environment, timeout=60)
    return set(json.loads(out.splitlines()[-1]))


def loaded_when_typed(program: str, *words: str) -> set[str]:
    """Run `program` as a person does and return the top-level modules that the interpreter reports to have loaded."""
    command = [sys.executable, "-X", "importtime", "-m", program, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {parts[2].strip().partition(".")[0] for parts in lines if len(parts) == 3}


def test_the_directions_of_imports_are_kept() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize("library", sorted(users()))
def test_each_library_is_imported_by_its_owners_alone(library: str) -> None:
    assert library in OWNERS, f"{library} has no owner: name one in OWNERS"
    strangers = {module for module in users()[library] if not any(owns(owner, module) for owner in OWNERS[library])}
    assert strangers == set()


def test_every_owner_in_the_table_imports_its_library() -> None:
    found = users()
    idle = {
        (library, owner)
        for library, owners in OWNERS.items()
        for owner in owners
        if not any(owns(owner, module) for module in found.get(library, set()))
    }
    assert idle == set()


@pytest.mark.parametrize("program", ["edge_agent.cli", "tsh.cli"])
def test_the_device_s_and_the_person_s_programs_load_nothing_of_the_controller(program: str) -> None:
    assert loaded_by(f"import {program}") & set(CONTROLLER_ONLY) == set()


@pytest.mark.parametrize(
    "command", ["--help", "ssh --help", "login --help", "play --help", "recordings ls -h", "version"]
)
def test_asking_tsh_for_help_loads_no_cryptography(command: str) -> None:
    loaded = loaded_when_typed("tsh", *command.split())
    assert loaded & {"asyncssh", "cryptography", "asyncio", "ssl", "yaml", "zstandard"} == set()
    assert "click" in loaded


def test_asking_the_agent_for_help_loads_no_ssh() -> None:
    assert loaded_when_typed("edge_agent", "--help") & {"asyncssh", "cryptography", "yaml"} == set()


def test_everything_of_the_agent_and_tsh_together_loads_nothing_of_the_controller() -> None:
    names = [module_name(path) for path, _ in modules("edge_agent", "tsh") if path.name != "__main__.py"]
    assert loaded_by(f"import {', '.join(names)}") & set(CONTROLLER_ONLY) == set()
