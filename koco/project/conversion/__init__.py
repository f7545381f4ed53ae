"""Converts deployment files of Kodosumi and Ray Serve into manifests and a `koco.toml`.

`conversion.convert` is the way in. `sources` finds the applications in the files; `packages`,
`environment`, `serving` and `code` each convert a part of one application into a `draft`; and
`manifest_text` writes the draft as YAML, with a comment for each thing that was not carried over.
The user's own files are only read, and no code is imported. Values that look like keys are never
part of a draft, a note or an error.

May import the rest of `koco.project` and what is below it.
"""
