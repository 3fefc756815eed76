"""What takes the whole screen, or a shell of its own: editors, process lists, pagers, Python."""

from __future__ import annotations

from random import Random

from samples import words
from samples.desk import Desk
from samples.shell import Act
from samples.words import CODE, FILES, PROCESSES, SERVICES

_ALTERNATE, _BACK = "\x1b[?1049h\x1b[22;0;0t", "\x1b[?1049l\x1b[23;0;0t"
_ROWS = 24
_KEYWORDS = (
    "import",
    "from",
    "def",
    "class",
    "return",
    "if",
    "for",
    "with",
    "as",
    "None",
    "True",
    "False",
    "int",
    "char",
)


def vim(desk: Desk) -> None:
    """Edit a file in Vim: move, insert, search, write."""
    random, name = desk.random, desk.random.choice(FILES)
    desk.type(f"{random.choice(('vim', 'vi', 'sudo vim'))} {name}")
    desk.enter()
    desk.redraw(
        f"{_ALTERNATE}\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?12h\x1b[?12l\x1b[22;2t\x1b[22;1t", 60
    )
    desk.redraw("\x1b[27m\x1b[23m\x1b[29m\x1b[m\x1b[H\x1b[2J\x1b[?25l\x1b[24;1H"
                f'"{name}" {random.randrange(900)}L, {random.randrange(30000)}B', 40)  # fmt: skip
    desk.redraw("\x1b[2;1H▽\x1b[6n\x1b[2;1H  \x1b[3;1H\x1bPzz\x1b\\\x1b[0%m\x1b[6n\x1b[3;1H           \x1b[1;1H\x1b[>c"
                "\x1b]10;?\x07\x1b]11;?\x07", 5)  # fmt: skip
    body = "\r\n".join(_highlit(random, line) for line in _page(random))
    desk.redraw(f"\x1b[1;1H{body}\x1b[24;63H1,1\x1b[11CTop\x1b[1;1H\x1b[?25h", 20)
    row = 1
    for _ in range(random.randrange(4, 14)):
        row = _vim_step(desk, row)
    desk.redraw("\x1b[?25l\x1b[24;1H\x1b[K\x1b[24;1H:", 600)
    for key in random.choice(("wq", "x", "q!")):
        desk.redraw(key, random.randrange(80, 250))
    desk.redraw(f'\r"{name}" {random.randrange(900)}L, {random.randrange(30000)}B written', 90)
    desk.redraw(
        f"\r\r\r\n\x1b[?2004l\x1b[?1004l\x1b[>4;m\x1b[23;2t\x1b[23;1t\x1b[24;1H\x1b[K\x1b[24;1H\x1b[?1l\x1b>{_BACK}\x1b[?25h",
        30,
    )
    desk.prompt()


def _vim_step(desk: Desk, row: int) -> int:
    random = desk.random
    step = random.randrange(5)
    if step == 0:
        for _ in range(random.randrange(2, 9)):
            row = min(row + 1, _ROWS - 1)
            desk.redraw(f"\x1b[?25l\x1b[24;63H{row},1  \x1b[{row};1H\x1b[?25h", random.randrange(90, 300))
    elif step == 1:
        desk.redraw(
            f"\x1b[?25l\x1b[24;1H\x1b[1m-- INSERT --\x1b[m\x1b[24;13H\x1b[K\x1b[24;63H{row},5\x1b[10CTop\x1b[{row};5H\x1b[?25h",
            500,
        )
        for column, key in enumerate(random.choice(CODE), 5):
            desk.redraw(f"\x1b[?25l\x1b[24;65H{column}\x1b[{row};{column}H{key}\x1b[?25h", random.randrange(70, 260))
        desk.redraw(f"\x1b[24;1H\x1b[K\x1b[{row};5H\x1b[?25l\x1b[24;63H{row},5\x1b[10CTop\x1b[{row};5H\x1b[?25h", 300)
    elif step == 2:
        line = _highlit(random, random.choice(CODE))
        desk.redraw(
            f"\x1b[?25l\x1b[{row};23r\x1b[{row};1H\x1b[L\x1b[1;24r\x1b[{row};1H{line}\x1b[24;63H\x1b[K\x1b[24;63H{row},1\x1b[{row};1H\x1b[?25h",
            400,
        )
    elif step == 3:
        body = "\r\n".join(f"{_highlit(random, line)}\x1b[K" for line in _page(random))
        desk.redraw(
            f"\x1b[?25l\x1b[1;23r\x1b[23;1H\r\n\x1b[1;24r\x1b[1;1H{body}\x1b[24;1H\x1b[K\x1b[24;63H{row + 22},1\x1b[9C{row}%\x1b[12;1H\x1b[?25h",
            700,
        )
    else:
        desk.redraw("\x1b[?25l\x1b[24;1H\x1b[K\x1b[24;1H/", 400)
        for key in random.choice(_KEYWORDS):
            desk.redraw(key, random.randrange(80, 250))
        desk.redraw(f"\r\x1b[24;63H{row},{row}\x1b[11C12%\x1b[{row};{row}H\x1b[?25h", 200)
    return row


