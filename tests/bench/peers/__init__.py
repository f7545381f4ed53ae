"""The same trivial work through other products and koco: `python -m tests.bench.peers`.

A peer is a module in `products` with a subclass of `peer.Peer`. It says how the product is started
the way its own documentation recommends for one machine, how a client launches work over one
connection, and how an execution waits for a person. What it runs is in `programs`. Everything else
is the same for all: `measures` does the work and `table` prints it. To add a peer, write both
modules and name the class in `products.every`.

No cell is guessed. Where a product lacks a notion, its class says so in `lacks`; what a reader must
know to judge a figure is in `notes`. Both become footnotes.
"""
