"""From a Burst to a better Burst, or to an Observation: alignment, destretching, averaging."""
