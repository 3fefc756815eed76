"""Diagnostics over plain HTTP, for a supervisor, a load balancer and Prometheus: ``/healthz /readyz /metrics``.

A process of its own: it has to answer, and to say what is wrong, while any of the others is down or hangs.
"""
