"""The sources in a continuous recording as a recording of MNE, computed where it is read."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.sensors import Sensors

Array = NDArray[np.float64]


class SourceRaw(mne.io.BaseRaw):
    """Channels that are a linear map of those of another recording.

    Of a recording in memory it is in memory. Else, as with a file that is not loaded, pieces are
    computed when they are asked for, and saving goes through them one by one.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The other recording; a copy of one that is not in memory is kept.
    W : ndarray, shape (n_sources, n_channels)
        The map, A·m per unit of each channel.
    sensors : Sensors
        Which channels of ``raw`` those are.
    info : mne.Info
        Describes the channels of the sources.
    """

    def __init__(self, raw: mne.io.BaseRaw, W: Array, sensors: Sensors, info: mne.Info) -> None:
        picks = sensors.pick(raw.info, "raw")
        source = raw if raw.preload else raw.copy()
        own = {"raw": source, "W": W, "sensors": sensors, "picks": picks}
        super().__init__(
            info,
            raw.preload,
            first_samps=(raw.first_samp,),
            last_samps=(raw.last_samp,),
            raw_extras=[own],
            verbose="error",
        )
        if raw.preload:
            self._raw_extras = [{}]  # the other recording is no longer needed

    def _read_segment_file(
        self,
        data: Array,
        idx: Any,
        fi: int,
        start: int,
        stop: int,
        cals: Array,
        mult: Array | None,
    ) -> None:
        """Compute the channels ``idx``, of samples that count as those of the recordings do."""
        own = self._raw_extras[fi]
        raw = own["raw"]
        values = raw.get_data(own["picks"], start - raw.first_samp, stop - raw.first_samp)
        found = own["W"][idx] @ own["sensors"].check_values(values, "raw")
        data[:] = found if mult is None else mult @ found
