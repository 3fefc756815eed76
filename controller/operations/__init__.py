"""What an admin does to a controller as a whole: backup, restore, and a look at its health."""
