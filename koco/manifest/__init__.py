"""Manifests: a service's declaration by its author, checked before anything is sent.

A manifest (YAML) becomes a frozen `model.Manifest`, or one `ManifestError` with
the place of every problem. `document` reads YAML and records places. `model`
defines the keys, `rules` the checks that pydantic cannot express. `load` combines
these. `modules` looks for the entrypoints' files, and `schema` describes manifests
to editors. Only `load` reads files.
"""
