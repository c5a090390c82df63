"""Physics only: arrays in, arrays out; device and dtype are arguments."""
