"""`python -m tsh`: the same program as the `tsh` command."""

from tsh.cli import main

main()
