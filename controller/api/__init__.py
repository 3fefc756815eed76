"""The machine API (3025): HTTPS for nodes that have joined, by client certificate."""
