"""Where the time of an execution went: spans of its events, and their drawings.

`spans` is the model, and knows nothing of drawing. `chart` draws it in a terminal, `picture` as SVG
and HTML.
"""
