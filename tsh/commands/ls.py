"""`tsh ls`."""

from __future__ import annotations

import sys

import click

from protocol import names
from protocol.console import terminal_width
from protocol.listing import node_json, render_nodes
from protocol.messages import NodeEntry
from tsh.inventory import choose_nodes, list_nodes
from tsh.setting import connection_options, settings_of


@click.command(name="ls")
@click.option("-v", "--verbose", is_flag=True, help="Show each node's UUID and status.")
@click.option("--search", metavar="WORD,…", default="", help="Only nodes in which every word occurs.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.argument("labels", required=False, default="", metavar="[NAME=VALUE,…]")
@connection_options
@click.pass_context
def command(ctx: click.Context, verbose: bool, search: str, form: str, labels: str) -> int:
    """List the nodes you may see, all or those with the given labels."""
    try:
        wanted = names.parse_labels_text(labels)
    except names.BadNameError as err:
        import shlex

        hint = f"to look for a name: tsh ls --search={shlex.quote(labels)}"
        raise click.BadParameter(f"{err}; {hint}", param_hint="labels") from None
    words = [word.strip() for word in search.split(",") if word.strip()]
    nodes = choose_nodes(list_nodes(settings_of(ctx)), wanted, words)
    sys.stdout.write(_as_json(nodes) if form == "json" else _as_text(nodes, verbose=verbose))
    if form == "text" and not verbose and len({node.name.lower() for node in nodes}) < len(nodes):
        click.echo("Hint: some share a name: 'tsh ls -v' shows which of them is online, and their unique ids", err=True)
    return 0


def _as_json(nodes: list[NodeEntry]) -> str:
    import json

    return json.dumps([node_json(node) for node in nodes], indent=2, ensure_ascii=False) + "\n"


def _as_text(nodes: list[NodeEntry], *, verbose: bool) -> str:
    return render_nodes(nodes, with_ids=verbose, with_status=verbose, width=terminal_width()) + "\n"
