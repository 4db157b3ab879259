"""Reads http://HOST:PORT/metrics with the parsers of Prometheus's Python client; exits 1 at the first fault."""
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as older

URL = f"http://{sys.argv[1]}/metrics"


def families(accept, content_type, parse):
    request = urllib.request.Request(URL, headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        got = answer.headers["Content-Type"]
        assert got == content_type, f"asked for {accept}: {got}"
        found = list(parse(answer.read().decode()))
    names = [family.name for family in found]
    assert len(names) == len(set(names)) > 30, names
    for family in found:
        assert family.name.startswith(("redan_", "process_")), family.name
        assert family.documentation and family.type in ("counter", "gauge", "histogram", "info"), family
        assert family.samples and all(sample.value >= 0 for sample in family.samples), family
        labels = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(labels) == len(set(labels)), f"{family.name}: a series stands there twice"
    return {(sample.name, *sorted(sample.labels.items())) for family in found for sample in family.samples}


# What Prometheus 2 and 3 send, what agents for the older format send, and what curl sends.
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
first = families(PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8", open_metrics)
for accept in ("text/plain;version=0.0.4", "*/*", None):
    same = families(accept, "text/plain; version=0.0.4; charset=utf-8", older)
    assert same == first, same ^ first
print("everything as it should be")
