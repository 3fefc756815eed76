"""The proxy: the client door, the tunnel door, and the relay between them. It never sees plaintext."""
