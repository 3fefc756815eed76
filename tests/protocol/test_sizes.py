from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.sizes import SIZE_MAX, BadSizeError, format_size, parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        *(("512MiB", 512 * 2**20), ("1GB", 10**9), ("1.5 GiB", 1536 * 2**20), ("4096", 4096), (4096, 4096), ("0", 0)),
        *((0, 0), ("7B", 7), ("10kB", 10_000), ("10KB", 10_000), ("2KiB", 2048), ("1TiB", 2**40), ("1TB", 10**12)),
        *(("0.001KB", 1), (SIZE_MAX, SIZE_MAX)),
    ],
)
def test_a_size_is_read(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [
        *("", "MiB", "512mib", "512 M", "512M", "-1", -1, "1.5", "1.5B", "1e6", "1,5GB", "1.0000KB", "\u0661", True),
        *(None, 1.5, [512], "9" * 16, SIZE_MAX + 1, pytest.param(10**5000, id="huge")),
        *("999999999999999TiB", " 1KB", "1KB "),
    ],
)
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(BadSizeError, match="not a number of bytes"):
        parse_size(value)


@given(st.text() | st.from_regex(r"\d{1,17}(\.\d{1,4})? ?[a-zA-Z]{0,4}"))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except BadSizeError:
        return
    assert 0 <= size <= SIZE_MAX


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (10 * 2**20, "10 MiB"), (2**31, "2 GiB")),
        *((999 * 2**10, "999 KiB"), (2**60, "1048576 TiB"), (int(2.04 * 2**40), "2 TiB"), (12_900_000, "12 MiB")),
    ],
)
def test_a_size_is_written_to_be_read(size: int, text: str) -> None:
    assert format_size(size) == text
