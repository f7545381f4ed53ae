"""The SQL that repositories share: tables of structs, pages, and a caller's sight.

It imports `model`, `errors` and the protocol of engines. Begin with `repository`.
"""
