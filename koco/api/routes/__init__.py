"""The routes, one module for each resource.

A route checks its request, calls one operation and returns a struct, which describes the answer in
the OpenAPI document as well. Routes may import `middleware`, `http` and `openapi`. Begin with
`executions`.
"""
