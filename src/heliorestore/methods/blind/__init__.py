"""What MOMFBD and SV-MOMFBD share."""
