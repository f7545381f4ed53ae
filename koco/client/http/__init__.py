"""A small HTTP/1.1 client: one server, directly or through a proxy.

It has no redirects, cookies, compression or event loop, because koco's API needs none. `import
httpx` alone takes three times as long as bare Python, for every command that makes a request.

It may import nothing but the standard library. Begin with `session`; `connection` reads and writes,
`pace` limits the time of an answer, and `failures` are all errors that leave this package.
"""
