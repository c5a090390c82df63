"""Work beside the GUI thread: workers, autosave, live results, preview, sweeps, versions."""
