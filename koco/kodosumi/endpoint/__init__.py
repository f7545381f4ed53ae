"""A service's endpoint in Kodosumi's dialect, on the parts of `koco.sdk.endpoint`.

Begin with `serve_api`. Services import it as `kodosumi.serve` and `kodosumi.core`.
"""
