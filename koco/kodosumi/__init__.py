"""Kodosumi's public surface, with its exact semantics, for services that were written for it.

A service whose manifest says `runtime: {kodosumi: true}` finds this package under the name
`kodosumi`, so none of its files changes. Its parts behave as Kodosumi's do, which are looser than
koco's own: values travel as the text that was sent, several texts are joined as there, any value
may be an input. They stand on the parts of `koco.sdk`, which they may import together with
everything below it; `koco.runner` imports this package only for executions in this dialect.

Begin with `core`, which has all public names.
"""

#: The version of Kodosumi whose names and behaviour this package has.
__version__ = "1.2.0"
