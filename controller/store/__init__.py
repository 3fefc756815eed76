"""Where the controller keeps its records: the interface, and the implementations behind it."""
