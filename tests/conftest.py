"""How generated examples are tried: the same ones in every run, for as long as a busy machine takes."""

from hypothesis import HealthCheck, settings

settings.register_profile("kbalance", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kbalance")
