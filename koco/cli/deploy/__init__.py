"""Shared by `koco plan`, `deploy`, `rollback` and `undeploy`: plan, pack, ship, wait.

It may import `terminal`. Begin with `plan`.
"""
