"""What `koco plan`, `deploy`, `rollback` and `undeploy` share: plan, pack, ship, wait.

It may import `terminal`. Begin with `plan`.
"""
