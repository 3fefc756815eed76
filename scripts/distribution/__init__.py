"""What people install: the wheel, archives and Debian packages of both programs."""
