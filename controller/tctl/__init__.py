"""`tctl`: the admin's commands, on the controller's own host."""
