# All in one: the gateway, and a Triton that it starts and keeps. Without models of your own in
# /app/models it serves the demo's.
#   docker build -f docker/renderer.Dockerfile --target cpu -t echomimic-renderer:cpu .
#   docker build -f docker/renderer.Dockerfile -t echomimic-renderer .
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
# docs/tensorrt.md has which container carries what. Plans need the one that they were built in.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-py3

FROM ${PYTHON_IMAGE} AS build
# Debian keeps one version of a package, which a pin would soon miss.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends tini
ARG EXTRAS=server,client,mp4,heic,voice
WORKDIR /build
COPY LICENSE README.md pyproject.toml ./
COPY protos protos
COPY client client
COPY export export
COPY server server
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRAS}]" \
    && /opt/gateway/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE} AS triton
COPY server/triton/requirements.txt /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/triton \
    && /opt/triton/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        -r /build/requirements.txt \
    && /opt/triton/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE} AS cpu
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin echomimic \
    && mkdir --parents /app/input /app/models
# Reaps what a Triton leaves that dies, and passes signals on.
COPY --from=build /usr/bin/tini-static /usr/bin/tini
COPY --from=triton /opt/triton /opt/triton
COPY --from=build /opt/gateway /opt/gateway
COPY export/demo/model_repository /app/demo
COPY docker/ready.py docker/renderer.sh /app/
WORKDIR /app
USER 10001:10001
ENV ECHOMIMIC_HOST=0.0.0.0 \
    ECHOMIMIC_HTTP_PORT=9000 \
    ECHOMIMIC_HTTP_AUDIO_FOLDER=/app/input \
    ECHOMIMIC_REPOSITORY=/app/models \
    ECHOMIMIC_TRITON_VENV=/opt/triton \
    ECHOMIMIC_TRITON_LOG=/tmp/triton.log \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1
EXPOSE 9000 50051
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s \
    CMD ["/opt/gateway/bin/python3", "/app/ready.py", "$ECHOMIMIC_HTTP_PORT", "/readyz"]
ENTRYPOINT ["/usr/bin/tini", "--", "/app/renderer.sh"]

FROM ${TRITON_IMAGE} AS gpu
# Root makes what follows; the base leaves open who it runs as.
USER 0
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin echomimic \
    && mkdir --parents /app/input /app/models
COPY --from=build /usr/bin/tini-static /usr/bin/tini
# The gateway's Python beside the container's, which is another.
COPY --from=build /usr/local /opt/python
COPY --from=build /opt/gateway /opt/gateway
RUN rm /opt/gateway/bin/python* \
    && /opt/python/bin/python3 -m venv --upgrade --without-pip /opt/gateway
COPY export/demo/model_repository /app/demo
COPY docker/ready.py docker/renderer.sh /app/
WORKDIR /app
USER 10001:10001
ENV ECHOMIMIC_HOST=0.0.0.0 \
    ECHOMIMIC_HTTP_PORT=9000 \
    ECHOMIMIC_HTTP_AUDIO_FOLDER=/app/input \
    ECHOMIMIC_REPOSITORY=/app/models \
    ECHOMIMIC_TRITON_VENV=/opt/tritonserver \
    ECHOMIMIC_TRITON_LOG=/tmp/triton.log \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1
EXPOSE 9000 50051
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s \
    CMD ["/opt/gateway/bin/python3", "/app/ready.py", "$ECHOMIMIC_HTTP_PORT", "/readyz"]
# The base's own entry point looks for the driver and says what it finds.
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/nvidia/nvidia_entrypoint.sh", "/app/renderer.sh"]
