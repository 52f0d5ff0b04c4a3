# Every service from one file: `docker build --target ingest .`, and likewise metadata, artifact, registry, gateway.
# All targets share their layers and differ only in what they start.

ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ARG UV_VERSION=0.13.8
ENV UV_PROJECT_ENVIRONMENT=/opt/runstream \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
RUN --mount=type=cache,target=/root/.cache/pip pip install "uv==${UV_VERSION}"
WORKDIR /src

# Dependencies first: their layer changes with the lock file, not with our code.
COPY pyproject.toml uv.lock ./
COPY proto/pyproject.toml proto/
COPY libs/common/pyproject.toml libs/common/
COPY libs/client/pyproject.toml libs/client/
COPY services/artifact/pyproject.toml services/artifact/
COPY services/gateway/pyproject.toml services/gateway/
COPY services/ingest/pyproject.toml services/ingest/
COPY services/metadata/pyproject.toml services/metadata/
COPY services/registry/pyproject.toml services/registry/
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-install-workspace \
        --package runstream-artifact --package runstream-gateway --package runstream-ingest \
        --package runstream-metadata --package runstream-registry

COPY proto proto
COPY libs/common libs/common
COPY services services
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable \
        --package runstream-artifact --package runstream-gateway --package runstream-ingest \
        --package runstream-metadata --package runstream-registry


# MLflow's web UI is package data of the whole mlflow wheel; the gateway needs its files and none of its dependencies.
FROM build AS web-ui
ARG MLFLOW_VERSION=3.17.2
RUN --mount=type=cache,target=/root/.cache/pip \
    pip download --no-deps --dest /tmp/wheels "mlflow==${MLFLOW_VERSION}" \
    && /opt/runstream/bin/python -m runstream_gateway.web_ui unpack "/tmp/wheels/mlflow-${MLFLOW_VERSION}-py3-none-any.whl" /opt/mlflow-ui


FROM python:${PYTHON_VERSION}-slim AS service
# A fixed number, so that a cluster can check that the image does not run as root.
ARG RUNSTREAM_UID=10001
RUN useradd --uid "${RUNSTREAM_UID}" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin runstream
COPY --from=build /opt/runstream /opt/runstream
COPY deploy/compose/probe.py /opt/probe.py
ENV PATH=/opt/runstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RUNSTREAM_LOG_FORMAT=json \
    RUNSTREAM_GRPC_PORT=5050 \
    RUNSTREAM_ADMIN_PORT=5060
USER ${RUNSTREAM_UID}
EXPOSE 5050 5060
STOPSIGNAL SIGTERM
# Whether the process is alive. Whether it can work is /readyz, which must not get a container killed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "/opt/probe.py", "healthz"]


FROM service AS artifact
CMD ["python", "-m", "runstream_artifact"]


FROM service AS registry
CMD ["python", "-m", "runstream_registry"]


FROM service AS gateway
COPY --from=web-ui /opt/mlflow-ui /opt/mlflow-ui
ENV RUNSTREAM_MLFLOW_UI_DIR=/opt/mlflow-ui \
    RUNSTREAM_HTTP_PORT=5000
EXPOSE 5000
CMD ["python", "-m", "runstream_gateway"]


FROM service AS ingest
CMD ["python", "-m", "runstream_ingest"]


FROM service AS metadata
CMD ["python", "-m", "runstream_metadata"]
