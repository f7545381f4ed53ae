"""The engines: databases that a store can run on.

`protocol` says what a store needs of an engine, and is all that the rest of `koco.store` knows.
`group_commit` collects changes for any of them, and `rows` copies one's rows into another.
`base` is what engines do alike. Each engine is a package beside it. They import
`koco.store.errors` and `koco.store.version`.
"""
