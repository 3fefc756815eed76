"""For the whole suite."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("skerry", deadline=None)
settings.load_profile("skerry")

# Run in the background, or under nohup, the suite would hand on that these are ignored.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

pytest_plugins = ["tests.harness.doors"]
