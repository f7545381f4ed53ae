"""The elements of forms: content and buttons, and the fields of texts, numbers, dates and choices.

May import the readers of `koco.forms`, and nothing that knows whole forms. Begin with `base`, then
`fields`, on which all elements with a value build; `types` has all classes by their type.
"""
