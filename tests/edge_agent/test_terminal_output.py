from __future__ import annotations

import asyncio

from edge_agent.terminal_output import MOMENT, PIECE, TerminalOutput

_PACKETS = 64 * 1024


class Screen:
    """Keeps what is emitted, and tells when there is something."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.changed = asyncio.Event()

    def show(self, data: bytes) -> None:
        self.pieces.append(data)
        self.changed.set()


def _output() -> tuple[TerminalOutput, Screen]:
    screen = Screen()
    return TerminalOutput(asyncio.get_running_loop(), screen.show), screen


async def test_the_echo_of_a_key_goes_at_once() -> None:
    output, screen = _output()
    output.add(b"x")
    assert screen.pieces == [b"x"]


async def test_what_follows_at_once_is_gathered_and_comes_a_moment_later() -> None:
    output, screen = _output()
    output.add(b"first")
    screen.changed.clear()
    output.add(b"second ")
    output.add(b"third")
    assert screen.pieces == [b"first"]
    await asyncio.wait_for(screen.changed.wait(), 5)
    assert screen.pieces == [b"first", b"second third"]


async def test_after_a_pause_output_goes_at_once_again() -> None:
    output, screen = _output()
    output.add(b"first")
    paused = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * MOMENT, paused.set)
    await asyncio.wait_for(paused.wait(), 5)
    output.add(b"second")
    assert screen.pieces == [b"first", b"second"]


async def test_a_stream_is_emitted_in_pieces_that_fill_whole_packets_and_lose_nothing() -> None:
    output, screen = _output()
    sent = [bytes([number % 256]) * 4095 for number in range(200)]
    for piece in sent:
        output.add(piece)
    output.flush()
    assert b"".join(screen.pieces) == b"".join(sent)
    assert max(map(len, screen.pieces)) <= _PACKETS
    # The first goes at once; the others wait for company.
    assert len(screen.pieces) <= 2 + len(b"".join(sent)) // (_PACKETS - PIECE)


async def test_nothing_is_emitted_twice_after_a_flush() -> None:
    output, screen = _output()
    output.add(b"first")
    output.add(b"second")
    output.flush()
    output.flush()
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(3 * MOMENT, later.set)
    await asyncio.wait_for(later.wait(), 5)
    assert screen.pieces == [b"first", b"second"]
