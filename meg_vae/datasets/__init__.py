"""Data to try the inverse on, none of it downloaded.

- `template`: a head model made from what MNE and nilearn ship, with a model 306-channel helmet.
- `template_recording`: evoked fields of known sources in that head, at a stated SNR.
- `simulated_study`: recordings of many heads that share their sources, for `meg_vae.study`.
- `array_info`: sensors of other arrays (CTF, KIT, 4D, OPM) around the template head.
- `sample`: MNE's sample dataset (auditory and visual evoked fields), where it is installed.
- `phantom`: MNE's datasets of phantoms (dipoles whose places are known), where they are installed.

They return a `Template`, a `Recording`, a `SimulatedStudy`, an `mne.Info` and a `Phantom`.
"""

from __future__ import annotations

from .arrays import array_info
from .phantoms import Phantom, phantom
from .recordings import Recording, template_recording
from .sample import sample
from .study import SimulatedStudy, simulated_study
from .template import Template, template

__all__ = [
    "Phantom",
    "Recording",
    "SimulatedStudy",
    "Template",
    "array_info",
    "phantom",
    "sample",
    "simulated_study",
    "template",
    "template_recording",
]
