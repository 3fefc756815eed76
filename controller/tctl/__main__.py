"""`python -m controller.tctl`: the same program as the `tctl` command."""

from controller.tctl.cli import main

main()
