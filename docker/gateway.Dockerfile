# The gateway alone, without torch and without a Triton: name one by ECHOMIMIC_TRITON_URL.
#   docker build -f docker/gateway.Dockerfile -t echomimic-gateway .
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS build
# As `make .venv/gateway/ready` installs them. `mp4` and `voice` make the image GPL: leave them out
# to pass it on.
ARG EXTRAS=server,client,mp4,heic,voice
WORKDIR /build
COPY LICENSE README.md pyproject.toml ./
COPY protos protos
COPY client client
COPY export export
COPY server server
# An index of your own: docker build --secret id=pip,src=pip.conf
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRAS}]" \
    && /opt/gateway/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin echomimic \
    && mkdir --parents /app/input /app/models
COPY --from=build /opt/gateway /opt/gateway
COPY docker/ready.py /app/
WORKDIR /app
USER 10001:10001
ENV ECHOMIMIC_HOST=0.0.0.0 \
    ECHOMIMIC_HTTP_PORT=9000 \
    ECHOMIMIC_HTTP_AUDIO_FOLDER=/app/input \
    ECHOMIMIC_REPOSITORY=/app/models \
    ECHOMIMIC_TRITON_URL=triton:8001 \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1
EXPOSE 9000 50051
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s \
    CMD ["/opt/gateway/bin/python3", "/app/ready.py", "$ECHOMIMIC_HTTP_PORT", "/readyz"]
ENTRYPOINT ["/opt/gateway/bin/python3", "-m", "server"]
