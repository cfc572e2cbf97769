"""Fakes of every port and the contract suites, so that anyone can prove a provider of theirs. The suites need pytest, which the extra ``testing`` brings.

::

    fakes          a router, a platform, a check, a migrator and a clock without a proxy, a process or a second of waiting
    service        a whole service over them, or over a router that a test brings along
    stages         where such a service is tried: over fakes, or with a real proxy before the copies of a fake platform
    application    a web service to release; load: clients that count what fails
    routers        RouterContract: what a router says; proxies: ProxyContract, what users feel
    platforms      PlatformContract; ProcessContract, for processes of this host
    checks         CheckContract; ProgramContract, for checks that run as programs of this host
    journals       JournalContract
    migrators      MigratorContract
    site           what the suites are tried on
"""
