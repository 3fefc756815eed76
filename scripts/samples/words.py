"""What the samples are filled with: names, paths, sentences that programs print. Chosen anew each time."""

from __future__ import annotations

from random import Random

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FILES = (
    ".bash_history .bash_logout .bashrc .cache .config .gitignore .local .profile .python_history .ssh .viminfo "
    "Dockerfile LICENSE Makefile README.md app.log app.py backup.tar.gz bin boot build.sh CHANGELOG.md cmdline.txt "
    "config.json config.txt config.yaml data data.csv dev docker-compose.yml docs etc example.conf firmware.bin home "
    "index.html init.d lib lib64 logs main.c main.py media mnt models notes.txt opt package.json proc pyproject.toml "
    "requirements.txt root run run.sh sbin scripts server.key settings.py setup.py snap src srv static sys templates "
    "test.py tests tmp update.sh usr utils.py var venv wpa_supplicant.conf main.go go.mod index.js node_modules"
).split()
PACKAGES = (
    "base-files bash bind9-libs bsdutils ca-certificates coreutils cron curl dbus debconf docker-ce dpkg e2fsprogs "
    "findutils gcc-12 git gnupg grep gzip hostname htop ifupdown init iproute2 iptables kmod less libapt-pkg6.0 "
    "libc-bin libc6 libcurl4 libgcc-s1 libglib2.0-0 libgnutls30 liblzma5 libncurses6 libpam-modules libpython3-stdlib "
    "libssl3 libstdc++6 libsystemd0 libudev1 libxml2 linux-image-amd64 linux-libc-dev locales login logrotate lsof "
    "make mosquitto mount nano net-tools netbase nginx ntp openssh-client openssh-server openssl passwd perl-base "
    "procps python3 python3-dev python3-minimal python3-pip python3-venv rsync rsyslog sed sqlite3 strace sudo "
    "systemd systemd-sysv tar tcpdump tmux tzdata udev unzip util-linux vim vim-common wget wpasupplicant xz-utils "
    "zlib1g"
).split()
SERVICES = (
    "cron dbus docker getty@tty1 mosquitto networking nginx ntp rsyslog ssh systemd-journald systemd-logind "
    "systemd-networkd systemd-resolved systemd-timesyncd systemd-udevd telegraf wpa_supplicant edge-agent"
).split()
PROCESSES = (
    "/sbin/init;[kthreadd];[rcu_sched];[kworker/0:1-events];[ksoftirqd/0];/lib/systemd/systemd-journald;"
    "/lib/systemd/systemd-udevd;/usr/sbin/cron -f;/usr/bin/dbus-daemon --system --address=systemd:;"
    "/usr/sbin/rsyslogd -n -iNONE;/lib/systemd/systemd-logind;sshd: /usr/sbin/sshd -D [listener];"
    "/usr/bin/python3 /opt/app/main.py;nginx: master process /usr/sbin/nginx;nginx: worker process;"
    "/usr/bin/dockerd -H fd://;/usr/bin/containerd;/usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf;-bash;ps aux;"
    "/usr/bin/node server.js;[migration/0];[kswapd0];/usr/sbin/NetworkManager --no-daemon"
).split(";")
DIRECTORIES = (
    "/etc /etc/nginx /etc/ssh /etc/systemd/system /home /opt /opt/app /proc /root /srv /tmp /usr/bin /usr/lib "
    "/usr/lib/python3/dist-packages /usr/lib/x86_64-linux-gnu /usr/local/bin /usr/local/lib /usr/sbin /usr/share "
    "/usr/share/doc /var/cache/apt/archives /var/lib/dpkg /var/lib/docker /var/log /var/log/nginx /var/www/html"
).split()
NOTES = (
    "Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:{token}",
    "pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)",
    "pam_unix(cron:session): session closed for user root",
    "Started Session {small} of User {user}.",
    "Received disconnect from {ip} port {port}:11: disconnected by user",
    "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
    "Failed password for invalid user {user} from {ip} port {port} ssh2",
    "Starting Daily apt download activities...",
    "apt-daily.service: Deactivated successfully.",
    "Finished Daily apt download activities.",
    "Main process exited, code=exited, status=1/FAILURE",
    "Scheduled restart job, restart counter is at {small}.",
    "{service}.service: Failed with result 'exit-code'.",
    "connection from {ip} accepted",
    'level=info msg="request handled" method=GET path=/api/v1/status status=200 duration={small}ms',
    'level=warning msg="retrying in 5s" error="dial tcp {ip}:{port}: connect: connection refused"',
    "[INFO] sensor {small}: temperature={small}.{small} humidity={small}.{small}",
    "[ERROR] timeout while reading from /dev/ttyUSB0",
    "New client connected from {ip}:{port} as {token} (p2, c1, k60).",
    '{ip} - - "GET /index.html HTTP/1.1" 200 {number} "-" "Mozilla/5.0 (X11; Linux x86_64)"',
)
CODE = (
    "import os\nimport sys\nimport json\nimport logging\nfrom pathlib import Path\n\nlogger = logging.getLogger(__name__)\n"
    "\n\nclass Device:\n    def __init__(self, name, config=None):\n        self.name = name\n"
    "        self.config = config or {}\n        self._running = False\n\n    def start(self):\n"
    '        """Start the device."""\n        if self._running:\n            raise RuntimeError("already running")\n'
    "        for key, value in self.config.items():\n            self.set(key, value)\n        return True\n\n"
    "def main(argv=None):\n    parser = argparse.ArgumentParser(description=__doc__)\n"
    '    parser.add_argument("--config", type=Path, default=None, help="path to the configuration file")\n'
    '    args = parser.parse_args(argv)\n    with open(args.config, encoding="utf-8") as f:\n        data = json.load(f)\n'
    "    try:\n        run(data)\n    except KeyboardInterrupt:\n        return 1\n    finally:\n        print(len(data))\n"
    '\n\nif __name__ == "__main__":\n    sys.exit(main())\n#include <stdio.h>\n#include <stdlib.h>\n'
    "#include <string.h>\n\nint main(int argc, char **argv)\n{\n    char buf[256];\n    int i, n = 0;\n\n"
    '    for (i = 0; i < argc; i++) {\n        printf("%d: %s\\n", i, argv[i]);\n        n += strlen(argv[i]);\n    }\n'
    "    if (n == 0) {\n        return EXIT_FAILURE;\n    }\n    return 0;\n}\n"
    "#!/bin/sh\nset -e\n\n# The default configuration.\nserver {\n    listen 80 default_server;\n"
    "    root /var/www/html;\n    location / {\n        try_files $uri $uri/ =404;\n    }\n}\n"
    "[Unit]\nDescription=Application\nAfter=network-online.target\n\n[Service]\nType=simple\n"
    "ExecStart=/usr/bin/python3 /opt/app/main.py\nRestart=on-failure\nUser=app\n\n[Install]\nWantedBy=multi-user.target\n"
    "PermitRootLogin no\nPasswordAuthentication no\n#Port 22\nAcceptEnv LANG LC_*\nexport PATH=$PATH:/usr/local/bin\n"
    "nameserver 127.0.0.53\n127.0.0.1 localhost\n::1     ip6-localhost ip6-loopback\n"
).splitlines()
ERRORS = (
    "bash: {file}: command not found",
    "-bash: cd: {file}: No such file or directory",
    "cat: {directory}/{file}: Permission denied",
    "ls: cannot access '{file}': No such file or directory",
    "rm: cannot remove '{file}': No such file or directory",
    "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
    "Failed to restart {service}.service: Unit {service}.service not found.",
    "cp: -r not specified; omitting directory '{file}'",
    "Try '{file} --help' for more information.",
    "ssh: connect to host {host} port 22: Connection timed out",
    "curl: (7) Failed to connect to {ip} port 80: Connection refused",
    "{file}: error while loading shared libraries: libssl.so.3: cannot open shared object file",
    "Error response from daemon: No such container: {token}",
    "Usage: {file} [OPTION]... [FILE]...",
)


