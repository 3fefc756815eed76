"""What each audit event says, as one sentence for a person. A test sees to it that every kind has one.

In a sentence ``{user}`` stands for a field's value, and what is in square brackets is left out where one of the fields
in it is missing or empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from protocol.events import Json
from protocol.instants import from_milliseconds, parse_instant

_FIELD = re.compile(r"\{([A-Za-z_.]+)\}")
_OPTION = re.compile(r"\[([^\[\]]*)\]")
_UNKNOWN = "(unknown)"
VALUE_MAX = 200

SENTENCES: Mapping[str, str] = {
    "T1000I": "{user} signed in[ from {addr.remote}]",
    "T1000W": "A sign-in as {user} failed[ from {addr.remote}]: {error}",
    "SK001W": "Too many sign-ins as {user} failed: no more are taken until {expires}",
    "SK002I": "{user} signed out",
    "T1002I": "{user} made the user {name}[ with roles {roles}][ and logins {logins}]",
    "T1003I": "{user} changed the user {name}: roles {roles}[, logins {logins}]",
    "T1004I": "{user} removed the user {name}",
    "T1005I": "{user} set a new password",
    "SK003W": "An invite or reset link was refused[ for {name}][ from {addr.remote}]: {error}",
    "T1006I": "{user} added the second factor {mfa_device_name}",
    "T1007I": "{user} removed the second factor {mfa_device_name}",
    "SK004W": "A change of {user}'s password failed: {error}",
    "SK005W": "A change of {user}'s second factors failed: {error}",
    "SK008W": "A second factor of {user}'s was not removed: {error}",
    "SK006I": "{user} ended a sign-in of {name}[ from {addr.remote}]",
    "SK007W": "{user} was refused[ {method}][ {path}][ {count} times]: {error}",
    "SK022I": "{user} exported {count} events of the audit log[, filtered by {filter}]",
    "T6000I": "{user} made a link for {name} to set a new password",
    "TC000I": "{user} was given a certificate[ with roles {roles}][ and logins {logins}], good until {expires}",
    "TJT00I": "{user} made a join token, good until {expires}",
    "SK010I": "{user} removed the join token {token}",
    "TJ002I": "The device {node_name} joined[ from {addr.remote}][ with version {version}]",
    "TJ002E": "A device could not join[ as {node_name}][ from {addr.remote}]: {error}",
    "SK013I": "{user} removed the node {server_hostname}[: {reason}]",
    "SK014I": "The device {node_name} asks to join[ from {addr.remote}] and waits for approval",
    "SK015I": "{user} approved the device {server_hostname}",
    "SK016I": "{user} rejected the device {server_hostname}",
    "SK017I": "{user} changed the labels of {server_hostname} to {labels}",
    "SK040I": "{server_hostname} came online[ after being offline since {offline_since}]",
    "SK041I": "{server_hostname} went offline: {reason}",
    "SK043I": "{server_hostname} renewed its certificate, good until {expires}",
    "SK043W": "[{server_hostname}: ]A certificate was not renewed[ for {addr.remote}]: {error}",
    "TCB03W": "{server_hostname}: two devices have one identity: {reason}",
    "TLK00I": "{user} locked {target}[ until {expires}][: {message}]",
    "TLK01I": "{user} removed the lock on {target}",
    "SK048I": "{user} took the rotation of the {type} authority to {phase}",
    "SK044I": "The nodes' policy became version {version}",
    "SK045W": "What[ {server_hostname}] ({server_id}) sent over MQTT was not taken: {error}",
    "SK046W": "The broker went down: {error}",
    "SK047I": "The broker is up again[, down since {down_since}]",
    "SK020I": "The cluster {cluster_name} was made",
    "SK050I": "{user} made a backup of the controller: {path}",
    "SK051W": "{user} put the controller back from a backup of {made}: what was done since is not in this log",
    "SK052E": "The controller's process {process} did not answer for {seconds} s: it was ended, and started anew",
    "SK021W": "The audit log {file} was mended: a crash had left {bytes} bytes of a line",
    "T2010I": "{user} connected to {server_hostname} from {addr.remote}",
    "T1006W": "{user} was not let through[ to {target}] from {addr.remote}: {reason}",
    "SK037W": "{user}'s session on {server_hostname} as {login} was not begun: {reason}",
    "SK039W": "A terminal in the browser was not opened for {user}[ on {target}][, {count} times]: {reason}",
    "T2000I": "{user} began a session on {server_hostname} as {login} from {addr.remote}[: {initial_command}]",
    "T2001I": "{user} joined the session on {server_hostname} as {mode} from {addr.remote}",
    "SK038W": "{user} could not join a session on {server_hostname}[ as {mode}]: {error}",
    "T2003I": "{user} left the session on {server_hostname}[, {mode}][: {reason}]",
    "T2004I": "{user}'s session on {server_hostname} as {login} ended[ with status {exitCode}][: {reason}]",
    "SK049I": "{user} ordered the end of the session[ of {participants}] on {server_hostname} as {login}",
    "T3002I": "{user} ran a command on {server_hostname} as {login}, which ended with status {exitCode}: {command}",
    "T3002E": "A command of {user}'s on {server_hostname} as {login} failed: {command}: {exitError}",
    "T3001I": "{user} used {name} on {server_hostname} as {login}, which ended with status {exitCode}",
    "T3001E": "{user} could not use {name} on {server_hostname} as {login}: {exitError}",
    "T3003I": "{user} reached {addr} through {server_hostname} as {login}",
    "T3003E": "{user} could not reach {addr} through {server_hostname} as {login}: {error}",
    "T3007W": "Somebody was not let in[ as {user}][ to {login}][ on {server_hostname}] from {addr.remote}: {error}",
    "T3005I": "{user} uploaded {path} to {server_hostname} as {login}[, {bytes} bytes]",
    "T3005E": "{user} could not upload {path} to {server_hostname} as {login}: {error}",
    "T3004I": "{user} downloaded {path} from {server_hostname} as {login}[, {bytes} bytes]",
    "T3004E": "{user} could not download {path} from {server_hostname} as {login}: {error}",
    "SK011W": "Events of the node {server_id} were not taken: {error}",
    "SK012W": "{server_hostname} lost {count} events before they could be sent",
    "T2005I": "The recording of [{user}'s ]session on {server_hostname} arrived: {state}, {size} bytes",
    "T2012I": "{user} opened the recording of session {sid}[ as {format}][, on {server_hostname}]",
    "SK036W": "{user} asked for the recording of session {sid} and was refused: {error}",
    "SK032I": "{user} removed the recording of session {sid}[, on {server_hostname}][: {reason}]",
    "SK030W": "The recording of [{user}'s ]session on {server_hostname} was interrupted: {reason}",
    "SK031W": "Not all of [{user}'s ]session on {server_hostname} is on record: {reason}",
    "SK033W": "A recording from[ {server_hostname}] ({server_id}) was refused: {error}",
    "SK035W": "The recording of a session on {server_hostname} will not be uploaded any more: {reason}",
    "SK034I": "{user} made a new recording key, {key_id}",
}


def time_of(event: Mapping[str, object]) -> datetime:
    """Return when an event happened; the beginning of 1970 where it does not say, for its line was damaged."""
    try:
        return parse_instant(event.get("time"))
    except ValueError:
        return from_milliseconds(0)


def describe_event(event: Mapping[str, Json]) -> str:
    """Return the sentence for `event`, in which its values stand as they are: escape it before it is shown."""
    sentence = SENTENCES.get(str(event.get("code")))
    if sentence is None:
        return f"{event.get('event', _UNKNOWN)} ({event.get('code', _UNKNOWN)})"
    chosen = _OPTION.sub(lambda found: found[1] if _is_there(found[1], event) else "", sentence)
    return _FIELD.sub(lambda found: _words(event.get(found[1])) or _UNKNOWN, chosen)


def fields_of(code: str) -> frozenset[str]:
    """Return the fields that the sentence for `code` names outside of brackets: what is always said."""
    return frozenset(_FIELD.findall(_OPTION.sub("", SENTENCES[code])))


def _is_there(option: str, event: Mapping[str, Json]) -> bool:
    return all(_words(event.get(name)) for name in _FIELD.findall(option))


def _words(value: Json) -> str:
    match value:
        case None:
            text = ""
        case list():
            text = ", ".join(str(each) for each in value[:20])
        case dict():
            text = ", ".join(f"{key}={each}" for key, each in list(value.items())[:20])
        case _:
            text = str(value)
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"
