from hypothesis import settings

# The first example pays for imports and for a busy machine: time is no property of a policy.
settings.register_profile("policies", deadline=None)
settings.load_profile("policies")
