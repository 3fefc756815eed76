"""The device: joins once, holds a tunnel to the controller, and serves SSH sessions through it."""
