"""gunicorn's settings; PORT and WEB_CONCURRENCY come from the environment."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from config.settings import SettingsError, read_settings

try:
    _settings = read_settings()
except SettingsError as error:
    sys.exit(str(error))

bind = f"0.0.0.0:{_settings.port}" if _settings.port else "127.0.0.1:8000"
workers = _settings.web_concurrency
worker_class = "config.worker.Worker"
# Far more than the queue has places: the rest are slow uploads, probes, requests to be refused.
threads = 64
# Heroku's router keeps idle connections for 90 s.
keepalive = 95
graceful_timeout = 25
# The heartbeat file: on a disk its writes can stall for seconds.
if Path("/dev/shm").is_dir():  # nosec B108
    worker_tmp_dir = "/dev/shm"  # nosec B108
control_socket_disable = True
# Each worker's counts lie there, so that any of them can tell those of all.
_metrics = tempfile.mkdtemp(prefix="melanoma-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics


def child_exit(_server: object, worker: Any) -> None:
    """Take a worker that is gone out of the counts of what is there now."""
    # Here, as what this imports reads the variable above once.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(_server: object) -> None:
    """Leave nothing behind."""
    shutil.rmtree(_metrics, ignore_errors=True)


# No preload_app: each worker has to load its model after the fork.
