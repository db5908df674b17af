"""Whether a Triton holds executions in its queue though nobody else asks for anything.

python -m tests.reports.queue URL [MODEL...]

URL is host:port of any Triton's gRPC. A model is tried with what its model_warmup says; without
names, every model is. docs/triton.md tells what was found, and `tests.reports.batching` how.
"""

import argparse
import sys
from typing import Any

from tritonclient.grpc import InferenceServerClient

from tests.reports.markdown import table
from tests.support.triton_queue import one_at_a_time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    rows: list[tuple[str, int, int, str]] = []
    with InferenceServerClient(options.url) as client:
        server: Any = client.get_server_metadata()
        index: Any = client.get_model_repository_index()
        for model in options.models or [entry.name for entry in index.models]:
            found = one_at_a_time(client, model, options.requests)
            rows.append((model, found.requests, found.held, f"{found.longest_ms:.1f}"))
    print(f"{server.name} {server.version}, one request at a time\n")
    print(table(("model", "requests", "held over 100 ms", "longest in the queue, ms"), rows))
    return 1 if any(held for _, _, held, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
