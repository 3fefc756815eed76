"""The JSON API under /v1, by subject: what the pages do, for programs with a bearer token."""

from __future__ import annotations

from controller.web.v1 import audit, locks, me, nodes, openapi, overview, recordings, sessions, tokens, users

BLUEPRINTS = tuple(
    part.blueprint for part in (openapi, overview, nodes, sessions, recordings, audit, users, tokens, locks, me)
)
