"""Every command in the documentation exists, with the options it is shown with."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from controller.cli import program as controller
from controller.tctl.cli import program as tctl
from edge_agent.commands import program as edge_agent
from tsh.cli import program as tsh

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
PROGRAMS: dict[str, click.Command] = {"controller": controller, "tctl": tctl, "edge-agent": edge_agent, "tsh": tsh}


# The README says that these are not there.
NOT_YET = {"tsh scp"}


def typed_commands() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                if line.startswith("$ "):
                    yield page, line[2:]


def mentioned_commands() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for mention in re.findall(r"`([^`]+)`", text):
            words = mention.split()
            if words[0] in PROGRAMS and words[1:] not in ([], ["--help"]) and mention not in NOT_YET:
                yield page, " ".join(words)


COMMANDS = list(typed_commands())
MENTIONS = list(mentioned_commands())
OURS = [(page, line) for page, line in COMMANDS if shlex.split(line)[0] in PROGRAMS]
TARGETS = [line for _, line in COMMANDS if line.startswith("make ")]


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def walk(program: str, words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow the words down to the command they run; return it and the options given on the way."""
    command, given = PROGRAMS[program], []
    context = click.Context(command, info_name=program)
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            name = word.partition("=")[0]
            assert name in options_of(command), f"{program}: {command.name} has no option {name}"
            given.append(name)
            takes_value = any(
                name in parameter.opts and not getattr(parameter, "is_flag", False) for parameter in command.params
            )
            if takes_value and "=" not in word:
                next(rest, None)  # where a page only mentions the option, no value follows
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, f"{program} has no command {word}"
            command, context = found, click.Context(found, info_name=word, parent=context)
        else:
            break  # an argument: what follows belongs to it
    return command, given


@pytest.mark.parametrize(("page", "line"), OURS, ids=[line for _, line in OURS])
def test_documented_command_exists_with_its_options(page: Path, line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[: next((index for index, word in enumerate(words) if word in {">", ">>", "|", "&"}), len(words))]
    command, _ = walk(words[0], words[1:])
    assert not isinstance(command, click.Group), f"{page.name}: {line} names no command"


@pytest.mark.parametrize(("page", "line"), MENTIONS, ids=[line for _, line in MENTIONS])
def test_mentioned_command_exists_with_its_options(page: Path, line: str) -> None:
    words = shlex.split(line)
    command, _ = walk(words[0], words[1:])
    assert command is not PROGRAMS[words[0]], f"{page.name}: {line}"


@pytest.mark.parametrize("line", TARGETS)
def test_documented_make_target_exists(line: str) -> None:
    target = shlex.split(line)[1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_pages_hold_commands_at_all() -> None:
    assert len(OURS) > 10
    assert len(MENTIONS) > 10
    assert {"demo", "test", "lint", "bench"} <= {shlex.split(line)[1] for line in TARGETS}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
