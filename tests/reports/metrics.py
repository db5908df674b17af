"""What the gateway measures: writes docs/metrics.md.

python -m tests.reports.metrics
"""

from prometheus_client.metrics_core import Metric

from server.metrics import PREFIX, Metrics
from tests.reports import markdown

EXPLANATION = """A gateway with HTTP serves these to Prometheus at `/metrics` of its `--http-port`,
by the same TLS, to whoever has the permission `info` where keys are asked for. With
`--metrics-port 9464` it serves them at `http://HOST:9464/metrics`, too, in plain text and to
everybody, on the address that `--host` says, which is loopback unless it is told otherwise. With
neither it measures nothing. Histograms come as `_bucket`, `_sum` and `_count`, as usual; names of
counters end in `_total`. Triton has metrics of its own, on its port 8002: queues, batches, the
GPU."""

NOTES = """[monitoring/alerts.yml](monitoring/alerts.yml) has alerts for Prometheus, and
[monitoring/dashboard.json](monitoring/dashboard.json) a dashboard to import into Grafana, which
shows all of these. Neither was tried in a Prometheus or Grafana; a test holds their queries to the
names and labels above.

Values of labels are names of this program, in small number, whatever clients send:
methods, gRPC's codes, the reasons that [errors.md](errors.md) lists, stages, networks, and the
Tritons that the operator names. There are the usual metrics of the process, too, as
`process_cpu_seconds_total` and `process_resident_memory_bytes`.

The stages of a window, together, are what it takes: where they take longer than the window lasts,
video falls behind speech, unless the stream is ahead and lets others go first meanwhile. `audio`
is waiting for a client that speaks. `condition` is the VAE's encoder, and with a window's first
frames from the portrait comes out of the cache. Within `denoise` each step is told, too. Then
frames are encoded and sent, while the next window is made: an answer's sending lasts as long as its
client lets it wait. Executions are counted with the time that they wait, here for newcomers and in
Triton's queue."""


def row(metric: Metric, labels: tuple[str, ...]) -> tuple[str, ...]:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    return (
        f"`{name}`",
        metric.type,
        ", ".join(f"`{label}`" for label in labels),
        metric.documentation,
    )


def page() -> tuple[str, ...]:
    """Returns the parts of the page."""
    metrics = Metrics("", "")
    families = [m for m in metrics.registry.collect() if m.name.startswith(PREFIX)]
    rows = [row(family, metrics.labels[family.name]) for family in families]
    table = markdown.table(("metric", "type", "labels", "meaning"), rows)
    return "Metrics", EXPLANATION, table, NOTES


def main() -> None:
    markdown.write("metrics.md", "metrics", *page())


if __name__ == "__main__":
    main()
