"""moto's server in this process, on a free port of 127.0.0.1, with a log of what it is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from local.calls import CallLog, RecordingApplication


class _QuietHandler(MotoRequestHandler):
    # Without this each small answer waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests are in the call log."""


class Server(ThreadedMotoServer):
    """moto's threaded server, recording."""

    def __init__(self, log: CallLog, caller: Callable[[str], str]) -> None:
        super().__init__(ip_address="127.0.0.1", port=0, verbose=False)
        self._log = log
        self._caller = caller

    def _server_entry(self) -> None:
        application = RecordingApplication(DomainDispatcherApplication(create_backend_app), self._log, self._caller)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server(self._ip_address, self._port, application, True, request_handler=_QuietHandler)
        self._server_ready_event.set()
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Stop serving and free the port."""
        super().stop()
        if self._server is not None:
            self._server.server_close()
