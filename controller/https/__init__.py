"""HTTPS for both the web door and the machine API: gunicorn, with a worker that slow and silent peers cannot tie up."""
