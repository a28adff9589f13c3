"""The HTTP server: an API that stays up, and the process that serves the studio page.

``create_app(ServerSettings(...))`` gives an ASGI application; `soundleap serve` runs it.
"""
