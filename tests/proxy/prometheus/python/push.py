"""Pushes as a program does that uses Prometheus' Python client.

Arguments: the address, `push`, `add` or `delete`, and the value of the counter.
"""

import sys

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import delete_from_gateway, push_to_gateway, pushadd_to_gateway

address, what, value = sys.argv[1:]
group = {"task_execution_id": "8", "task_external_execution_id": "task 8/ü", "pod": ""}
registry = CollectorRegistry()
counter = Counter("python_pushed", 'A "counter"\\.', ["kind"], registry=registry)
counter.labels('a"b\\c\nd').inc(float(value))
if what == "push":
    histogram = Histogram("python_pushed_seconds", "Two\nlines.", buckets=(0.5, 1, 1e6), registry=registry)
    histogram.observe(0.7)
    push_to_gateway(address, "python/task", registry, grouping_key=group)
elif what == "add":
    pushadd_to_gateway(address, "python/task", registry, grouping_key=group)
else:
    delete_from_gateway(address, "python/task", grouping_key=group)
