"""`python -m edge_agent`: the same program as the `edge-agent` command."""

from edge_agent.cli import main

main()
