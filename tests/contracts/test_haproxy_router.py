"""HAProxy keeps the router contract."""

from bleen.ports import Router
from bleen.providers.routers.haproxy import HAProxy
from bleen.testing.proxies import ProxyContract
from bleen.testing.site import Site


class TestHAProxy(ProxyContract):
    def build(self, site: Site) -> Router:
        return HAProxy(site.place, site.fence, site.reserve, site.listen, site.preview, site.tls, site.probe, site.keep_alive)
