"""The routes, one module for each resource. A route parses, calls one operation and renders.

Routes may import `middleware`, `http` and `openapi`. Begin with `executions`.
"""
