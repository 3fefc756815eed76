"""The recording container: what a session's recording is made of, byte for byte. docs/recording-format.md tells.

No sockets, files or clock here, but the two libraries that the format is made of: zstandard and cryptography.
`writer` turns events into bytes, `reader` turns bytes into records or a precise fault and judges chain and seals
with nothing but the node's public key, `opening` turns data records into events, for who holds the recording's key.
"""
