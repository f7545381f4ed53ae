"""What a service's author declares, checked before anything is sent anywhere.

A manifest (YAML) goes in, a frozen `model.Manifest` comes out, or one
`ManifestError` with every problem, each where it stands. `document` reads YAML
and remembers places, `model` has the keys, `rules` what pydantic cannot say of
them, `load` puts these together, `modules` looks for the entrypoints' files and
`schema` describes it all to editors. Only `load.load` touches a file.
"""
