"""Serve a model of MLflow's registry, with limits for requests."""

import logging
import os
import warnings
from typing import TYPE_CHECKING

from naevi.errors import UserError
from naevi.tracking import store
from naevi.tracking.guard import Guard, Limits
from naevi.tracking.store import shorten_error, tracking_uri
from naevi.tracking.ui import HOST, check_port
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from asyncio import Transport

    from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200


def serve(workspace: Workspace, address: str, port: int) -> None:
    """Serve the model at an MLflow address, such as models:/ph2@champion, until the process ends.

    Raises UserError if the port is in use or the store has no such model.
    """
    check_port(port)
    store.connect(workspace)
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    # Whatever the user has set: a served model is never unpickled.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    try:
        model = mlflow.pyfunc.load_model(address)
    except Exception as error:  # of MLflow, sqlalchemy, requests or the file system
        raise UserError(
            f"MLflow's store {tracking_uri(workspace)} has no model {address} ({shorten_error(error)}). "
            "Check the address."
        ) from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="PIL")  # clients could fill the log with them
    app, limits = scoring_server.init(model), Limits()
    print(f"Send images to http://{HOST}:{port}/invocations", flush=True)
    uvicorn.run(
        Guard(app, limits),
        host=HOST,
        port=port,
        http=_protocol(limits.seconds),
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
    )


def _protocol(seconds: float) -> "type[H11Protocol]":
    """Return uvicorn's protocol, but it closes the connections of clients that are silent or don't read.

    They have so many seconds to begin a request, and to read its answer.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        def connection_made(self, transport: "Transport") -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            self.loop.call_later(seconds, lambda: None if self.cycle else transport.close())

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.loop.call_later(seconds, self.transport.abort)

    return ImpatientProtocol
