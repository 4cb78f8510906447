# Two stages: what installs packages stays behind, what serves is a slim Python and a plain user.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements/build.lock requirements/runtime.lock /requirements/
RUN /opt/venv/bin/pip install --require-hashes -r /requirements/runtime.lock \
    && /opt/venv/bin/pip install --require-hashes -r /requirements/build.lock
WORKDIR /app
COPY pyproject.toml README.md ./
COPY demo ./demo
COPY migrations ./migrations
COPY wallet ./wallet
# Editable, because migrations run from beside the package.
RUN /opt/venv/bin/pip install --no-deps --no-index --no-build-isolation --editable . \
    && /opt/venv/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin wallet
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WALLET_HOST=0.0.0.0
USER wallet
EXPOSE 8000
# Liveness on purpose: a database that is away is no reason to restart the till.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
ENTRYPOINT ["wallet"]
CMD ["serve"]
