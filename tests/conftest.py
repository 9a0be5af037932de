"""What holds for all tests.

Generated cases are the same in every run, and a slow machine is no failure. Ctrl-C reaches what the tests start: a
shell that runs them in the background has had it ignored, and that is inherited.
"""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
signal.signal(signal.SIGINT, signal.default_int_handler)