def nano(desk: Desk) -> None:
    """Edit a file in GNU nano."""
    random, name = desk.random, desk.random.choice(FILES)
    desk.type(f"sudo nano /etc/{name}")
    desk.enter()
    title = f"  GNU nano 7.2                    {name}                    "
    desk.redraw(f"{_ALTERNATE}\x1b[1;24r\x1b(B\x1b[m\x1b[4l\x1b[?7h\x1b[39;49m\x1b[?1h\x1b=\x1b[?25l\x1b[H\x1b[J\x1b[22;30H"
                f"\x1b(B\x1b[0;7m[ Read {random.randrange(200)} lines ]\x1b(B\x1b[m\x1b[H\x1b(B\x1b[0;7m{title}\x1b(B\x1b[m", 70)  # fmt: skip
    desk.redraw("\r\x1b[23d\x1b(B\x1b[0;7m^G\x1b(B\x1b[m Help      \x1b(B\x1b[0;7m^O\x1b(B\x1b[m Write Out \x1b(B\x1b[0;7m^W\x1b(B"
                "\x1b[m Where Is  \x1b(B\x1b[0;7m^K\x1b(B\x1b[m Cut       \x1b(B\x1b[0;7m^T\x1b(B\x1b[m Execute\r\x1b[24d\x1b(B\x1b[0;7m^X"
                "\x1b(B\x1b[m Exit      \x1b(B\x1b[0;7m^R\x1b(B\x1b[m Read File \x1b(B\x1b[0;7m^\\\x1b(B\x1b[m Replace", 3)  # fmt: skip
    desk.redraw(
        "".join(f"\r\x1b[{row}d{line}" for row, line in enumerate(_page(random)[:18], 3))
        + "\r\x1b[3d\x1b[?12l\x1b[?25h",
        4,
    )
    for _ in range(random.randrange(3, 9)):
        desk.redraw(f"\x1b[?25l\x1b[{random.randrange(3, 20)}d\x1b[?12l\x1b[?25h", random.randrange(150, 500))
        for key in random.choice(CODE).strip():
            desk.redraw(
                f"\x1b[?25l{key}\x1b[?12l\x1b[?25h" if random.random() < 0.5 else key, random.randrange(80, 250)
            )
    desk.redraw("\x1b[?25l\x1b[22d\x1b[J\r\x1b[24d\x1b(B\x1b[0;7mFile Name to Write: \x1b(B\x1b[m", 500)
    desk.redraw(f"\x1b[24;1H\x1b[?12l\x1b[?25h{_BACK}\r\x1b[?1l\x1b>", 900)
    desk.prompt()


def processes(desk: Desk) -> None:
    """Watch top, or htop."""
    random = desk.random
    rows = [_process(random, name) for name in random.sample(PROCESSES, 16)]
    is_top = random.random() < 0.6
    desk.type("top" if is_top else "htop")
    desk.enter()
    desk.redraw(
        "\x1b[?1h\x1b=\x1b[?25l\x1b[H\x1b[2J\x1b(B\x1b[m"
        if is_top
        else f"{_ALTERNATE}\x1b[1;24r\x1b(B\x1b[m\x1b[4l\x1b[?7h\x1b[?1h\x1b=\x1b[?25l",
        100,
    )
    for _ in range(random.randrange(4, 14)):
        desk.redraw(_top(random, rows) if is_top else _htop(random, rows), random.randrange(1500, 3100))
        rows = [(number, user, name) for number, user, name in rows if random.random() < 0.97]
        random.shuffle(rows)
    desk.redraw(
        "\x1b[?1l\x1b>\x1b[25;1H\r\n\x1b[?12l\x1b[?25h\x1b[K"
        if is_top
        else f"\x1b[24;1H\x1b[?12l\x1b[?25h{_BACK}\r\x1b[?1l\x1b>",
        300,
    )
    desk.prompt()


