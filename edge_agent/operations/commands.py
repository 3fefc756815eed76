"""`edge-agent doctor` and `edge-agent support-bundle`. What they do is imported when they are run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from protocol.console import terminal_width

if TYPE_CHECKING:
    from edge_agent.config import Options
    from edge_agent.policy.checkup import Finding

_CONTROLLER = click.option(
    "--controller", metavar="HOST:PORT", help="The controller's web address, where the device has not joined."
)
_PIN = click.option("--ca-pin", "ca_pins", multiple=True, metavar="sha256:…", help="Pin of the controller's CA.")
_DATA = click.option("--data-dir", metavar="DIR", help="Where identity and unsent events live.")
_CONFIG = click.option("-c", "--config", metavar="FILE", help="The agent's settings.")


@click.command()
@_CONTROLLER
@_PIN
@_DATA
@_CONFIG
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def doctor(
    controller: str | None, ca_pins: tuple[str, ...], data_dir: str | None, config: str | None, form: str
) -> None:
    """Look what is wrong on this device, and what mends it.

    It looks at the agent and at its way to the controller. Nothing is changed. It works before the device has joined,
    too, and whether or not the agent runs. Exit status: 0, or 1 where something has to be mended.
    """
    from edge_agent.policy.checkup import has_failed

    findings = _examine(_options(controller, ca_pins, data_dir, config))
    if form == "json":
        click.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        click.echo(report(findings, terminal_width()))
    sys.exit(1 if has_failed(findings) else 0)


@click.command(name="support-bundle")
@_CONTROLLER
@_PIN
@_DATA
@_CONFIG
@click.option("-o", "--output", metavar="FILE", help="The archive. [default: skerry-support-NAME-DATE.tar.gz]")
def support_bundle(
    controller: str | None, ca_pins: tuple[str, ...], data_dir: str | None, config: str | None, output: str | None
) -> None:
    """Gather what a helper needs to see; no keys, no tokens.

    Nothing that was recorded is in it. It says what it has put in. Look at it before you send it.
    """
    from edge_agent.operations.bundle import BundleError, make_bundle

    options = _options(controller, ca_pins, data_dir, config)
    findings = _examine(options)
    try:
        bundle = make_bundle(options, findings, report(findings, None), output)
    except BundleError as err:
        click.echo(f"ERROR: {err}", err=True)
        sys.exit(1)
    click.echo(bundle.describe())


def _options(controller: str | None, ca_pins: tuple[str, ...], data_dir: str | None, config: str | None) -> Options:
    from edge_agent.config import Options

    return Options(controller=controller, ca_pins=ca_pins, data_dir=data_dir, config=config)


def _examine(options: Options) -> tuple[Finding, ...]:
    from edge_agent.operations.examination import examine
    from edge_agent.policy.checkup import judge
    from edge_agent.rollout.joining import quiet_log

    quiet_log()
    return judge(examine(options, _progress()))


def _progress() -> Callable[[str], None]:
    """Return what tells a person that it goes on; a program that reads along is told nothing."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda text: click.echo(f"{text} …", err=True)


def report(findings: Sequence[Finding], width: int | None) -> str:
    """Return the findings as a table, and below what to do."""
    from protocol.table import render_table

    rows = [(finding.check, finding.state, finding.found) for finding in findings]
    parts = [render_table(("Check", "State", "Found"), rows, width)]
    mends = [finding for finding in findings if finding.mend]
    if mends:
        parts.append("\n".join(("What to do:", *map(_describe_mend, mends))))
    failed = sum(finding.state == "fail" for finding in findings)
    warned = sum(finding.state == "warn" for finding in findings)
    parts.append(f"{failed} to mend, {warned} to know of" if failed or warned else "nothing is wrong")
    return "\n\n".join(parts)


def _describe_mend(finding: Finding) -> str:
    from protocol.table import escape_text

    return "\n    ".join(escape_text(text) for text in (f"  {finding.check}: {finding.mend}", finding.command) if text)
