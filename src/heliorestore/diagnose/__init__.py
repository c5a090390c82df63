"""Questions about data and results: seeing, regularisation, PSF, memory, the error of an emulator."""