def _process(random: Random, name: str) -> tuple[int, str, str]:
    return random.randrange(1, 40000), random.choice(("root", "pi", "admin", "www-data", "message+", "systemd+")), name


def _top(random: Random, rows: list[tuple[int, str, str]]) -> str:
    bold, plain = "\x1b(B\x1b[m\x1b[39;49m\x1b[1m", "\x1b(B\x1b[m\x1b[39;49m"
    idle = random.random() * 20 + 80
    head = (f"\x1b[Htop - {words.clock(random)} up {random.randrange(99)} days, {words.clock(random)[:5]},  1 user,  "
            f"load average: {random.random():.2f}, {random.random():.2f}, {random.random():.2f}{plain}{plain}\x1b[K\n"
            f"\rTasks:{bold} {random.randrange(90, 300)} {plain}total,{bold}   1 {plain}running,{bold} "
            f"{random.randrange(90, 300)} {plain}sleeping,{bold}   0 {plain}stopped,{bold}   0 {plain}zombie{plain}\x1b[K\n"
            f"\r%Cpu(s):{bold}  {random.random() * 9:.1f} {plain}us,{bold}  {random.random() * 5:.1f} {plain}sy,{bold}  0.0 "
            f"{plain}ni,{bold} {idle:.1f} {plain}id,{bold}  0.0 {plain}wa,{bold}  0.0 {plain}hi,{bold}  0.0 {plain}si,{bold}  0.0 {plain}st"
            f"{plain}\x1b[K\n\rMiB Mem :{bold} {random.random() * 9000:8.1f} {plain}total,{bold} {random.random() * 900:8.1f} {plain}free,{bold} "
            f"{random.random() * 900:8.1f} {plain}used,{bold} {random.random() * 900:8.1f} {plain}buff/cache{plain}     \x1b[K\n"
            f"\rMiB Swap:{bold}      0.0 {plain}total,{bold}      0.0 {plain}free,{bold}      0.0 {plain}used.{bold} "
            f"{random.random() * 9000:8.1f} {plain}avail Mem {plain}\x1b[K\n\r\x1b[K\n"
            f"\r\x1b[7m    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND          {plain}\x1b[K")  # fmt: skip
    body = "".join(f"\n\r{bold if random.random() < 0.1 else plain}{number:>7} {user:<9} 20   0 {random.randrange(10**6):>7} "
                   f"{random.randrange(10**5):>6} {random.randrange(10**5):>6} {random.choice('SSSRI')}  {random.choice((0.0, 0.0, 0.3, 1.3)):>4} "
                   f"{random.random() * 5:>5.1f} {random.randrange(99):>3}:{random.randrange(60):02}.{random.randrange(99):02} "
                   f"{name.split()[0].rpartition('/')[2]:<16} {plain}\x1b[K" for number, user, name in rows)  # fmt: skip
    return f"{head}{body}{plain}\x1b[K\x1b[J"


