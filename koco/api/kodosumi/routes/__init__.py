"""The routes of Kodosumi's API, one module per resource.

They may import `koco.api.kodosumi.shapes` and koco's own routes. Begin with `flows`.
"""
