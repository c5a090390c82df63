"""heliorestore: restore images of the Sun; in napari, in a notebook and on the command line.

>>> burst = heliorestore.read("scan.fits")
>>> for snapshot in heliorestore.stream(burst, heliorestore.RichardsonLucySettings()):
...     print(snapshot.step, dict(snapshot.losses))
>>> heliorestore.write(snapshot, "restored.fits")
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from heliorestore.moved import OldPaths

if TYPE_CHECKING:
    from heliorestore.bridges.cubes import from_ndcube, to_ndcube
    from heliorestore.bridges.dkist import from_dkist
    from heliorestore.bridges.maps import from_map, to_map
    from heliorestore.burst import Burst
    from heliorestore.fits.reader import read
    from heliorestore.fits.writer import write
    from heliorestore.instrument import Instrument
    from heliorestore.methods.base import restore, stream
    from heliorestore.methods.enhance import EnhanceSettings
    from heliorestore.methods.mfbd import MfbdSettings
    from heliorestore.methods.momfbd import MomfbdSettings
    from heliorestore.methods.noise2noise import DenoiseSettings
    from heliorestore.methods.pca import PcaSettings
    from heliorestore.methods.richardson_lucy import RichardsonLucySettings
    from heliorestore.methods.sv_momfbd import SvMomfbdSettings
    from heliorestore.snapshot import Snapshot, StopReason

__version__ = "0.1.0"

_HOME = {
    "Burst": "burst",
    "DenoiseSettings": "methods.noise2noise",
    "EnhanceSettings": "methods.enhance",
    "Instrument": "instrument",
    "MfbdSettings": "methods.mfbd",
    "MomfbdSettings": "methods.momfbd",
    "PcaSettings": "methods.pca",
    "RichardsonLucySettings": "methods.richardson_lucy",
    "Snapshot": "snapshot",
    "StopReason": "snapshot",
    "SvMomfbdSettings": "methods.sv_momfbd",
    "from_dkist": "bridges.dkist",
    "from_map": "bridges.maps",
    "from_ndcube": "bridges.cubes",
    "read": "fits.reader",
    "restore": "methods.base",
    "stream": "methods.base",
    "to_map": "bridges.maps",
    "to_ndcube": "bridges.cubes",
    "write": "fits.writer",
}

__all__ = [
    "Burst",
    "DenoiseSettings",
    "EnhanceSettings",
    "Instrument",
    "MfbdSettings",
    "MomfbdSettings",
    "PcaSettings",
    "RichardsonLucySettings",
    "Snapshot",
    "StopReason",
    "SvMomfbdSettings",
    "from_dkist",
    "from_map",
    "from_ndcube",
    "read",
    "restore",
    "stream",
    "to_map",
    "to_ndcube",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used: importing the package stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'heliorestore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"heliorestore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return ["__version__", *__all__]


sys.meta_path.append(OldPaths())