def _htop(random: Random, rows: list[tuple[int, str, str]]) -> str:
    plain = "\x1b[39;49m"
    bars = "".join(f"\x1b[{row};1H  \x1b[36m{row}\x1b[39m\x1b(B\x1b[0;1m[\x1b(B\x1b[0m\x1b[32m{'|' * random.randrange(9)}\x1b[31m|"
                   f"\x1b(B\x1b[0;1m\x1b[90m{random.random() * 50:.1f}%\x1b[39m]" for row in (2, 3))  # fmt: skip
    body = "".join(f"\x1b[{row}d\x1b[1;30m\x1b(B\x1b[m{number:>7} \x1b(B\x1b[m{user:<10}\x1b[39m\x1b(B\x1b[m 20   0 \x1b[36m"
                   f"{random.randrange(999):>3}\x1b[39m\x1b(B\x1b[mM {random.choice('SSRI')}  {random.random() * 9:.1f}  {random.random() * 9:.1f} "
                   f" 0:{random.randrange(60):02}.{random.randrange(99):02} {name}\x1b[K" for row, (number, user, name) in enumerate(rows, 8))  # fmt: skip
    return f"\x1b[H{bars}{plain}{body}\x1b[24;1HF1\x1b[30m\x1b[46mHelp  {plain}\x1b(B\x1b[mF2\x1b[30m\x1b[46mSetup {plain}\x1b(B\x1b[m"


def pager(desk: Desk) -> None:
    """Read in less, as man and journalctl do."""
    random = desk.random
    desk.type(random.choice(("man systemd", "less /var/log/syslog", "journalctl -xe", "git log", "systemctl status")))
    desk.enter()
    desk.redraw(f"{_ALTERNATE}\x1b[?1h\x1b=\r", 80)
    for _ in range(random.randrange(2, 8)):
        lines = [
            words.log_line(random, desk.host)[:79] if random.random() < 0.5 else _prose(random)
            for _ in range(_ROWS - 1)
        ]
        desk.redraw("\r\x1b[K" + "\r\n".join(lines) + "\r\n:\x1b[K", random.randrange(700, 4000))
    for _ in range(random.randrange(8)):
        desk.redraw(f"\r\x1b[K{_prose(random)}\r\n:\x1b[K", random.randrange(60, 300))
    desk.redraw("\r\x1b[K\x1b[7m(END)\x1b[27m\x1b[K", 400)
    desk.redraw(f"\r\x1b[K\x1b[?1l\x1b>{_BACK}", 900)
    desk.prompt()


def _prose(random: Random) -> str:
    said = ("the file is not", "option", "if the", "this is", "by default", "of the", "\x1b[1m--help\x1b[0m", "returns",
            "\x1b[4mFILE\x1b[24m", "standard output", "can be used to", "see also", "when", "command", "does not",
            "specified", "with the", "system", "default value is", "arguments", "the following")  # fmt: skip
    return "       " + " ".join(random.sample(said, 6))


def python(desk: Desk) -> None:
    """Try things out in Python, errors included; and install a package."""
    random = desk.random
    package = random.choice(("requests", "flask", "numpy", "paho-mqtt", "pyserial", "pyyaml"))
    version = f"{random.randrange(5)}.{random.randrange(30)}.{random.randrange(9)}"
    desk.command(f"pip install {package}", [
        f"Collecting {package}", f"  Downloading {package}-{version}-py3-none-any.whl (62 kB)",
        f"Installing collected packages: {package}", f"Successfully installed {package}-{version}",
    ])  # fmt: skip
    desk.type("python3")
    desk.enter()
    desk.show("Python 3.11.2 (main, Mar 13 2023, 12:18:29) [GCC 12.2.0] on linux\n"
              'Type "help", "copyright", "credits" or "license" for more information.\n', 60)  # fmt: skip
    desk.redraw("\x1b[?2004h>>> ", 4)
    for _ in range(random.randrange(4, 12)):
        desk.type(
            random.choice(
                (
                    "x = 5",
                    "import os",
                    "print(x)",
                    "len(data)",
                    "data = json.load(open('config.json'))",
                    "x.get('name')",
                    *CODE[:12],
                )
            )
        )
        desk.redraw("\r\n\x1b[?2004l\r", 150)
        desk.show(_answer(random), 3)
        desk.redraw(f"\x1b[?2004h{random.choice(('>>> ', '>>> ', '>>> ', '... '))}", 2)
        desk.wait(1.5)
    desk.type("exit()")
    desk.redraw("\r\n\x1b[?2004l\r", 150)
    desk.prompt()


