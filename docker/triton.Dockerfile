# NVIDIA's Triton with the options that the gateway counts on, for a gateway in a container of its
# own (docker/compose.yaml). Models are mounted at /app/models.
#   docker build -f docker/triton.Dockerfile -t echomimic-triton .
# docs/tensorrt.md has which container carries what. Plans need the one that they were built in.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-py3
FROM ${TRITON_IMAGE}
USER 0
# The gateway's user: shared memory is between processes of one user.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin echomimic \
    && mkdir --parents /app/models
COPY docker/ready.py /app/
WORKDIR /app
USER 10001:10001
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s \
    CMD ["python3", "/app/ready.py", "8000", "/v2/health/ready"]
CMD ["tritonserver", "--model-repository=/app/models", "--disable-auto-complete-config", \
    "--exit-timeout-secs=15", "--grpc-infer-allocation-pool-size=0", "--allow-client-shm=true"]
