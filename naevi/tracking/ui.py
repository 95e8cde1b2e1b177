"""Open MLflow's pages on the store of a repository."""

import os
import socket
import subprocess
import sys

from naevi.errors import UserError
from naevi.tracking import browser, store, view
from naevi.tracking.creation import sqlite_uri
from naevi.tracking.store import tracking_uri
from naevi.workspace import Workspace

HOST, FIRST_PORT, PORTS = "127.0.0.1", 5000, 100  # how many ports are tried


def open_ui(workspace: Workspace, port: int | None, *, show: bool) -> None:
    """Print the addresses of the results, and start MLflow's server on this port, by default the first free one.

    The server replaces this process. If MLFLOW_TRACKING_URI names a server, nothing is started. With `show`, a browser
    opens on the results if there is a display.

    Raises UserError if the store can't be opened or the port is in use.
    """
    client, experiment = store.connect(workspace)
    view.write_views(client, experiment)
    uri = tracking_uri(workspace)
    if uri.startswith(("http:", "https:")):
        print("MLFLOW_TRACKING_URI names a server, so none is started.")
        _print_pages(uri.rstrip("/"), experiment)
        return
    if uri == sqlite_uri(workspace.mlflow_database):
        os.chdir(workspace.main_repository)
        uri = f"sqlite:///{workspace.mlflow_database.name}"  # MLflow takes the address for a path, see `creation`
    if port is None:
        port = free_port()
    else:
        check_port(port)
    print("The pages are up as soon as the server has started.")
    results = _print_pages(f"http://{HOST}:{port}", experiment)
    if show and browser.has_display():  # by a process of its own, because the server replaces this one
        subprocess.Popen([sys.executable, "-m", browser.__name__, results])
    command = ["mlflow", "ui", "--workers", "1", "--backend-store-uri", uri, "--host", HOST, "--port", str(port)]
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, [sys.executable, "-m", *command])


def _print_pages(server: str, experiment: str) -> str:
    """Print the addresses of the pages on a server and return that of the results."""
    pages = {"Results": view.RESULTS_PAGE, "Differences": view.DIFFERENCES_PAGE, "Learning curves": view.CURVES_PAGE}
    addresses = {name: f"{server}/{page.format(experiment=experiment)}" for name, page in pages.items()}
    print("\n".join(f"{name}: {address}" for name, address in addresses.items()), flush=True)
    return addresses["Results"]


def check_port(port: int) -> None:
    """Raise UserError if a port is in use."""
    if not _is_free(port):
        raise UserError(f"Port {port} is in use. Choose another one with --port.")


def free_port() -> int:
    """Return the first free port from FIRST_PORT on. On a Mac, AirPlay uses 5000."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        if _is_free(port):
            return port
    raise UserError(f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free. Name a free one with --port.")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            return False
        return True