def _answer(random: Random) -> str:
    return random.choice((
        "", "", f"{random.randrange(10**4)}\n", "None\n", f"'{random.choice(FILES)}'\n", "True\n",
        f"[{', '.join(str(random.randrange(100)) for _ in range(9))}]\n",
        f"{{'name': '{random.choice(SERVICES)}', 'id': {random.randrange(100)}, 'enabled': True}}\n",
        "Traceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\nNameError: name 'x' is not defined\n",
        "Traceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\nModuleNotFoundError: No module named 'foo'\n",
        "  File \"<stdin>\", line 1\n    x = \n       ^\nSyntaxError: invalid syntax\n",
        "Traceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\nFileNotFoundError: [Errno 2] No such file or directory: 'data.csv'\n",
    ))  # fmt: skip


def query(desk: Desk) -> None:
    """Ask a database."""
    random, table = desk.random, desk.random.choice(("users", "measurements", "events", "orders"))
    prompt = random.choice(("MariaDB [app]> ", "app=# ", "mysql> "))
    desk.type("mysql app" if "=#" not in prompt else "psql app")
    desk.enter()
    desk.show(f"Type 'help;' or '\\h' for help. Type '\\c' to clear the current input statement.\n\n{prompt}", 90)
    for _ in range(random.randrange(3, 8)):
        desk.type(random.choice((f"SELECT * FROM {table} LIMIT 10;", f"select count(*) from {table};", f"SHOW TABLES; -- {table}",
                                 f"UPDATE {table} SET name='x' WHERE id={random.randrange(100)};", f"INSERT INTO {table} (name, value) VALUES ('a', 1);")))  # fmt: skip
        bar = "+----+------------+---------------------+"
        rows = [
            f"| {random.randrange(99):>2} | {random.choice(SERVICES)[:10]:<10} | 2024-0{random.randrange(1, 9)}-{random.randrange(10, 29)} {words.clock(random)} |"
            for _ in range(random.randrange(1, 10))
        ]
        desk.show(
            "\n"
            + "\n".join(
                [
                    bar,
                    "| id | name       | created             |",
                    bar,
                    *rows,
                    bar,
                    f"{len(rows)} rows in set (0.00 sec)",
                    "",
                    prompt,
                ]
            ),
            150,
        )
        desk.wait(2)
    desk.type("\\q")
    desk.show("\nBye\n", 150)
    desk.prompt()


def windows(desk: Desk) -> None:
    """Split the screen in tmux and work in its panes."""
    random = desk.random
    desk.type("tmux")
    desk.enter()
    bar = f'\x1b[30m\x1b[42m[0] 0:bash*{" " * 30}"{desk.host}" {words.clock(random)[:5]} 12-Mar-24'
    desk.redraw(
        f"{_ALTERNATE}\x1b[?1h\x1b=\x1b[H\x1b[2J\x1b[?12l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1005l\x1b(B\x1b[m\x1b[24;1H{bar}\x1b(B\x1b[m\x1b[1;1H",
        90,
    )
    for _ in range(random.randrange(2, 6)):
        for key in random.choice(("ls -l", "df -h", "top", "cd /var/log", "tail -f syslog", "vim app.py")):
            desk.redraw(key, random.randrange(80, 250))
        lines = [words.log_line(random, desk.host)[:39] for _ in range(random.randrange(3, 20))]
        desk.redraw(
            "\r\n" + "\r\n".join(f"{line}\x1b[K\x1b[1;40H│\x1b[{row};1H" for row, line in enumerate(lines, 2)), 200
        )
        desk.redraw(
            f"\x1b[24;1H{bar}\x1b(B\x1b[m\x1b[{random.randrange(1, 23)};{random.randrange(1, 40)}H",
            random.randrange(300, 1500),
        )
    desk.redraw(f"\x1b[?1l\x1b>\x1b[H\x1b[2J{_BACK}[exited]\r\n", 500)
    desk.prompt()


def _page(random: Random) -> list[str]:
    at = random.randrange(len(CODE) - 4)
    return (CODE[at:] + CODE)[: _ROWS - 2]


def _highlit(random: Random, line: str) -> str:
    for word in _KEYWORDS:
        if f"{word} " in line:
            line = line.replace(f"{word} ", f"\x1b[3{random.choice((3, 5, 6))}m{word}\x1b[m ", 1)
    return line.replace('"', '\x1b[31m"', 1) + "\x1b[m" if '"' in line else line


ACTS: tuple[Act, ...] = (vim, nano, processes, pager, python, query, windows)
