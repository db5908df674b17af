#!/bin/sh
# Starts the gateway; words of `docker run` are its options. Where no models are mounted, it serves
# the demo's. A folder with anything in it is served or refused: nobody gets the demo by mistake.
set -eu
if [ -z "$(ls -A "$ECHOMIMIC_REPOSITORY" 2>/dev/null)" ]; then
    echo "no models in $ECHOMIMIC_REPOSITORY: serving the demo's, which know drawn faces only;" \
        "export a checkpoint, see docs/docker.md" >&2
    export ECHOMIMIC_REPOSITORY=/app/demo
fi
exec /opt/gateway/bin/python3 -m server "$@"
