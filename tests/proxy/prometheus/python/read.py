"""Reads an exposition from its input as the Python client does, and prints what it saw as ../read does.

The argument is the content type. The client's OpenMetrics parser is the strictest there is.
"""

import json
import struct
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser


def bits(value):
    return "%x" % struct.unpack(">Q", struct.pack(">d", value))


def milliseconds(time):
    # Text 0.0.4 was divided by 1000, OpenMetrics has seconds and nanoseconds.
    return None if time is None else round(float(time) * 1000)


def main(content_type):
    text = sys.stdin.buffer.read().decode("utf-8")
    openmetrics_text = content_type.startswith("application/openmetrics-text")
    reader = openmetrics_parser if openmetrics_text else parser
    # The reader of text 0.0.4 gives counters the names that OpenMetrics wants; here the given ones are compared.
    words = (line.split(" ") for line in text.splitlines() if line.startswith("# TYPE "))
    bare = {w[2] for w in words if w[3] == "counter" and not w[2].endswith("_total")} if not openmetrics_text else set()
    for family in reader.text_string_to_metric_families(text):
        seen = {"family": family.name, "type": family.type}
        if family.documentation:
            seen["help"] = family.documentation
        print(json.dumps(seen))
        for sample in family.samples:
            name = family.name if family.name in bare else sample.name
            seen = {"series": name, "labels": sample.labels, "bits": bits(sample.value)}
            print(json.dumps(seen | {"time": milliseconds(sample.timestamp)}))


main(sys.argv[1])
