"""What was asked of a device that has joined, and has no effect: said once, so that nobody waits for it."""

from __future__ import annotations

from protocol.names import Labels, NodeName


def unheeded(*, nodename: NodeName, labels: Labels, has_name: NodeName, has_labels: Labels) -> list[str]:
    """Return one line for each wish that was not granted; labels the node has beyond them are no matter.

    Args:
        nodename: the name that was asked for.
        labels: the labels that were asked for.
        has_name: the name the node has.
        has_labels: the labels the node has.
    """
    found = []
    if nodename != has_name:
        found.append(f"the name {nodename} has no effect: this node is {has_name} since it joined")
    for key, value in sorted(labels.items()):
        has = has_labels.get(key)
        if has is None:
            found.append(f"the label {key}={value} has no effect: the join token did not allow this device to claim it")
        elif has != value:
            found.append(f"the label {key}={value} has no effect: this node has {key}={has} since it joined")
    return found
