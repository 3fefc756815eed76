"""A device whose clock is wrong: libfaketime shifts what a program takes for the time of day.

Its counting clocks are left alone, as a wrong clock leaves them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness.road import ROOT

# See the file in there.
MEND = Path(__file__).parent / "faketime_mend"
# Debian's package faketime.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def environment_at(moment: datetime) -> dict[str, str]:
    """Return what a program's environment needs for its clock to say `moment` now, and to go on from there."""
    assert LIBRARIES, "libfaketime is not installed (apt-get install faketime)"
    shift = round(moment.timestamp() - time.time())
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": f"{shift:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{ROOT}:{MEND}",
    }


def year_1970() -> dict[str, str]:
    """Return the environment of a device without a battery, shortly after it was switched on."""
    return environment_at(datetime(1970, 1, 1, 0, 1, tzinfo=UTC))


def year_2040() -> dict[str, str]:
    """Return the environment of a device whose clock was set to the far future."""
    return environment_at(datetime(2040, 6, 1, tzinfo=UTC))


def clock_at(moment: datetime) -> tuple[str, ...]:
    """Return what stands in front of a command so that it runs at `moment`."""
    return ("env", *(f"{name}={value}" for name, value in environment_at(moment).items()))


@dataclass(frozen=True)
class Clockwork:
    """A clock that a test puts on while programs run: all of theirs jump at once, the counting ones too."""

    file: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of their commands."""
        assert LIBRARIES, "libfaketime is not installed (apt-get install faketime)"
        variables = (f"LD_PRELOAD={LIBRARIES[0]}", f"FAKETIME_TIMESTAMP_FILE={self.file}", "FAKETIME_NO_CACHE=1")
        return ("env", *variables, f"PYTHONPATH={ROOT}:{MEND}")

    def put_on(self, ahead: timedelta) -> None:
        """Have the clock be ahead of the true time by so much."""
        new = self.file.with_suffix(".new")
        new.write_text(f"+{ahead.total_seconds():.0f}\n")
        new.chmod(0o644)
        new.replace(self.file)


@contextmanager
def clockwork() -> Iterator[Clockwork]:
    """Give a clock that shows the true time at first. Its file is one that the broker's own user can read as well."""
    with TemporaryDirectory(prefix="skerry-clock") as folder:
        Path(folder).chmod(0o755)
        clock = Clockwork(Path(folder) / "ahead")
        clock.put_on(timedelta(0))
        yield clock
