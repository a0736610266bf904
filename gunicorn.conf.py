"""gunicorn's settings; HOST, PORT and WEB_CONCURRENCY come from the environment."""

import errno
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from config.settings import SettingsError, read_settings

try:
    _settings = read_settings()
except SettingsError as error:
    sys.exit(str(error))

bind = _settings.bind
workers = _settings.web_concurrency
worker_class = "config.worker.Worker"
logger_class = "config.server.Logger"
# Many more than the queue has places: the others serve slow uploads, health checks and refusals.
threads = 64
# Heroku's router keeps idle connections for 90 s.
keepalive = 95
graceful_timeout = 25
# For the workers' heartbeat files: on a disk, writing them can stall for seconds.
if Path("/dev/shm").is_dir():  # nosec B108
    worker_tmp_dir = "/dev/shm"  # nosec B108
control_socket_disable = True
# The worker makes room itself (config/worker.py).
worker_connections = 10_000
# The worker can't watch a file that the kernel sends.
sendfile = False
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(server: Any) -> None:
    """Exit at once if the address is not available; else create the folder of the metrics.

    gunicorn itself retries for five seconds and names no remedy.
    """
    # Sockets inherited from systemd, or from the process that this one replaces (SIGUSR2).
    inherited = server.master_pid or os.environ.get("LISTEN_PID") == str(os.getpid())
    for address in server.cfg.address:
        if not inherited and isinstance(address, tuple):  # no Unix socket or file descriptor
            _check_free(*address)
    os.environ[_FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="melanoma-metrics-")


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                sys.exit(f"Cannot listen on {host}, port {port}: {error}. Change HOST or PORT.")
            sys.exit(
                f"Port {port} on {host} is in use by another program. Stop it, or choose another "
                f"port: HOST={host} PORT={8001 if port == 8000 else 8000} make run"
            )


def child_exit(_server: object, worker: Any) -> None:
    """Remove a worker that has ended from the gauges."""
    # Imported here, because it reads the variable above once.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: object) -> None:
    """Remove the folder of metrics."""
    shutil.rmtree(os.environ[_FOLDER_VARIABLE], ignore_errors=True)


# No preload_app: each worker has to load its model after the fork.
