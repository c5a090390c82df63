"""The weights of MFBD's networks that fit a camera, and the unit in which they take its frames."""

from __future__ import annotations

from heliorestore.errors import WeightsError
from heliorestore.instrument import Instrument
from heliorestore.nets import weights
from heliorestore.nets.mfbd import EncoderDecoder, Recurrent

Net = EncoderDecoder | Recurrent
ARRIVAL = "arrival"
"""The order of frames in a recipe whose network takes them as they arrive, not the sharpest first."""
# the coarsest pixels on which CHROMIS' networks were trained; for larger ones the others restore better
_FINE_ARCSEC = 0.042
# The networks by what was measured (docs/mfbd.md): that of all cameras, trained on frames with errors, is
# better than CRISP's, but its recurrent one not everywhere, and CHROMIS' are better with fine pixels.
_SUITED = {
    ("encoder-decoder", True): ("chromis-quarter", "sst-quarter", "crisp-quarter"),
    ("encoder-decoder", False): ("sst-quarter", "crisp-quarter"),
    ("recurrent", True): ("chromis-quarter", "crisp-quarter"),
    ("recurrent", False): ("crisp-quarter",),
}
_SAME_APERTURE = 0.01  # a smaller difference is not worth a message


def fitting(
    instrument: Instrument, network: str, wanted: str
) -> tuple[Net, weights.WeightsRecord, list[str]]:
    """The weights `wanted`, or those of a `network` for the instrument's pixels, and messages on them."""
    pixel = instrument.pixel_arcsec
    prefix = "mfbd-recurrent-" if network == "recurrent" else "mfbd-"
    suited = _SUITED[network, pixel is not None and pixel < _FINE_ARCSEC]
    name = wanted or next((prefix + each for each in suited if prefix + each in weights.names()), "")
    if not name:
        raise WeightsError(
            f"No {network} network is available: train one (heliorestore train mfbd --recipe "
            f"{prefix}{suited[0]}) or import the published one (heliorestore weights import FILE --as "
            "NAME) and name it with --weights."
        )
    net, record = weights.load(name)
    if not isinstance(net, EncoderDecoder | Recurrent):
        raise WeightsError(
            f"The weights {name} are of the network {record.architecture}; MFBD needs weights "
            "of its own networks."
        )
    messages = [f"Weights {record.name}, sha256 {record.sha256}."]
    low, high = record.pixel_arcsec
    if pixel is None:
        messages.append(
            f"The size of the pixels is unknown: the network was trained on pixels of {low:g} to "
            f"{high:g} arcsec."
        )
    elif not low <= pixel <= high:
        messages.append(
            f"The pixels have {pixel:g} arcsec; the weights {record.name} were trained on {low:g} to "
            f"{high:g} arcsec ({record.instrument or 'an unknown instrument'}): expect a poorer result."
        )
    if (aperture := _other_aperture(instrument, record)) is not None:
        messages.append(aperture)
    return net, record, messages


def in_order_of_arrival(record: weights.WeightsRecord) -> bool:
    """Whether the network was trained with frames in the order of their arrival."""
    return record.recipe.get("order") == ARRIVAL


def _other_aperture(instrument: Instrument, record: weights.WeightsRecord) -> str | None:
    """A message if the network saw telescopes of another aperture in its training."""
    names, here = record.recipe.get("instruments", ()), instrument.diameter_m
    trained = [each for name in names if (each := Instrument.recorded(str(name)).diameter_m)]
    if here is None or not trained:
        return None
    nearest = min(trained, key=lambda each: abs(here / each - 1))
    if abs(here / nearest - 1) < _SAME_APERTURE:
        return None
    return (
        f"The weights {record.name} were trained for an aperture of {nearest:g} m; that of {instrument.name} "
        f"has {here:g} m, {abs(here / nearest - 1):.0%} {'more' if here > nearest else 'less'}."
    )


def unit(record: weights.WeightsRecord, scale: float, sharpest: float) -> tuple[float, float]:
    """Zero and factor that convert frames of mean 1 to the network's unit; `scale` is their mean in the
    burst's unit.

    Networks take frames scaled to a mean, counts times a factor, or contrasts in units of the `sharpest`
    frame's.
    """
    word, _, number = record.normalisation.partition(" ")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    units = {
        "mean": (0.0, value),
        "times": (0.0, value * scale),
        # A flat frame has no contrast to divide by.
        "contrast": (1.0, value / max(sharpest, 1e-6)),
    }
    if word not in units or not value > 0:
        raise WeightsError(
            f"The record of {record.name} has the normalisation {record.normalisation!r}; "
            "MFBD knows 'mean 0.4', 'times 0.001' and 'contrast 1'."
        )
    return units[word]
