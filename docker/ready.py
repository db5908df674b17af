"""A container's health: `python3 ready.py PORT PATH` ends with 0 if a GET is answered with 200.

The port may be the name of a variable, as $ECHOMIMIC_HTTP_PORT.
"""

import sys
from http.client import HTTPConnection, HTTPException
from os.path import expandvars


def ready(port: int, path: str, timeout_s: float = 5.0) -> bool:
    """Whether what listens on a port of this host answers with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not ready(int(expandvars(sys.argv[1])), sys.argv[2]))
