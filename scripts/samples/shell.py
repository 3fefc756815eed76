"""What is done in a shell: files, packages, services, logs, networks, versions of source."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from samples import words
from samples.desk import Desk
from samples.words import CODE, DIRECTORIES, ERRORS, FILES, MONTHS, PACKAGES, PROCESSES, SERVICES, fill

Act = Callable[[Desk], None]


def look_around(desk: Desk) -> None:
    """List and read files."""
    random = desk.random
    there = random.choice(DIRECTORIES)
    desk.cwd = there
    desk.command(f"cd {there}")
    desk.command(random.choice(("ls", "ls --color", f"ls {there}/")), _columns(random))
    desk.command(random.choice(("ls -l", "ls -la", "ls -lh", "ll", "ls -lt | head")), _long_list(random))
    desk.command(f"cat {random.choice(FILES)}", _code(random, random.randrange(3, 25)))
    desk.command(random.choice(("pwd", "echo $HOME", "which python3")), there)


def search(desk: Desk) -> None:
    """Find files and lines."""
    random = desk.random
    found = [f"{random.choice(DIRECTORIES)}/{random.choice(FILES)}" for _ in range(random.randrange(2, 20))]
    desk.command(f"find . -name '*.{random.choice(('py', 'conf', 'log', 'txt'))}' -type f", found)
    lines = [_hit(random, path) for path in found]
    desk.command(f"grep -rn {random.choice(('import', 'error', 'listen', 'root'))} . | head -20", lines)
    sizes = [f"{random.randrange(1, 999)}{random.choice('KMG')}\t./{random.choice(FILES)}" for _ in range(8)]
    desk.command("du -sh * | sort -h | tail", sizes)
    desk.command(f"wc -l {random.choice(FILES)}", f" {random.randrange(5000)} {random.choice(FILES)}")


def packages(desk: Desk) -> None:
    """Update and install software."""
    random, chosen = desk.random, desk.random.sample(PACKAGES, 6)
    base = "http://packages.example.org/debian bookworm"
    desk.type("sudo apt update")
    desk.enter()
    hits = [f"{random.choice(('Hit', 'Get'))}:{n} {base}{s} InRelease" for n, s in enumerate(("", "-updates"), 1)]
    desk.show_lines(hits, 300)
    reading = ["Reading package lists... Done", "Building dependency tree... Done", "Reading state information... Done"]
    desk.show_lines([*reading, f"{random.randrange(90)} packages can be upgraded. Run 'apt list --upgradable'"], 200)
    desk.prompt()
    desk.type(f"sudo apt install {chosen[0]}")
    desk.enter()
    desk.show_lines(reading, 150)
    desk.show_lines(_to_install(random, chosen))
    desk.type("y")
    desk.enter()
    desk.show_lines(_installing(random, chosen), 120)
    desk.prompt()
    listed = [f"{p}/stable,now {_version(random)} amd64 [installed]" for p in chosen]
    desk.command("apt list --installed | head", ["Listing... Done", *listed])
    desk.command(f"dpkg -l | grep {chosen[1]}", [_installed(random, p) for p in chosen])


def services(desk: Desk) -> None:
    """Ask after services and their logs."""
    random, name = desk.random, desk.random.choice(SERVICES)
    desk.command(f"sudo systemctl restart {name}", think=1)
    desk.command(f"systemctl status {name}", _status(random, name, desk.host))
    log = [words.log_line(random, desk.host) for _ in range(random.randrange(4, 22))]
    desk.command(f"journalctl -u {name} -n {len(log)} --no-pager", log)
    units = [f"  {s}.service{' ' * (30 - len(s))} loaded active running {s} service" for s in SERVICES[:8]]
    heads = ["  UNIT                               LOAD   ACTIVE SUB     DESCRIPTION"]
    desk.command("systemctl list-units --type=service", [*heads, *units, "", f"{len(units)} loaded units listed."])
    boot = [f"[{random.randrange(90):5}.{random.randrange(10**6):06}] {_kernel(random)}" for _ in range(12)]
    desk.command("dmesg | tail -12", boot)


def follow(desk: Desk) -> None:
    """Watch a log grow, until Ctrl-C."""
    random = desk.random
    desk.type(random.choice(("tail -f /var/log/syslog", "journalctl -f", "docker logs -f app")))
    desk.enter()
    desk.show_lines([words.log_line(random, desk.host) for _ in range(10)])
    desk.show_lines([words.log_line(random, desk.host) for _ in range(random.randrange(5, 25))], 900)
    desk.show("^C\n")
    desk.prompt()


def machine(desk: Desk) -> None:
    """Ask after the machine itself."""
    random = desk.random
    desk.command(
        "uname -a", f"Linux {desk.host} 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 x86_64 GNU/Linux"
    )
    load = ", ".join(f"{random.random() * 2:.2f}" for _ in range(3))
    desk.command("uptime", f" {words.clock(random)} up {random.randrange(200)} days,  1 user,  load average: {load}")
    desk.command("df -h", _disks(random))
    heads = ["               total        used        free      shared  buff/cache   available"]
    memory = [f"{n:<8}{random.randrange(9999):>12}{random.randrange(9999):>12}{0:>12}" for n in ("Mem:", "Swap:")]
    desk.command(random.choice(("free -m", "free -h")), [*heads, *memory])
    desk.command("ps aux", ["USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND", *_ps(random)])
    desk.command(
        "cat /etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian'
    )


def network(desk: Desk) -> None:
    """Look at addresses, and ping."""
    random, ip = desk.random, words.address(desk.random)
    desk.command("ip addr", _interfaces(random))
    desk.type(f"ping -c 6 {ip}")
    desk.enter()
    desk.show(f"PING {ip} ({ip}) 56(84) bytes of data.\n", 20)
    times = [f"{random.random() * 30:.{random.choice((1, 2))}f}" for _ in range(6)]
    desk.show_lines([f"64 bytes from {ip}: icmp_seq={n} ttl=64 time={t} ms" for n, t in enumerate(times, 1)], 1000)
    desk.show(f"\n--- {ip} ping statistics ---\n6 packets transmitted, 6 received, 0% packet loss, time 5007ms\n"
              f"rtt min/avg/max/mdev = {times[0]}/{times[1]}/{times[2]}/0.512 ms\n")  # fmt: skip
    desk.prompt()
    desk.command("ss -tlnp", [
        "State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess",
        *(f"LISTEN 0      {random.choice((128, 511, 4096))}          0.0.0.0:{random.choice((22, 80, 443, 1883, 8080))}"
          f"      0.0.0.0:*" for _ in range(5)),
    ])  # fmt: skip
    desk.command(f"curl -I http://{ip}/", ["HTTP/1.1 200 OK", "Server: nginx/1.22.1", "Content-Type: text/html"])


def versions(desk: Desk) -> None:
    """Work with git."""
    random, name = desk.random, desk.random.choice(FILES)
    status = ["On branch main", "Your branch is up to date with 'origin/main'.", "", "Changes not staged for commit:",
              '  (use "git add <file>..." to update what will be committed)',
              '  (use "git restore <file>..." to discard changes in working directory)',
              f"\t\x1b[31mmodified:   {name}\x1b[m", "",
              'no changes added to commit (use "git add" and/or "git commit -a")']  # fmt: skip
    desk.command("git status", status)
    desk.command("git diff", _diff(random, name))
    desk.command(f"git add {name}", think=1)
    count = random.randrange(1, 30)
    made = [f"[main {words.token(random, 7)}] Fix the {name}", f" 1 file changed, {count} insertions(+), 1 deletion(-)"]
    desk.command(f"git commit -m 'Fix the {name}'", made)
    log = [f"\x1b[33m{words.token(random, 7)}\x1b[m {random.choice(('Fix', 'Add', 'Update', 'Remove'))} "
           f"{random.choice(FILES)}" for _ in range(12)]  # fmt: skip
    desk.command("git log --oneline | head -12", log)
    desk.command(
        "git push", ["Enumerating objects: 5, done.", "Counting objects: 100% (5/5), done.", "Everything up-to-date"]
    )


def containers(desk: Desk) -> None:
    """Work with Docker."""
    random = desk.random
    heads = "CONTAINER ID   IMAGE          COMMAND                  CREATED        STATUS        PORTS     NAMES"
    rows = [f'{words.token(random, 12)}   {random.choice(SERVICES)}:latest   "/docker-entrypoint.…"   '
            f"{random.randrange(2, 9)} weeks ago   Up {random.randrange(2, 9)} days   0.0.0.0:80->80/tcp   app"
            for _ in range(random.randrange(1, 6))]  # fmt: skip
    desk.command("docker ps", [heads, *rows])
    log = [fill(random, random.choice(words.NOTES)) for _ in range(12)]
    desk.command("docker logs --tail 12 app", log)
    desk.command("docker compose up -d", ["[+] Running 2/2", " \x1b[32m✔\x1b[0m Container app  \x1b[32mStarted\x1b[0m"])


def mistakes(desk: Desk) -> None:
    """Get it wrong, more than once."""
    for _ in range(desk.random.randrange(2, 7)):
        line = desk.random.choice(
            ("cd", "cat", "ls", "sudo", "rm", "./", "vi", "cp -r", "mkdir -p", "chmod +x", "sudo cat")
        )
        error = fill(desk.random, desk.random.choice(ERRORS))
        desk.command(f"{line} {desk.random.choice(FILES)}", error, think=1.5)


def _columns(random: Random) -> list[str]:
    names = sorted(random.sample(FILES, random.randrange(4, 30)))
    shown = [_coloured(random, name) for name in names]
    return ["  ".join(shown[at : at + 6]) for at in range(0, len(shown), 6)]


def _coloured(random: Random, name: str) -> str:
    if "." in name and not name.startswith("."):
        return name
    return f"\x1b[0m\x1b[01;{random.choice((34, 32, 36))}m{name}\x1b[0m"


def _long_list(random: Random) -> list[str]:
    modes = ("-rw-r--r-- 1", "drwxr-xr-x 2", "-rwxr-xr-x 1", "lrwxrwxrwx 1", "-rw-r----- 1", "drwx------ 5")
    owner = random.choice(("root root", "pi pi    ", "admin admin", "root adm ", "www-data www-data"))
    names = [".", "..", *sorted(random.sample(FILES, random.randrange(4, 24)))]
    rows = [f"{random.choice(modes)} {owner} {random.choice((4096, random.randrange(10**6))):>7} "
            f"{words.moment(random)} {_coloured(random, name)}" for name in names]  # fmt: skip
    return [f"total {random.randrange(400)}", *rows]


def _code(random: Random, count: int) -> list[str]:
    at = random.randrange(len(CODE) - 5)
    return CODE[at : at + count]


def _hit(random: Random, path: str) -> str:
    line = random.choice(CODE).strip()
    if random.random() < 0.5:
        return f"{path}:{random.randrange(500)}:{line}"
    sign = "\x1b[36m\x1b[K:\x1b[m\x1b[K"
    return f"\x1b[35m\x1b[K{path}\x1b[m\x1b[K{sign}\x1b[32m\x1b[K{random.randrange(500)}\x1b[m\x1b[K{sign}{line}"


def _version(random: Random) -> str:
    return f"{random.randrange(9)}.{random.randrange(30)}.{random.randrange(9)}-{random.randrange(9)}+deb12u1"


def _to_install(random: Random, chosen: list[str]) -> list[str]:
    return [
        "The following additional packages will be installed:",
        f"  {' '.join(chosen[1:])}",
        "The following NEW packages will be installed:",
        f"  {' '.join(chosen)}",
        f"0 upgraded, {len(chosen)} newly installed, 0 to remove and {random.randrange(40)} not upgraded.",
        f"Need to get {random.randrange(9999)} kB of archives.",
        f"After this operation, {random.randrange(9999)} kB of additional disk space will be used.",
        "Do you want to continue? [Y/n] ",
    ]


def _installing(random: Random, chosen: list[str]) -> list[str]:
    lines = []
    for number, package in enumerate(chosen, 1):
        version = _version(random)
        lines += [
            f"Get:{number} http://packages.example.org/debian bookworm/main amd64 {package} amd64 {version} [{number}4.2 kB]",
            f"Selecting previously unselected package {package}.",
            f"Preparing to unpack .../{package}_{version}_amd64.deb ...",
            f"Unpacking {package} ({version}) ...",
            f"Setting up {package} ({version}) ...",
        ]
    return [*lines, "Processing triggers for man-db (2.11.2-2) ...", "Processing triggers for libc-bin (2.36-9) ..."]


def _installed(random: Random, package: str) -> str:
    return f"ii  {package:<24} {_version(random):<20} amd64        {package} library for Linux - shared tools"


def _status(random: Random, name: str, host: str) -> list[str]:
    on = random.random() < 0.8
    state = "\x1b[0;1;32mactive (running)\x1b[0m" if on else "\x1b[0;1;31mfailed\x1b[0m (Result: exit-code)"
    dot = f"\x1b[0;1;3{2 if on else 1}m●\x1b[0m"
    since = f"since Tue 2024-03-{random.randrange(10, 29)} {words.clock(random)} UTC; {random.randrange(60)}min ago"
    number = random.randrange(300, 30000)
    return [
        f"{dot} {name}.service - {name} service",
        f"     Loaded: loaded (/lib/systemd/system/{name}.service; enabled; preset: enabled)",
        f"     Active: {state} {since}",
        f"   Main PID: {number} ({name})",
        f"      Tasks: {random.randrange(1, 40)} (limit: 4915)",
        f"     Memory: {random.randrange(1, 99)}.{random.randrange(9)}M",
        f"        CPU: {random.randrange(9)}.{random.randrange(999):03}s",
        f"     CGroup: /system.slice/{name}.service",
        f"             └─{number} /usr/sbin/{name}",
        "",
        *(words.log_line(random, host) for _ in range(random.randrange(3, 10))),
    ]


def _kernel(random: Random) -> str:
    return random.choice((
        "usb 1-1.2: new high-speed USB device number 5 using xhci_hcd",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode. Quota mode: none.",
        "eth0: Link is Up - 1Gbps/Full - flow control rx/tx",
        "IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready",
        "Out of memory: Killed process 1234 (python3) total-vm:123456kB, anon-rss:12345kB",
        "systemd[1]: Inserted module 'autofs4'",
        "audit: type=1400 audit(1710000000.123:42): apparmor=\"STATUS\" operation=\"profile_load\"",
    ))  # fmt: skip


def _disks(random: Random) -> list[str]:
    names = (
        ("/dev/sda1", "/"),
        ("tmpfs", "/run"),
        ("udev", "/dev"),
        ("tmpfs", "/dev/shm"),
        ("/dev/mmcblk0p1", "/boot"),
    )
    rows = [f"{a:<15} {random.randrange(99):>4}G {random.randrange(99):>5}G {random.randrange(99):>5}G "
            f"{random.randrange(99):>3}% {b}" for a, b in names]  # fmt: skip
    return ["Filesystem      Size  Used Avail Use% Mounted on", *rows]


def _ps(random: Random) -> list[str]:
    chosen = random.sample(PROCESSES, random.randrange(6, 18))
    number, rows = 1, []
    for name in chosen:
        number += random.randrange(1, 900)
        rows.append(f"{random.choice(('root', 'pi', 'www-data', 'mosquitto')):<8} {number:>7}  {random.random() * 3:3.1f}"
                    f"  {random.random() * 9:3.1f} {random.randrange(10**6):>6} {random.randrange(10**5):>5} ?        "
                    f"{random.choice(('Ss', 'S', 'I<', 'Ssl', 'R+'))}   {random.choice(MONTHS)}{random.randrange(10, 29)}"
                    f"   {random.randrange(9)}:{random.randrange(60):02} {name}")  # fmt: skip
    return rows


def _interfaces(random: Random) -> list[str]:
    mac = ":".join(words.token(random, 2) for _ in range(6))
    return [
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000",
        "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00",
        "    inet 127.0.0.1/8 scope host lo",
        "       valid_lft forever preferred_lft forever",
        "    inet6 ::1/128 scope host",
        "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast state UP group default qlen 1000",
        f"    link/ether {mac} brd ff:ff:ff:ff:ff:ff",
        f"    inet {words.address(random)}/24 brd 192.168.1.255 scope global dynamic eth0",
        f"       valid_lft {random.randrange(86400)}sec preferred_lft {random.randrange(86400)}sec",
        f"    inet6 fe80::{words.token(random, 4)}:{words.token(random, 4)}/64 scope link",
    ]


def _diff(random: Random, name: str) -> list[str]:
    lines = [f"\x1b[1mdiff --git a/{name} b/{name}\x1b[m",
             f"\x1b[1mindex {words.token(random, 7)}..{words.token(random, 7)} 100644\x1b[m",
             f"\x1b[1m--- a/{name}\x1b[m", f"\x1b[1m+++ b/{name}\x1b[m",
             f"\x1b[36m@@ -{random.randrange(300)},7 +{random.randrange(300)},9 @@\x1b[m {random.choice(CODE)}"]  # fmt: skip
    for line in _code(random, random.randrange(5, 12)):
        sign = random.choice((" ", " ", "\x1b[31m-", "\x1b[32m+\x1b[m\x1b[32m"))
        lines.append(f"{sign}{line}\x1b[m" if sign != " " else f" {line}")
    return lines


ACTS: tuple[Act, ...] = (
    look_around, search, packages, services, follow, machine, network, versions, containers, mistakes,
)  # fmt: skip
