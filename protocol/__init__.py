"""What both ends of a Skerry cluster must agree on, byte for byte or rule for rule.

Pure code only: no sockets, no files, no clock, no randomness, no settings. `protocol.ssh` is the one
corner that knows the SSH library, because the proxy, the agent and tsh must bend it in the same way.
"""
