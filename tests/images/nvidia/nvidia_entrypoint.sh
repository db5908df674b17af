#!/bin/sh
echo "=== a stand-in for NVIDIA's container ==="
exec "$@"
