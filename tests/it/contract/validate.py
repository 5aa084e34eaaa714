"""Checks manifests against the schemas of Kubernetes, strictly: unknown fields are errors.

stdin: JSON, a list of {"place": where it comes from, "object": the manifest}. stdout: the versions checked, then one line
per error. Versions: 1.33 and all newer ones that kubernetes-validate has.
"""

import json
import sys

import kubernetes_validate
from kubernetes_validate import utils

OLDEST = (1, 33)


def versions():
    known = {tuple(int(part) for part in utils.major_minor(v).split(".")) for v in utils.all_versions()}
    return [f"{major}.{minor}" for major, minor in sorted(known) if (major, minor) >= OLDEST]


def main():
    checked = versions()
    print(" ".join(checked))
    for item in json.load(sys.stdin):
        for version in checked:
            try:
                kubernetes_validate.validate(item["object"], version, strict=True)
            except Exception as error:  # whatever the library throws, the manifest did not pass
                text = getattr(error, "message", None) or repr(error)
                print(f"{item['place']} {item['object'].get('kind')} on {version}: {text}")


main()
