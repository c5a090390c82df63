"""Draw the pictures of simulation.md and print its figures: `python docs/make_simulation_pictures.py
[FOLDER]`.

All pictures show simulated data. FOLDER holds the reference data (an MHD simulation, restored observations);
without it the comparison with them is left out.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN
from heliorestore.optics.psf import telescope_psf
from heliorestore.simulate.atmosphere import Seeing, make_atmosphere
from heliorestore.simulate.burst import detect, narrow_band, simulate_burst, wide_band
from heliorestore.simulate.exposure import convolve_everywhere, convolve_per_node
from heliorestore.simulate.faults import draw_faults
from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.magnetic import magnetic_field
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere
from heliorestore.simulate.turbulence import phase_screen, structure_function
from heliorestore.simulate.view import SimulationSettings, make_view

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parent / "pictures"
CRISP = KNOWN["crisp-8542-paper"]
EDGES = np.geomspace(0.02, 0.3, 10)  # cycles per pixel
Image = np.ndarray


def panels(
    name: str, images: list[tuple[str, Image, float, float]], columns: int, inches: float = 2.6
) -> None:
    """Save images with their titles and grey levels side by side."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(inches * columns, (inches + 0.22) * rows), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, image, low, high) in zip(axes.flat, images, strict=False):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
        axis.set_title(title, fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(PICTURES / name, dpi=80)
    plt.close(figure)


def draw_scenes() -> None:
    """A sunspot and quiet Sun in both bands, with their fields."""
    shown = []
    for scene, seed in (("sunspot", 11), ("granulation", 7)):
        patch = Patch(shape=(380, 380), pixel_arcsec=0.059, scene=scene, seed=seed)
        shown += [
            ("continuum, 600 nm", photosphere(patch), 0.05, 1.45),
            ("Ca II 8542, near the core", narrow_band(patch, CRISP), 0.2, 1.8),
            ("vertical field, -1.5 to 1.5 kG", magnetic_field(patch)[2], -1500, 1500),
        ]
    panels("sim_scenes.png", shown, 3, 2.5)


def draw_burst() -> None:
    """A burst, its truth and its PSFs."""
    settings = SimulationSettings(ao=True, frames=2)
    began = time.perf_counter()
    made = simulate_burst(settings.replace(frames=12), CRISP, seed=1)
    print(f"burst of 2 x 12 x 256^2: {time.perf_counter() - began:.1f} s")
    free = simulate_burst(settings.replace(ao=False, objects=1), CRISP, seed=1)
    grid = made.view.psf_grid(64)[0, ..., 36:84, 36:84]
    psfs = np.sqrt(grid.transpose(0, 2, 1, 3).reshape(4 * 48, 4 * 48))
    wide, narrow = (0.15, 1.25), (0.2, 1.6)
    shown = [
        ("the Sun", made.scene[0], *wide),
        ("truth: 1 m telescope", made.truth[0], *wide),
        ("a frame, partial AO", made.burst.image(0, 0), *wide),
        ("a frame, no AO", free.burst.image(0, 0), *wide),
        ("the Sun, narrow band", made.scene[1], *narrow),
        ("truth", made.truth[1], *narrow),
        ("a frame, partial AO", made.burst.image(1, 0), *narrow),
        ("PSFs of that frame, square root", psfs, 0.0, float(psfs.max()) * 0.8),
    ]
    panels("sim_burst.png", shown, 4)


def draw_camera() -> None:
    """What both blurs do, and every fault of telescope and camera, on one frame of granulation."""
    crisp = KNOWN["crisp-6302-paper"]
    clean = SimulationSettings(
        ao=True, scene="granulation", size=128, frames=4, objects=1, noise=0, high_share=0.3
    )
    gathered = simulate_burst(clean, crisp, seed=2)
    scattered = simulate_burst(clean.replace(blur="scatter"), crisp, seed=2)
    frame, other = gathered.burst.image(0, 0), scattered.burst.image(0, 0)
    truth = scattered.truth[0]
    print(f"scatter - gather: {(other - frame).std() / frame.std():.3f} of the frame's contrast")
    print(f"contrast: truth {truth.std() / truth.mean():.3f}, frames", end=" ")
    contrasts = [image.std() / image.mean() for image in np.asarray(scattered.burst.frames)[0]]
    print(np.round(contrasts, 3).tolist())
    faulty = clean.replace(flux_rms=0.02, gain_table_rms=0.01, fringe_amplitude=0.01)
    shape = (1, clean.frames, clean.size, clean.size)
    faults = draw_faults(faulty, shape, scattered.view.seeing_px, 2)
    images = {name: image.reshape(-1, 128, 128)[0] for name, image in faults.images().items()}
    light = torch.from_numpy(np.asarray(scattered.burst.frames))
    outliers = draw_faults(clean.replace(outlier_frames=2), shape, scattered.view.seeing_px, 2)
    strange = outliers.on_light(light)[0, list(outliers.outliers)].numpy()
    few = clean.replace(full_well=2000, read_noise=20.0)
    grey = (0.7, 1.3)
    shown = [
        ("a frame, scatter", other, *grey),
        ("scatter less gather, -0.05 to 0.05", other - frame, -0.05, 0.05),
        ("flux error, -5 to 5 %", images["FLUX"], -0.05, 0.05),
        ("gain table, -3 to 3 %", images["GAINTABLE"], -0.03, 0.03),
        ("fringes, -3 to 3 %", images["FRINGES"], -0.03, 0.03),
        ("full well 2000 electrons", detect(light, few, 2)[0, 0], *grey),
        ("outlier: bad seeing", strange[0], *grey),
        ("outlier: another place", strange[1], *grey),
    ]
    panels("sim_faults.png", shown, 4)


def draw_turbulence() -> None:
    """Structure function, and the change of the wavefront over the field, beside theory."""
    generator = torch.Generator().manual_seed(0)
    screens = [phase_screen((128, 128), 0.025, 0.1, generator) for _ in range(600)]
    pixels = np.array([2, 4, 8, 16, 24, 32, 40])
    measured = np.array(
        [
            np.mean(
                [
                    float((s[n:] - s[:-n]).square().mean() + (s[:, n:] - s[:, :-n]).square().mean()) / 2
                    for s in screens
                ]
            )
            for n in pixels
        ]
    )
    expected = np.array([structure_function(n * 0.025, 0.1) for n in pixels])
    print(
        "structure function / Kolmogorov:",
        dict(zip((pixels * 0.025).round(3).tolist(), (measured / expected).round(3).tolist(), strict=True)),
    )
    seeing = Seeing(r0_m=0.1, wavelength_nm=854.2)
    angle = seeing.isoplanatic_arcsec
    print(f"isoplanatic angle: {angle:.2f} arcsec")
    steps = np.linspace(0.25, 2.5, 10)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    fields = torch.cat([torch.zeros((1, 2)), *(float(s) * angle * directions for s in steps)])
    axis = (torch.arange(16) - 7.5) / 16
    changes = []
    for seed in range(80):
        air = make_atmosphere(
            seeing, diameter_m=1.0, field_arcsec=14.0, duration_s=0.0, pitch_m=1 / 32, seed=seed
        )
        phase = air.phase(axis, axis, fields, 0.0)
        changes.append(((phase[1:] - phase[:1]) ** 2).mean((1, 2)).reshape(-1, 4).mean(1).numpy())
    change = np.mean(changes, 0)
    print("change over the field / theory:", (change / steps ** (5 / 3)).round(2).tolist())
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
    axes[0].loglog(pixels * 0.025, expected, "k-", label=r"$6.88\,(r/r_0)^{5/3}$")
    axes[0].loglog(pixels * 0.025, measured, "o", label="600 screens")
    axes[0].set(xlabel="distance in the pupil [m]", ylabel="structure function [rad$^2$]")
    axes[1].plot(steps * angle, steps ** (5 / 3), "k-", label=r"$(\theta/\theta_0)^{5/3}$")
    axes[1].plot(steps * angle, change, "o", label="80 atmospheres")
    axes[1].set(xlabel="distance in the field [arcsec]", ylabel="change of the wavefront [rad$^2$]")
    for plot in axes:
        plot.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURES / "sim_turbulence.png", dpi=80)
    plt.close(figure)


