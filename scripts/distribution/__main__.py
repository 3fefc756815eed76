"""`scripts/dist`: build what people install, into dist/."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from itertools import count
from pathlib import Path

from scripts.distribution.product import PRODUCTS, PROGRAMS, Builder, all_for
from scripts.distribution.source import ROOT, BuildError, file_digest, own_version, parse_version
from scripts.distribution.wheels import ARCHITECTURES


def main() -> int:
    """Build, and say what came of it."""
    wanted = _arguments()
    began = time.monotonic()
    try:
        version = parse_version(wanted.version) if wanted.version else own_version()
        built = _build(wanted, version)
    except (BuildError, OSError) as err:
        print(f"ERROR: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    sums = "".join(f"{file_digest(path)}  {path.name}\n" for path in sorted(built))
    (wanted.output / "SHA256SUMS").write_text(sums, encoding="ascii")
    for path in sorted(built):
        print(f"  {path.stat().st_size / 1e6:6.1f} MB  {path.name}")
    print(f"In {wanted.output}, with SHA256SUMS, after {time.monotonic() - began:.0f} s")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dist", description=__doc__)
    parser.add_argument("--version", metavar="X", help="the same code under another number [default: the checkout's]")
    parser.add_argument("--only", choices=PROGRAMS, help="what is for one program")
    parser.add_argument("--arch", choices=ARCHITECTURES, help="what is for one architecture")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="[default: dist]")
    return parser.parse_args()


def _build(wanted: argparse.Namespace, version: str) -> list[Path]:
    chosen = [
        product
        for product in PRODUCTS.values()
        if wanted.only in {None, product.program.name.removeprefix("skerry-")}
        and wanted.arch in {None, product.architecture.name}
    ]
    wanted.output.mkdir(parents=True, exist_ok=True)
    for product in PRODUCTS.values():  # what an earlier build left is not mistaken for this one's
        (wanted.output / product.file_name(version)).unlink(missing_ok=True)
    numbers = count(1)
    total = len(all_for(chosen)) + 1  # and the wheel

    def say(text: str) -> None:
        print(f"[{next(numbers)}/{total}] {text}", flush=True)

    with Builder(version, wanted.output, say, lambda text: print(f"      {text}", flush=True)).at_work() as builder:
        builder.wheel()
        for product in chosen:
            builder.build(product)
        return builder.made


if __name__ == "__main__":
    sys.exit(main())
