# The web app, as the Heroku slug has it: docs/serving.md, "In a container".
FROM python:3.12-slim-bookworm AS packages
COPY requirements.txt /
RUN python -m venv /venv && \
    /venv/bin/pip install --no-cache-dir --require-hashes -r /requirements.txt && \
    /venv/bin/pip uninstall --yes pip

FROM python:3.12-slim-bookworm
COPY --from=packages /venv /venv
WORKDIR /srv/melanoma
COPY wsgi.py gunicorn.conf.py ./
COPY config config
COPY processing processing
COPY app app
# The folder of downloaded models alone has to be writable; the metrics need /tmp.
RUN /venv/bin/python -m compileall -q . && install -d -o 10001 -g 10001 /cache
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 LOG_FORMAT=json MODEL_CACHE=/cache
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
CMD ["gunicorn", "wsgi:app"]
