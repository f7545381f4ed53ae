"""What is deployed: services, their releases, bundles, plans, secrets and endpoints.

Begin with `releases`.
"""
