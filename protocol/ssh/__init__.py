"""The SSH library, bent to Skerry's rules: the one place outside the doors that knows it.

Proxy and agent must judge certificates in the same way, and proxy, agent and tsh must agree on
algorithms and on how the library is loaded. Nothing here opens a socket or a file.
"""
