"""What of the web door outlives a request: terminals, files on their way, and the pages' news.

One thread a worker process, with an event loop of its own (`hall.Hall`), begun when it is first needed. Connections
come to it from the worker (`controller.https.kept`); SSH to the nodes goes out from it, by the proxy's client door.
"""
