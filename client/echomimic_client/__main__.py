"""`animate`, or `python -m echomimic_client`."""

import os

# gRPC reads this when it is imported; what goes wrong, the program says itself, in a line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from echomimic_client.program import app

if __name__ == "__main__":
    app()
