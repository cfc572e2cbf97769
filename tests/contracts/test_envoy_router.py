"""Envoy keeps the router contract."""

from bleen.ports import Router
from bleen.providers.routers.envoy import Envoy
from bleen.testing.proxies import ProxyContract
from bleen.testing.site import Site


class TestEnvoy(ProxyContract):
    def build(self, site: Site) -> Router:
        return Envoy(site.place, site.fence, site.reserve, site.listen, site.preview, site.tls, site.probe, site.keep_alive)
