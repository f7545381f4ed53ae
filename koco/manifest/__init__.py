"""Manifests: what a service's author declares, checked before anything is sent anywhere.

Pure models: it imports `forms`, `errors` and `file_reading`. Begin with `model`.

`yaml_document` reads YAML and remembers places, `model` has the keys, `rules` the checks that
pydantic cannot express, and `load` returns a frozen `Manifest` or raises one `ManifestError` with
every problem. Only `load.load` reads a file.
"""
