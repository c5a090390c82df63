"""What the networks of the package do with bursts whose truth is known; all scenes and air are new to
them."""

from functools import cache

import numpy as np
import pytest
import torch

from heliorestore import Burst, MfbdSettings, restore
from heliorestore.instrument import KNOWN
from heliorestore.nets.mfbd_weights import fitting
from heliorestore.prepare.observe import observe
from heliorestore.quality.metrics import contrast, registered
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.stokes import stokes
from heliorestore.simulate.view import SimulationSettings

SEED = 400_000
ONE = MfbdSettings(committee=1)


def error(image: np.ndarray, truth: np.ndarray) -> float:
    """Rms difference of the relative intensities after one shift, in units of the truth's."""
    _, moved = registered(image / image.mean(), truth / truth.mean(), 8)
    wanted = (truth / truth.mean())[8:-8, 8:-8]
    return float(np.sqrt(np.nanmean((moved - wanted) ** 2)) / wanted.std())


@cache
def simulated(name: str, scene: str, r0_cm: float) -> Simulation:
    air = SimulationSettings(size=128, frames=7, objects=1, scene=scene, r0_cm=r0_cm, ao=True, step=16)
    return simulate_burst(air, KNOWN[name], seed=SEED)


def sharpest(burst: Burst) -> int:
    return max(range(burst.shape[1]), key=lambda f: contrast(burst.image(0, f)))


@pytest.mark.parametrize(
    ("name", "scene", "r0_cm", "most"),
    [
        ("crisp-6302", "granulation", 12.0, 0.8),
        ("crisp-8542", "sunspot", 15.0, 0.7),
        ("chromis-3934", "sunspot", 8.0, 0.8),
    ],
)
@pytest.mark.parametrize("network", ["encoder-decoder", "recurrent"])
def test_it_comes_nearer_to_the_truth_than_the_sharpest_frame_and_the_mean(
    network: str, name: str, scene: str, r0_cm: float, most: float
) -> None:
    simulation = simulated(name, scene, r0_cm)
    frames, truth = np.asarray(simulation.burst.frames)[0], simulation.truth[0]
    restored = restore(simulation.burst, ONE.replace(network=network), device="cpu").images[0]
    best = error(frames[sharpest(simulation.burst)], truth)
    assert error(restored, truth) < most * best
    assert error(restored, truth) < error(frames.mean(0), truth)


@pytest.mark.parametrize(
    ("name", "scene"), [("crisp-6302", "granulation"), ("crisp-8542", "sunspot"), ("chromis-3934", "sunspot")]
)
def test_the_photometry_is_that_of_the_frames(name: str, scene: str) -> None:
    air = SimulationSettings(size=96, frames=7, objects=1, scene=scene, r0_cm=10.0, ao=True, step=32)
    simulation = simulate_burst(air, KNOWN[name], seed=SEED + 1)
    burst, truth = simulation.burst, simulation.truth[0]
    unmoved = restore(burst, ONE.replace(align=False), device="cpu").images[0]
    assert float(unmoved.mean()) == pytest.approx(float(np.asarray(burst.frames).mean()), rel=1e-4)
    observation = observe(burst, torch.device("cpu"), align=True)
    aligned = observation.read().images[0].numpy() * float(observation.scales[0])
    restored = restore(burst, ONE, device="cpu").images[0]
    assert float(restored.mean()) == pytest.approx(float(aligned.mean()), rel=1e-5)
    dark = truth < np.median(truth)  # where the air and the telescope put the light of the bright parts
    wanted = float(truth[dark].mean())
    assert abs(float(restored[dark].mean()) - wanted) < abs(float(aligned[:, dark].mean()) - wanted)


@pytest.mark.parametrize(
    ("network", "name", "chosen"),
    [
        ("encoder-decoder", "crisp-6302", "mfbd-sst-quarter"),
        ("encoder-decoder", "crisp-8542", "mfbd-sst-quarter"),
        ("encoder-decoder", "chromis-3934", "mfbd-chromis-quarter"),
        ("recurrent", "crisp-6302", "mfbd-recurrent-crisp-quarter"),
        ("recurrent", "crisp-8542", "mfbd-recurrent-crisp-quarter"),
        ("recurrent", "chromis-3934", "mfbd-recurrent-chromis-quarter"),
    ],
)
def test_each_sampling_has_weights_of_its_own(network: str, name: str, chosen: str) -> None:
    frames = np.random.default_rng(0).uniform(1, 2, (1, 7, 24, 24)).astype(np.float32)
    messages = " ".join(
        restore(Burst.from_array(frames, KNOWN[name]), ONE.replace(network=network), device="cpu").messages
    )
    assert f"Weights {chosen}, sha256" in messages
    assert "expect a poorer result" not in messages


@pytest.fixture(scope="module")
def modulated() -> Simulation:
    """A sunspot in two states of a modulation, I + V and I - V in the flank of Fe I 6302, through the same
    air."""
    air = SimulationSettings(size=128, frames=7, objects=2, r0_cm=12.0, ao=True, step=16, noise=1e-3)
    patch = Patch(shape=(128, 128), pixel_arcsec=0.059, scene="sunspot", seed=SEED, margin=64)
    intensity, _, _, circular = stokes(patch, "fe-6302", [-8.0])[:, 0]
    return simulate_burst(
        air,
        KNOWN["crisp-6302"],
        seed=SEED,
        scene=np.stack([intensity + circular, intensity - circular]).astype(np.float32),
    )


def demodulated(states: np.ndarray) -> np.ndarray:
    return (states[0] - states[1]) / (states[0] + states[1])


def test_circular_polarisation_survives_the_network(modulated: Simulation) -> None:
    restored = demodulated(restore(modulated.burst, MfbdSettings(committee=3), device="cpu").images)
    truth = demodulated(modulated.truth)
    frame = demodulated(np.asarray(modulated.burst.frames)[:, sharpest(modulated.burst)])
    inner = (slice(8, -8), slice(8, -8))
    residuals = [float(np.sqrt(np.mean((image - truth)[inner] ** 2))) for image in (restored, frame)]
    assert residuals[0] < residuals[1]
    assert float(restored.mean()) == pytest.approx(float(frame.mean()), abs=2e-3)
    slope = float((restored * truth)[inner].sum() / (truth * truth)[inner].sum())
    assert 0.85 < slope < 1.1


def test_without_polarisation_none_appears(modulated: Simulation) -> None:
    """The same frames in both states: whatever the network makes of them, it is the same."""
    frames = np.asarray(modulated.burst.frames)[:1].repeat(2, 0)
    images = restore(
        Burst.from_array(frames, KNOWN["crisp-6302"]), MfbdSettings(committee=3), device="cpu"
    ).images
    assert float(np.abs(demodulated(images)).max()) < 1e-5


def test_the_real_aperture_is_taken_and_the_difference_said() -> None:
    said = {key: fitting(KNOWN[key], "encoder-decoder", "")[2] for key in ("crisp-8542", "crisp-8542-paper")}
    assert said["crisp-8542"][1:] == [
        "The weights mfbd-sst-quarter were trained for an aperture of 1 m; that of SST/CRISP 8542 has "
        "0.97 m, 3% less."
    ]
    assert len(said["crisp-8542-paper"]) == 1
