"""From restored modulation states to Stokes images and magnetic fields: arrays in, arrays out."""
