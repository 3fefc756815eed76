"""The person's client: signs in, lists nodes, and opens sessions on them."""
