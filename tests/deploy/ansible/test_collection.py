"""The Ansible collection, as far as it can be judged without a device: that is for tests/system/rollout."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.config import load_config
from edge_agent.config import Options, load_settings
from tests.architecture.source import ROOT

COLLECTION = ROOT / "deploy/ansible"
ROLES = ("controller", "edge_agent")
PLAYBOOKS = sorted(path.name for path in (COLLECTION / "playbooks").glob("*.yml"))
BIN = ROOT / ".venv-ansible/bin"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the collection is installed as people install it."""
    home = tmp_path_factory.mktemp("home")
    run(home, "ansible-galaxy", "collection", "build", str(COLLECTION), "--output-path", str(home))
    (package,) = home.glob("skerry-edge-*.tar.gz")
    run(home, "ansible-galaxy", "collection", "install", "--offline", str(package))
    return home


def run(home: Path, *command: str) -> str:
    done = attempt(home, *command)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr} (make test installs Ansible)"
    return done.stdout


def attempt(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=COLLECTION, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip


def load(path: Path) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tasks_in(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        parts = [
            part
            for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks")
            for part in item.get(key, [])
        ]
        yield from tasks_in(parts)
        if not {"block", "hosts", "ansible.builtin.import_playbook"} & item.keys():
            yield item


def all_tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    paths = [
        path
        for role in ROLES
        for kind in ("tasks", "handlers")
        for path in (COLLECTION / "roles" / role / kind).glob("*.yml")
    ]
    for path in [*paths, *(COLLECTION / "playbooks").glob("*.yml")]:
        for task in tasks_in(load(path)):
            yield f"{path.relative_to(COLLECTION)}: {task.get('name')}", task


def test_every_playbook_is_found_by_its_name_and_can_be_read(home: Path) -> None:
    names = [f"skerry.edge.{playbook.removesuffix('.yml')}" for playbook in PLAYBOOKS]
    told = run(home, "ansible-playbook", "--syntax-check", "-i", "inventories/example/hosts.yml", *names)
    assert [playbook for playbook in PLAYBOOKS if f"/{playbook}" not in told] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_is_described_with_its_default(role: str) -> None:
    folder = COLLECTION / "roles" / role
    defaults = load(folder / "defaults/main.yml")
    described = load(folder / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert described.keys() == defaults.keys()
    made_of_others = {name for name, value in defaults.items() if isinstance(value, str) and "{{" in value}
    free = {f"{role}_version", *made_of_others}
    assert {name: spec.get("default") for name, spec in described.items() if name not in free} == {
        name: value for name, value in defaults.items() if name not in free
    }
    assert [name for name in free if "default" in described[name]] == []


def test_nothing_is_needed_but_ansible_itself() -> None:
    modules = {key for _, task in all_tasks() for key in task if "." in key}
    assert modules
    assert [name for name in modules if not name.startswith("ansible.builtin.")] == []


def test_whatever_holds_a_secret_is_not_logged() -> None:
    secret = re.compile(
        r"edge_agent_minted\['token'\]|'tokens', 'add'|users\W+add\b|"
        r"(controller_backup_passphrase|controller_tls_key|controller_master_key) \}"
    )
    holding = [(name, task) for name, task in all_tasks() if secret.search(str(task))]
    assert len(holding) >= 6
    assert [name for name, task in holding if task.get("no_log") is not True] == []


def test_no_handler_counts_on_being_rescued_for_ansible_runs_no_rescue_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in COLLECTION.glob("roles/*/handlers/main.yml")]
    included = [name for text in texts for name in re.findall(r"role_path }}/(\S+\.yml)", text)]
    texts += [path.read_text(encoding="utf-8") for name in included for path in COLLECTION.glob(f"roles/*/{name}")]
    assert len(texts) > len(ROLES)
    assert [text for text in texts if "rescue:" in text] == []


def test_settings_are_shown_to_nobody_who_looks_at_differences() -> None:
    settings = re.compile(r"controller\.yaml\.j2|edge_agent\.yaml\.j2")
    written = [(name, task) for name, task in all_tasks() if settings.search(str(task.get("ansible.builtin.template")))]
    assert len(written) == 3
    assert [name for name, task in written if task.get("diff") is not False] == []


def test_fleet_is_not_removed_because_nobody_said_which_devices(home: Path) -> None:
    done = attempt(home, "ansible-playbook", "-i", "inventories/example/hosts.yml", "skerry.edge.remove")
    assert done.returncode != 0
    assert "Say which devices with --limit" in done.stdout
    assert "See that it is said which" in done.stdout
    assert "PLAY [Agents]" not in done.stdout
    assert done.stdout.count("fatal: [") == 1, "it is the same for all, and is said once"


def test_a_controller_outside_of_the_limit_is_not_passed_over_in_silence(home: Path) -> None:
    one = ("-i", "inventories/example/hosts.yml", "--limit", "edge-3.skerry")
    done = attempt(home, "ansible-playbook", *one, "-e", "skerry_controller_too=true", "skerry.edge.remove")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "the controller, skerry.example.com, is outside of --limit" in said
    assert "--limit 'edge-3.skerry,skerry_controller'" in said
    assert "PLAY [Agents]" not in said


@pytest.mark.parametrize("playbook", ["check", "remove", "rollout", "upgrade", "upgrade_devices"])
def test_a_way_that_there_is_not_is_refused_before_anything_is_dialled(home: Path, playbook: str) -> None:
    inventory = ("-i", "inventories/example/hosts.yml", "-e", "skerry_via=tunnle", "-e", "skerry_all=true")
    done = attempt(home, "ansible-playbook", *inventory, f"skerry.edge.{playbook}")
    assert done.returncode != 0
    assert "skerry_via is ssh or tunnel, not 'tunnle'." in done.stdout
    assert done.stdout.count("fatal: [") == 1
    assert done.stdout.count("PLAY [") == 1
    assert "unreachable=1" not in done.stdout


def test_both_ways_and_none_that_is_named_are_ways(home: Path) -> None:
    hosts = {"edge-1.skerry": {"skerry_via": "ssh"}, "edge-2.skerry": {"skerry_via": "tunnel"}, "edge-3.skerry": {}}
    groups = {"skerry_controller": {"hosts": {"skerry.example.com": {}}}, "skerry_devices": {"hosts": hosts}}
    (home / "ways.yml").write_text(yaml.safe_dump(groups), encoding="utf-8")
    run(home, "ansible-playbook", "-i", str(home / "ways.yml"), "skerry.edge.beforehand")


PIN = f"sha256:{'0' * 64}"
EVERY_SETTING = {
    "controller_cluster_name": "harbour",
    "controller_public_addr": "skerry.example.com:443",
    "controller_ssh_public_addr": "ssh.example.com:22",
    "controller_tunnel_public_addr": "tunnel.example.com:443",
    "controller_mqtt_public_addr": "mqtt.example.com:8883",
    "controller_log_severity": "WARN",
    "controller_record_session": "off",
    "controller_record_input": True,
    "controller_locking_mode": "strict",
    "controller_recording_retention": {"age": "365d", "size": "100GiB"},
    "controller_drain_timeout": "30s",
    "controller_tls_certificate": "files/web.crt",
    "controller_tls_key": "files/web.key",
    "controller_master_key": "files/master-key",
    "controller_diag_addr": "",
    "controller_extra_settings": {"proxy_service": {"requests_per_minute": 600}, "ssh_service": {"enabled": True}},
}
ON_A_DEVICE = {
    "inventory_hostname_short": "edge-1",
    "edge_agent_controller": "skerry.example.com:3080",
    "edge_agent_settings": {"heartbeat_interval": 60, "log": {"severity": "WARN"}, "recording": {"spool_max": "64MiB"}},
    "edge_agent_written": {"ca_pin": PIN, "nodename": "of old"},
}
RENDERED = {
    "usual": ("controller", "controller.yaml.j2", {}),
    "every": ("controller", "controller.yaml.j2", EVERY_SETTING),
    "agent": ("edge_agent", "edge_agent.yaml.j2", ON_A_DEVICE),
    "backup": ("controller", "nightly-backup.sh.j2", {"controller_backup_directory": "/srv/it's here"}),
}


@pytest.fixture(scope="module")
def rendered(home: Path) -> Path:
    """A folder with what the templates become on hosts, all made in one run: Ansible starts slowly."""
    plays = []
    for name, (role, template, given) in RENDERED.items():
        folder = COLLECTION / "roles" / role
        task = {"src": str(folder / "templates" / template), "dest": str(home / name), "mode": "0600"}
        plays.append(
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": False,
                "vars_files": [str(folder / "defaults/main.yml"), str(folder / "vars/main.yml")],
                "tasks": [{"ansible.builtin.template": task, "vars": given}],
            }
        )
    (home / "render.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    run(home, "ansible-playbook", "-i", "localhost,", str(home / "render.yml"))
    return home


def test_a_controller_takes_the_settings_that_are_written_for_it(rendered: Path) -> None:
    config = load_config(rendered / "usual")
    assert config.cluster_name == "skerry"
    assert config.diag_listen == ("127.0.0.1", 3000)
    assert config.https_keypair is None


def test_a_controller_takes_every_setting_that_the_role_knows(rendered: Path) -> None:
    config = load_config(rendered / "every")
    assert (config.cluster_name, config.public.web) == ("harbour", ("skerry.example.com", 443))
    assert (config.record_session, config.record_input, config.locking_mode) == ("off", True, "strict")
    assert (config.requests_per_minute, config.ssh_service, config.diag_listen) == (600, True, None)
    assert config.https_keypair is not None
    assert config.https_keypair.key_file == Path("/etc/skerry/tls/web.key")
    assert config.recording_retention.size == 100 * 2**30


def test_an_agent_takes_the_settings_that_are_written_for_it(rendered: Path) -> None:
    settings = load_settings(Options(config=str(rendered / "agent")), euid=0)
    assert (settings.controller, settings.nodename) == (("skerry.example.com", 3080), "edge-1")
    assert (settings.ca_pins, settings.heartbeat, settings.severity) == ((PIN,), 60, "WARN")


def test_the_nightly_backup_is_a_script_wherever_backups_are_kept(rendered: Path) -> None:
    subprocess.run(["sh", "-n", str(rendered / "backup")], check=True)
    assert "cd '/srv/it'\"'\"'s here'\n" in (rendered / "backup").read_text(encoding="utf-8")


def test_what_is_handed_out_is_whole_and_names_no_machine(home: Path) -> None:
    (package,) = home.glob("skerry-edge-*.tar.gz")
    with tarfile.open(package) as archive:
        members = {member.name: member for member in archive.getmembers()}
        texts = {name: file.read().decode() for name in members if (file := archive.extractfile(name))}
    assert {f"playbooks/{name}" for name in PLAYBOOKS} <= members.keys()
    assert {"README.md", "CHANGELOG.md", "roles/controller/meta/argument_specs.yml"} <= members.keys()
    assert [name for name, text in texts.items() if str(ROOT) in text or str(home) in text] == []
