from __future__ import annotations

import gzip
import zlib

from benchmarks.recorded import gzip_size
from benchmarks.recording import log_text

PIECES = [f"{number} bottles of beer on the wall\n".encode() for number in range(40)]


def test_a_stream_of_one_piece_is_what_gzip_makes_of_it() -> None:
    data = b"".join(PIECES)
    assert gzip_size([data], zlib.Z_NO_FLUSH) == len(gzip.compress(data, 6))


def test_each_flush_costs_and_one_that_forgets_costs_more() -> None:
    whole, synced, full = (
        gzip_size(PIECES, flush) for flush in (zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)
    )
    assert whole < synced < full


def test_a_log_is_as_long_as_it_was_ordered_and_the_same_every_time() -> None:
    assert len(log_text(300_000)) == 300_000
    assert log_text(300_000) == log_text(300_000)