def fill(random: Random, text: str) -> str:
    """Return `text` with its braces filled in."""
    return text.format(
        user=random.choice(("admin", "pi", "root", "alice")),
        host=random.choice(("gateway-17", "edge-04", "raspberrypi")),
        ip=address(random),
        port=random.randrange(1024, 65535),
        token=token(random, 12),
        small=random.randrange(100),
        number=random.randrange(100000),
        service=random.choice(SERVICES),
        file=random.choice(FILES),
        directory=random.choice(DIRECTORIES),
        package=random.choice(PACKAGES),
    )


def address(random: Random) -> str:
    """Return an IPv4 address as networks at home and in companies have them."""
    lead = random.choice(("192.168.1.", "10.0.0.", "172.17.0.", "192.168.178.", "10.42.7."))
    return f"{lead}{random.randrange(1, 255)}"


def token(random: Random, size: int) -> str:
    """Return hexadecimal digits, as in a hash."""
    return f"{random.getrandbits(4 * size):0{size}x}"


def moment(random: Random) -> str:
    """Return a date and time as `ls` and syslog write them."""
    return f"{random.choice(MONTHS)} {random.randrange(1, 29):2} {clock(random)[:5]}"


def clock(random: Random) -> str:
    """Return a time of day."""
    return f"{random.randrange(24):02}:{random.randrange(60):02}:{random.randrange(60):02}"


def log_line(random: Random, host: str) -> str:
    """Return a line as a system's log has it."""
    name = random.choice((*SERVICES, "kernel", "sshd", "CRON", "systemd", "sudo", "app"))
    note = fill(random, random.choice(NOTES))
    return f"{moment(random)}:{random.randrange(60):02} {host} {name}[{random.randrange(1, 40000)}]: {note}"
