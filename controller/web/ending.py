"""How the web door ends a session for all who take part, for the page and the endpoint that do."""

from __future__ import annotations

from controller.web import visit
from protocol import events
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.fleet_sessions import SessionEntry

_NO_HALL = "this controller's web door cannot reach the devices: join it with tsh instead"


def end_for_all(entry: SessionEntry) -> Granted[None] | Refused:
    """End a session in the name of whoever asks, who must be allowed to join it.

    The audit log is told of the order first: the node's own word of it may be lost. Raises `AuditError`: nothing was
    ordered.
    """
    services, person, origin = visit.services(), visit.person(), visit.origin()
    if services.hall is None:
        return Refused(_NO_HALL, "WS7")
    fields: dict[str, Json] = {
        "user": person.name,
        "sid": entry.live.session,
        "login": entry.live.login,
        "server_id": entry.node_id,
        "server_hostname": entry.name,
        "participants": [*sorted({str(party.user) for party in entry.live.parties})],
        "addr.remote": origin.address,
        "via": origin.via,
    }
    services.audit.write(events.SESSION_END_ORDERED, fields)
    return services.hall.end_session(entry, person, origin)
