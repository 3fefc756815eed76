"""Installing on a made device, from a tree made by hand, at a simulated controller: what is refused leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.edge_agent.rollout.made_device import MadeDevice
from tests.harness.faketime import year_1970, year_2040
from tests.harness.made_tree import make_tree
from tests.harness.simulated_controller import TOKEN, SimulatedController

pytestmark = pytest.mark.system


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "unpacked", "1.0")


def arguments(controller: SimulatedController, tree: Path, *more: str) -> list[str]:
    return [
        *("install", "--tree", str(tree), "--controller", controller.address, "--token", TOKEN),
        *("--ca-pin", controller.tls_ca.pin, "--nodename", "kiosk", *more),
    ]


def test_it_joins_places_starts_and_says_so_once_it_is_online(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    done = device.run(*arguments(own_controller, tree))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "installed, and online as kiosk in the cluster harbour"
    layout = device.layout
    assert (device.current, device.unit_version) == ("1.0", "1.0")
    assert str(Path(layout.command).readlink()) == f"{layout.current}/bin/edge-agent"
    assert subprocess.check_output([layout.command, "version"], text=True).startswith("Skerry v1.0 ")
    settings = Path(layout.settings).read_text()
    assert f"\ncontroller: {own_controller.address}\n" in settings
    assert f"\nca_pin: {own_controller.tls_ca.pin}\n" in settings
    assert "installed, and online as kiosk" in Path(layout.log).read_text()
    assert TOKEN not in Path(layout.log).read_text() + settings
    assert Path(layout.data, "identity.json").exists()
    assert not Path(layout.lock).exists()
    assert device.versions() == ["1.0"]
    before = device.footprint()
    again = device.run(*arguments(own_controller, tree, "--labels", "site=north"))
    assert again.returncode == 0, again.stderr
    unused = "the name, the labels, the token; the token is still good for another device"
    assert f"not used, as who this device is was settled when it joined: {unused}" in again.stderr
    after = device.footprint()
    log = "var/log/skerry-install.log"
    assert {**after, log: ""} == {**before, log: ""}


def test_a_token_in_its_file_is_used_and_removed(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    token = Path(device.layout.token)
    token.parent.mkdir(parents=True)
    token.write_text(f"{TOKEN}\n")
    words = arguments(own_controller, tree, "--no-start")
    at = words.index("--token")
    done = device.run(*words[:at], *words[at + 2 :])
    assert done.returncode == 0, done.stderr
    assert "installed as kiosk, and not started" in done.stdout
    assert not token.exists()
    assert not Path(device.layout.status).exists()


REFUSED = {
    "a token that is spent": (("--token", "insecure-spent-token-0123456789"), "refused: "),
    "no token at all": (("--token", "x"), "--token: "),
    "a pin of another controller": (("--ca-pin", f"sha256:{'0' * 64}"), "did not prove to be the controller"),
    "a pin that is none": (("--ca-pin", "sha256:1"), "--ca-pin: "),
    "labels that are none": (("--labels", "="), "--labels: "),
    "a controller that is none": (("--controller", ":"), "--controller: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_controller_or_the_command_line_refuses_is_one_line_and_the_device_as_it_was(
    own_controller: SimulatedController, device: MadeDevice, tree: Path, name: str
) -> None:
    option, line = REFUSED[name]
    words = arguments(own_controller, tree)
    if option[0] in words:
        words[words.index(option[0]) + 1] = option[1]
    else:
        words += option
    before = device.footprint()
    done = device.run(*words)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stdout + done.stderr
    assert line in done.stderr
    assert device.footprint() == before


def test_a_tree_for_another_machine_is_refused(
    own_controller: SimulatedController, device: MadeDevice, tmp_path: Path
) -> None:
    before = device.footprint()
    done = device.run(*arguments(own_controller, make_tree(tmp_path / "t", "1.0", architecture="riscv64")))
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: this version is made for riscv64, and this device is ")
    assert device.footprint() == before


def test_a_device_without_systemd_is_refused(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    Path(device.layout.booted).rmdir()
    before = device.footprint()
    done = device.run(*arguments(own_controller, tree))
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: systemd does not run this device")
    assert device.footprint() == before


def test_a_tree_that_is_damaged_is_refused(own_controller: SimulatedController, device: MadeDevice, tree: Path) -> None:
    (tree / "lib/shared/module.py").unlink()
    before = device.footprint()
    done = device.run(*arguments(own_controller, tree))
    assert done.returncode == 1
    assert "is damaged: lib/shared/module.py is not what its MANIFEST says" in done.stderr
    assert device.footprint() == before


def test_a_disk_that_is_full_is_refused(own_controller: SimulatedController, device: MadeDevice, tree: Path) -> None:
    opt = Path(device.layout.trees).parents[1]
    with mounted(opt, "2m"):
        before = device.footprint()
        done = device.run(*arguments(own_controller, tree))
        assert done.returncode == 1
        assert done.stderr.startswith("ERROR: there is too little space on the disk: ")
        assert len(done.stderr.splitlines()) == 1
        assert device.footprint() == before
        assert own_controller.joins == []


def test_what_an_installation_that_was_cut_off_left_takes_no_room_from_the_next(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    opt = Path(device.layout.trees).parents[1]
    with mounted(opt, "30m"):
        left = Path(device.layout.staged("0.9"))
        left.mkdir(parents=True)
        left.joinpath("half").write_bytes(bytes(25 * 2**20))
        done = device.run(*arguments(own_controller, tree, "--no-start"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not left.exists()


def test_a_disk_that_turns_out_full_while_copying_leaves_the_device_as_it_was(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    opt = Path(device.layout.trees).parents[1]
    with mounted(opt, "20m,nr_inodes=6"):  # there is room, and no place for so many files
        before = device.footprint()
        done = device.run(*arguments(own_controller, tree))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stdout + done.stderr
        assert done.stderr == "ERROR: cannot install: No space left on device; the device is as it was\n"
        assert device.footprint() == before
        assert own_controller.joins == []


@pytest.mark.parametrize(("clock", "says"), [(year_1970, "1970-01-01"), (year_2040, "2040-06-01")])
def test_a_clock_that_is_wrong_by_years_is_warned_of_and_stops_nothing(
    own_controller: SimulatedController,
    device: MadeDevice,
    tree: Path,
    clock: Callable[[], dict[str, str]],
    says: str,
) -> None:
    done = device.run(*arguments(own_controller, tree, "--no-start"), more=clock())
    assert done.returncode == 0, done.stdout + done.stderr
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"WARNING: this device's clock says {says} ")
    assert " years " in warning
    assert device.current == "1.0"


def test_a_controller_that_nobody_answers_for_is_given_up_and_the_device_is_as_it_was(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    before = device.footprint()
    words = arguments(own_controller, tree)
    words[words.index("--controller") + 1] = "127.0.0.1:9"
    done = device.run(*words, "--join-wait", "1s")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "ERROR: cannot join: 127.0.0.1:9 cannot be reached: Connection refused" in done.stderr
    assert device.footprint() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_interrupted_while_joining_leaves_the_device_as_it_was(
    own_controller: SimulatedController, device: MadeDevice, tree: Path, number: signal.Signals
) -> None:
    before = device.footprint()
    words = arguments(own_controller, tree)
    words[words.index("--controller") + 1] = "127.0.0.1:9"
    begun = device.begin(*words)
    assert begun.stdout
    for line in begun.stdout:
        if line.startswith("not joined yet: "):
            break
    begun.send_signal(number)
    begun.communicate(timeout=60)
    assert begun.returncode == 128 + number
    assert device.footprint() == before


def test_the_token_is_not_to_be_read_off_the_process_that_installs(device: MadeDevice, tree: Path) -> None:
    words = ["--controller", "127.0.0.1:9", "--token", TOKEN, f"--token={TOKEN}", "--ca-pin", f"sha256:{'0' * 64}"]
    begun = device.begin("install", "--tree", str(tree), *words)
    assert begun.stdout
    for line in begun.stdout:
        if line.startswith("not joined yet: "):
            break
    shown = Path(f"/proc/{begun.pid}/cmdline").read_text()
    begun.terminate()
    begun.communicate(timeout=60)
    assert "install" in shown
    assert TOKEN not in shown


# --- half-finished, and there already -------------------------------------------------------------------------------


def test_an_installation_that_was_cut_off_is_gone_on_with_without_a_token(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    assert device.run(*arguments(own_controller, tree, "--no-start")).returncode == 0
    layout = device.layout
    identity = Path(layout.data, "identity.json").read_bytes()
    for path in (
        layout.current,
        layout.command,
        layout.unit,
        layout.settings,
    ):  # as if it had been cut off before these
        Path(path).unlink()
    Path(layout.tree("1.0"), "lib/shared/module.py").write_text("half a file")
    Path(layout.staged("1.0")).mkdir()
    words = arguments(own_controller, tree)
    at = words.index("--token")
    done = device.run(*words[:at], *words[at + 2 :])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this device has joined already, as kiosk: going on from there" in done.stdout
    assert "the token" not in done.stdout + done.stderr
    assert len(own_controller.joins) == 1
    assert Path(layout.data, "identity.json").read_bytes() == identity
    assert device.versions() == ["1.0"]
    assert Path(layout.tree("1.0"), "lib/shared/module.py").read_text() == "VERSION = '1.0'\n"
    assert device.runs("1.0")


def test_a_device_of_another_controller_is_not_taken_over(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    assert device.run(*arguments(own_controller, tree, "--no-start")).returncode == 0
    before = device.footprint()
    words = arguments(own_controller, tree)
    words[words.index("--controller") + 1] = "other.example.com:3080"
    done = device.run(*words)
    assert done.returncode == 1
    assert "this device is kiosk of the controller" in done.stderr
    assert device.footprint() == before


def test_another_version_that_is_installed_is_not_written_over(
    own_controller: SimulatedController, device: MadeDevice, tree: Path, tmp_path: Path
) -> None:
    assert device.run(*arguments(own_controller, tree, "--no-start")).returncode == 0
    before = device.footprint()
    done = device.run(*arguments(own_controller, make_tree(tmp_path / "newer", "1.1")))
    assert done.returncode == 1
    assert "ERROR: version 1.0 is installed: upgrade it with `edge-agent upgrade`" in done.stderr
    assert device.footprint() == before


def test_a_service_that_does_not_come_online_is_installed_and_said_so(
    own_controller: SimulatedController, device: MadeDevice, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "offline", "1.0", "offline")
    done = device.run(*arguments(own_controller, tree, "--wait", "2s"))
    assert done.returncode == 3
    assert done.stderr.startswith("WARNING: installed as kiosk, and not online yet (offline as kiosk")


def test_a_service_that_cannot_be_started_is_installed_and_said_so(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    device.interpose('[ "$1" != start ] || { echo "Access denied" >&2; exit 4; }')
    done = device.run(*arguments(own_controller, tree))
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.startswith("WARNING: installed as kiosk, and could not be started: systemctl start ")
    assert device.current == "1.0"
    assert not Path(device.layout.token).exists()


def test_a_service_that_waited_to_join_does_so_again_where_the_installation_is_refused(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    device.have("1.0")
    done = device.run(*arguments(own_controller, tree, "--token", "insecure-spent-token-0123456789"))
    assert done.returncode == 1, done.stdout + done.stderr
    device.wait_for(lambda: device.runs("1.0"), "the service to run again")


# --- removal --------------------------------------------------------------------------------------------------------


def test_a_purge_leaves_nothing_and_a_removal_who_the_device_is(
    own_controller: SimulatedController, device: MadeDevice, tree: Path
) -> None:
    before = device.footprint()
    assert device.run(*arguments(own_controller, tree)).returncode == 0
    pid = json.loads(Path(device.layout.status).read_text())["pid"]
    removed = device.run("remove")
    assert removed.returncode == 0, removed.stderr
    device.wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the service's end")
    left = {name for name in device.footprint() if name not in before}
    assert left == {
        *("etc/skerry", "etc/skerry/edge_agent.yaml", "var/lib/skerry-agent", "var/log/skerry-install.log"),
        *(name for name in left if name.startswith("var/lib/skerry-agent/")),
        "etc/systemd/system/multi-user.target.wants",
    }
    again = device.run(*arguments(own_controller, tree))
    assert again.returncode == 0, again.stderr
    assert len(own_controller.joins) == 1
    (device.root / "var/tmp/skerry-install.1.AbCdEf/bin").mkdir(parents=True)
    for name in ("refused", "before"):
        Path(f"{device.layout.settings}.{name}").touch()
    purged = device.run("remove", "--purge")
    assert purged.returncode == 0, purged.stderr
    assert "the controller still lists it: tctl nodes rm kiosk" in purged.stdout
    after = device.footprint()
    after.pop("etc/systemd/system/multi-user.target.wants")  # the stand-in's
    assert after.pop("var/tmp") == "directory"
    assert after == before
    gone = device.run("remove", "--purge")
    assert (gone.returncode, "tctl" in gone.stdout) == (0, False)


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """Have a small file system at `place`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={options}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
