"""The WSGI entry point: `gunicorn wsgi:app`, `flask --app wsgi run`."""

from app.factory import create_app
from config.process import forbid_core_dumps

forbid_core_dumps()
app = create_app()
