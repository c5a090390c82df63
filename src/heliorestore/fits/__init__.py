"""Files in and out: FITS (and ANA) to Burst or Snapshot, and a Snapshot with its provenance to FITS."""
