"""Burst, Snapshot and Map as layers, and how they are shown."""
