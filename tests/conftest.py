"""How Hypothesis judges: by what the examples show, however long a busy machine takes for one."""

from hypothesis import HealthCheck, settings

settings.register_profile("kbalance", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kbalance")
