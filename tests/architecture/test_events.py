from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from protocol import events
from protocol.events import EventKind
from tests.architecture.source import modules

KIND_NAMES = {name for name, value in vars(events).items() if isinstance(value, EventKind)}
TABLE = Path("protocol/events.py")
# Where a kind arrives in a variable: it was chosen by a caller, or judged, and is one of the table's.
PASSED_ON = {
    (Path("controller/accounts/sessions.py"), "kind"),
    (Path("controller/proxy/errand.py"), "event.kind"),
    (Path("controller/enrolment/reports.py"), "answer.value"),
}


def named(tree: ast.Module) -> list[str]:
    """Return each name of a kind that is used in `tree`, as ``events.NAME`` or by itself."""
    found = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    found += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [name for name in found if name in KIND_NAMES]


def writes(tree: ast.Module) -> list[ast.expr]:
    """Return the kind that each call of an audit log's `write`, or the proxy's `audit`, is given."""
    kinds = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, method = ast.unparse(node.func.value), node.func.attr
        if (method == "write" and owner.endswith("audit")) or (
            method == "audit" and owner.endswith(("errands", "self"))
        ):
            assert node.args, f"line {node.lineno}: the kind is the first argument"
            kinds.append(node.args[0])
    return kinds


def test_every_kind_of_event_is_written_somewhere() -> None:
    used = Counter(name for path, tree in modules("controller", "edge_agent") for name in named(tree))
    assert {name for name in KIND_NAMES if not used[name]} == set()


def test_what_nodes_report_the_agent_writes_and_what_they_may_not_it_does_not() -> None:
    by_agent = {name for _, tree in modules("edge_agent") for name in named(tree)}
    from_node = {name for name in KIND_NAMES if getattr(events, name).from_node}
    assert by_agent == from_node


def test_every_write_to_the_audit_log_is_of_a_kind_in_the_table() -> None:
    found = 0
    for path, tree in modules("controller", "edge_agent", "tsh"):
        for kind in writes(tree):
            found += 1
            text = ast.unparse(kind)
            known = text.removeprefix("events.") in KIND_NAMES
            assert known or (path, text) in PASSED_ON, f"{path}: {text} is no kind of protocol/events.py"
    assert found > 15


def test_no_event_is_made_anywhere_but_in_the_table() -> None:
    for path, tree in modules("controller", "edge_agent", "tsh", "protocol"):
        if path != TABLE:
            made = [
                node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "EventKind"
            ]
            assert made == [], path


def test_codes_are_unique_and_say_how_grave_they_are() -> None:
    codes = [kind.code for kind in events.KINDS]
    assert len(codes) == len(set(codes)) == len(KIND_NAMES)
    assert {code[-1] for code in codes} <= {"I", "W", "E"}


def test_every_state_that_a_store_holds_is_changed_beside_an_audit_event() -> None:
    """A module that writes to one of these collections writes to the audit log too, or its one caller does."""
    audited = {"users", "invites", "join_tokens", "nodes", "sessions"}
    # Enrolment writes the event of what `nodes` stores; it is the only one that adds a node.
    # Those who swap a person's record through `Changes` write the event within its `with`; else it is put back.
    elsewhere = {Path("controller/enrolment/nodes.py"), Path("controller/accounts/changes.py")}
    for path, tree in modules("controller"):
        collections = {
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "collection"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        }
        if collections & audited and path not in elsewhere:
            assert writes(tree), f"{path} changes {collections & audited} and writes no event"
