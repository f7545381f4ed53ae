"""The API in processes that do not lead: they answer what the store can, and pass on the rest.

Begin with `app`. `rules` says what they answer, `hop` passes the rest on, and `proof` tells the
leader, in a way that nobody else can, who the client is.
"""
