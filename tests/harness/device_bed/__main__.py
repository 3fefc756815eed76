"""A bed to try things by hand: a controller's host and devices behind NAT, and a shell on the first device."""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.harness.device_bed.bed import bed


def main() -> None:
    """Boot them, tell how to get into each, and hand over the terminal until the shell ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.device_bed", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", default=["kiosk"], help="a device's name [default: kiosk]")
    names = parser.parse_args().names
    with bed() as made:
        devices = [made.host(), *(made.device(name) for name in names)]
        made.boot(*devices)
        for device in devices:
            sys.stdout.write(f"{device.name} ({device.address}): {' '.join(device.prefix)} bash\n")
        sys.stdout.flush()
        subprocess.run([*devices[1].prefix, "bash", "-l"], check=False)


if __name__ == "__main__":
    main()
