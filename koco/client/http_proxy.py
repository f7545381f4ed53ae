"""The proxy between this machine and a control plane, as the environment names it.

The variables are those that curl and pip read: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
`NO_PROXY`. In `NO_PROXY`, `example.com`, `.example.com` and `*.example.com` all mean that host and
every host below it. (`urllib` and httpx do not know the last form, which Go's tools understand.)
"""

from urllib.parse import urlsplit

from koco.client.url import is_loopback


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy for a control plane's URL, or None for a direct connection.

    This machine's loopback never has one, because a proxy elsewhere could not reach it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    from urllib.request import getproxies, proxy_bypass  # 15 ms, and most URLs are of this machine

    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host) or _is_below(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_below(host: str, excluded: str) -> bool:
    """Return whether `NO_PROXY` lists a domain of a host in the form `*.example.com`."""
    domains = (
        each.strip().lower().removeprefix("*.") for each in excluded.split(",") if "*." in each
    )
    return any(domain and f".{host}".endswith(f".{domain}") for domain in domains)
