"""The controller: certificate authority, proxy, web door, machine API and the admin's commands."""