def compare_roads() -> None:
    """NMSE of PSFs at nodes against a PSF for every pixel, on granulation, without AO."""
    view = make_view(SimulationSettings(frames=1), CRISP, 3)
    size = 96
    patch = Patch(shape=(size, size), pixel_arcsec=0.059, scene="granulation", seed=1, margin=view.margin)
    scene = torch.from_numpy(wide_band(patch, CRISP)).float()[None]

    def psfs_at(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return view.psfs(0, rows, columns)

    exact = convolve_everywhere(scene, psfs_at, size)
    for step in (32, 16, 8, 4):
        nodes = convolve_per_node(scene, psfs_at, size, step)
        print(f"PSFs every {step} px: NMSE {float((nodes - exact).square().mean() / exact.var()):.1e}")


def spectrum(image: Image) -> Image:
    """Azimuthal power of the relative intensity in rings between EDGES, apodised."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    relative = image / image.mean() - 1
    relative = (relative - (relative * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(relative)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    ring = np.digitize(frequency.ravel(), EDGES)
    return (np.bincount(ring, power.ravel()) / np.bincount(ring))[1 : len(EDGES)]


def through_sst(image: Image) -> Image:
    """The image through a 1 m telescope at 854.2 nm; its border, where it wraps around, is cut off."""
    transfer = torch.fft.rfft2(telescope_psf(CRISP, image.shape, dtype=torch.float64))
    return torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * transfer, s=image.shape).numpy()[
        24:-24, 24:-24
    ]


def compare(folder: Path) -> None:
    """Contrast and power of simulated over true images, ring by ring."""

    def parts(name: str, size: int) -> list[Image]:
        image = fits.getdata(folder / "truth" / name).astype(np.float64)
        return [image[:size, :size], image[-size:, -size:]]

    def patch(size: int, pixel: float, seed: int) -> Patch:
        return Patch(shape=(size, size), pixel_arcsec=pixel, scene="granulation", seed=seed)

    mhd = patch(500, 0.0662, 0)
    quiet = [patch(560, 0.059, seed) for seed in range(1, 5)]
    rows = {
        "MHD granulation": (
            [granulation(mhd.x, mhd.y, seed).intensity for seed in range(1, 7)],
            parts("mhd_granulation.fits", 500),
        ),
        "8542 wide band": (
            [through_sst(wide_band(sun, CRISP)) for sun in quiet],
            parts("crisp_8542_quiet_wb.fits", 512),
        ),
        "8542 narrow band": (
            [through_sst(narrow_band(sun, CRISP)) for sun in quiet],
            parts("crisp_8542_quiet_nb.fits", 512),
        ),
    }
    print("rings [cycles/px]:", np.sqrt(EDGES[1:] * EDGES[:-1]).round(3).tolist())
    for name, (ours, wanted) in rows.items():
        contrasts = [np.mean([i.std() / i.mean() for i in images]) for images in (ours, wanted)]
        ratio = np.mean([spectrum(i) for i in ours], 0) / np.mean([spectrum(i) for i in wanted], 0)
        print(
            f"{name}: contrast {contrasts[0]:.3f} against {contrasts[1]:.3f}, power ratio "
            f"{ratio.round(2).tolist()}"
        )


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    draw_scenes()
    draw_burst()
    draw_camera()
    draw_turbulence()
    compare_roads()
    if len(sys.argv) > 1:
        compare(Path(sys.argv[1]))
