"""Physics only: arrays in, arrays out; device and dtype are arguments. Conventions are in docs/optics.md.

pupil       Aperture(diameter_m, obscuration_m, vanes, vane_width_m, vane_angle_deg); Aperture.of(instrument)
            sampling(instrument) -> D p / lambda; check_sampling(instrument)
            cutoff(instrument) in cycles per pixel
            pupil_coordinates(diameter_px) -> (n,); transmission(aperture, diameter_px) -> (y, x)
modes       make_basis(count, aperture, kind="kl" | "kl-tilt" | "zernike") -> Basis: variances, tilts,
                sample(y, x) -> (mode, ...)
            noll(j) -> (n, m); noll_residual(removed)
mode_cache  sampled_modes(basis, diameter_px, dtype) -> (mode, y, x)
psf         make_optics(instrument, size, basis, *, reference_nm, defocus_waves, device, dtype) -> Optics
            psf(optics, coefficients, mode_axis=-1) -> (..., y, x), centred in pixel n // 2, unit sum
            psf_of_phase(optics, phase) -> (..., y, x); pupil_axis(optics) -> (side,)
            otf(psfs) -> (..., ky, kx // 2 + 1); light_outside(psfs, size)
            strehl(psfs, optics)
            fitting_size(instrument, coefficients, *, basis, lost, smallest, largest) -> (size, light lost)
            telescope_psf(instrument, shape); airy(r, obscuration); wachter(r); fast_length(n)
convolve    extend(images, size, borders="reflect" | "periodic" | "given"), extend_adjoint
            node_grid(shape, step); interpolate(maps, shape, step); at_nodes(maps, step)
            PerPixelSum(optics=, shape=, borders=, batch=): exact;
                objects (object, y, x), modes (frame, mode, y, x) -> images (object, frame, y, x)
filter_flow FilterFlow(optics=[one per object], shape=, step=16, borders=, node_batch=, checkpoint=):
                the same from modes (frame, mode, gy, gx) at nodes, fast
            .grid, .object_shape; .psfs(modes, object_); .transfer(modes), .apply(objects, transfer),
                .adjoint(images, transfer)
filters     frequency(grid); flat_top(frequencies, cutoff, width=1.8, smoothness=20) (eq. 16)
            filtered(images, transfer, borders="reflect" | "periodic") on filter_grid(shape, borders)
noise       estimate_sigma(image); estimate_noise(image, cutoff) -> Noise(sigma, correlation_px)
                with .power(frequency)
tiles       apodisation(shape, width)
            Tiling(shape, tile, overlap, margin, zoom): places, weights, blend
"""
