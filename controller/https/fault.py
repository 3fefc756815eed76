"""What a request's body can turn out to be while the application reads it."""

from gunicorn.http.errors import ParseException

# Raised by reading a body whose chunks are malformed (RFC 9112 section 7.1): the peer's fault, a 400.
MalformedBodyError: type[Exception] = ParseException

__all__ = ["MalformedBodyError"]
