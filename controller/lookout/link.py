"""One MQTT connection after the other to the broker, on the event loop: paho-mqtt without its threads.

Every connection has a client of its own: nothing that was queued on the last one is sent late on the next.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from controller.broker.entrance import Entrance
from controller.broker.error import BrokerError
from protocol import limits, topics

LOG = logging.getLogger("PRESENCE")
_KEEPALIVE = 30
_CONNECT_SECONDS = 10.0
_MISC_SECONDS = 1.0
_RETRY_FIRST, _RETRY_MAX = 0.25, 5.0
# So much is read before the loop may do something else.
_PACKETS_AT_ONCE = 100
# What is retained comes in this order: who is there before what goes on with them.
_SUBSCRIBED = [topics.ALL_SEEN, topics.ALL_NODE_DOCUMENTS, topics.ALL_STATES, topics.ALL_BEATS, topics.ALL_LIVE]
# Comes back to us after everything that the broker held when we subscribed.
_MARK = topics.ALL_SEEN.replace("+", "mark")


class Listener(Protocol):
    """What is told of the link."""

    def came_up(self) -> None:
        """Hear that there is a connection; what the broker holds is about to arrive."""
        ...

    def caught_up(self) -> None:
        """Hear that all that it held has arrived."""
        ...

    def arrived(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message; `retained`: the broker held it when we connected. Must not raise."""
        ...

    def went_down(self, reason: str) -> None:
        """Hear that there is no connection any more, or none yet: once an attempt."""
        ...


class _NamedContext:
    """Gives paho a TLS context that checks another name than the address which is dialled."""

    check_hostname = True

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - paho's
        options["server_hostname"] = self._entrance.server_name
        return self._entrance.context.wrap_socket(sock, **options)


class BrokerLink:
    """Keeps one connection to the broker.

    Args:
        entrance: opens the way to it, on a thread; may raise `BrokerError` or `OSError`.
        listener: hears of it.
    """

    def __init__(self, entrance: Callable[[], Entrance], listener: Listener) -> None:
        self._entrance = entrance
        self._listener = listener
        self._client: mqtt.Client | None = None
        self._ended = asyncio.Event()
        self._mark = b""
        self._reason = ""

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent."""
        return self._client is not None

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = True) -> None:
        """Send a message; one that is sent while there is no connection is lost."""
        if self._client is not None:
            self._client.publish(topic, payload, qos, retain)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        delay = _RETRY_FIRST
        while True:
            try:
                if await self._attempt():
                    delay = _RETRY_FIRST
            finally:
                self._drop()
            self._listener.went_down(self._reason)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _RETRY_MAX)

    async def _attempt(self) -> bool:
        """Connect, and stay until it is over; tell whether there was a connection at all."""
        self._ended.clear()
        self._reason = "the broker closed the connection"
        try:
            client = await asyncio.to_thread(self._dial)
        except (OSError, BrokerError, ValueError) as err:
            self._reason = _words(err)
            return False
        self._attach(client)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                while not client.is_connected() and not self._ended.is_set():
                    await self._wait(client)
        except TimeoutError:
            self._reason = "the broker does not answer"
        was_up = client.is_connected()
        while client.is_connected() and not self._ended.is_set():
            await self._wait(client)
        return was_up

    async def _wait(self, client: mqtt.Client) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_MISC_SECONDS):
                await self._ended.wait()
        client.loop_misc()

    def _dial(self) -> mqtt.Client:
        """Connect and shake hands: on a thread, for paho does both in one blocking call."""
        entrance = self._entrance()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, topics.CONTROLLER, clean_session=True, protocol=mqtt.MQTTv311)
        client.tls_set_context(cast("ssl.SSLContext", _NamedContext(entrance)))
        client.connect_timeout = _CONNECT_SECONDS
        client.connect(*entrance.address, keepalive=_KEEPALIVE)
        return client

    # --- paho on the loop -----------------------------------------------------------------------------------------

    def _attach(self, client: mqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_close = lambda _client, _userdata, sock: _forget(cast("ssl.SSLSocket", sock))
        client.on_socket_register_write = lambda _client, _userdata, sock: loop.add_writer(
            cast("socket.socket", sock), client.loop_write
        )
        client.on_socket_unregister_write = lambda _client, _userdata, sock: _hush(cast("socket.socket", sock))
        sock = client.socket()
        if sock is None:
            self._ended.set()
            return
        loop.add_reader(cast("socket.socket", sock), self._read, client)
        if client.want_write():
            loop.add_writer(cast("socket.socket", sock), client.loop_write)
        self._client = client

    def _drop(self) -> None:
        """Take leave of the broker, as far as it still listens, and close the connection."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(OSError, ValueError):
            client.disconnect()
            client.loop_write()
        sock = cast("ssl.SSLSocket | None", client.socket())
        client.on_socket_close = client.on_socket_register_write = client.on_socket_unregister_write = None
        if sock is not None:
            _forget(sock)
            sock.close()

    def _read(self, client: mqtt.Client) -> None:
        """Read what has arrived: TLS may hold more than the socket shows."""
        for _ in range(_PACKETS_AT_ONCE):
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._ended.set()
                return
            sock = client.socket()
            if sock is None or not cast("ssl.SSLSocket", sock).pending():
                return
        asyncio.get_running_loop().call_soon(self._read, client)

    def _on_connect(self, client: mqtt.Client, _data: object, _flags: object, code: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        if code.is_failure:
            self._reason = f"the broker refused the controller: {code}"
            self._ended.set()
            return
        self._listener.came_up()
        client.subscribe([(topic, 0) for topic in _SUBSCRIBED])
        self._mark = secrets.token_hex(8).encode()
        client.publish(_MARK, self._mark, 0, retain=False)

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        if code.is_failure and not self._ended.is_set():
            why = str(code).lower()
            # That is paho's word for a connection that was closed without one.
            self._reason += "" if why == "unspecified error" else f" ({why})"
        self._ended.set()

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # MQTT demands UTF-8 (section 1.5.3): a broker that lets this through is broken
        if topic == _MARK:
            if message.payload == self._mark:
                self._listener.caught_up()
            return
        if len(message.payload) > limits.MQTT_MESSAGE_MAX:
            LOG.warning("a message of %d bytes is not looked at", len(message.payload))
            return
        self._listener.arrived(topic, bytes(message.payload), retained=message.retain)


def _hush(sock: socket.socket) -> None:
    asyncio.get_running_loop().remove_writer(sock)


def _forget(sock: ssl.SSLSocket) -> None:
    """Have the loop look at a socket no more that is about to be closed."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(sock)
    loop.remove_writer(sock)
    with suppress(OSError, ValueError):
        sock.unwrap()  # sends TLS's own farewell; there is no waiting for the answer


def _words(err: Exception) -> str:
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not to be trusted: {err.verify_message}"
    if isinstance(err, OSError):
        return f"the broker cannot be reached: {(err.strerror or str(err) or type(err).__name__).lower()}"
    return str(err)
