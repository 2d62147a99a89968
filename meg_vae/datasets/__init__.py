"""Data to try the inverse on, none of it downloaded.

- `template`: a head model made from what MNE and nilearn ship, with a model 306-channel helmet.
- `template_recording`: evoked fields of known sources in that head, at a stated SNR.
- `simulated_study`: recordings of many heads that share their sources, for `meg_vae.study`.
- `array_info`: sensors of other arrays (CTF, KIT, 4D, OPM) around the template head.
- `sample`: MNE's sample dataset (auditory and visual evoked fields), where it is installed.

`Template` is what the first returns and `Recording` what the other two return.
"""

from __future__ import annotations

from .arrays import array_info
from .recordings import Recording, template_recording
from .sample import sample
from .study import SimulatedStudy, simulated_study
from .template import Template, template

__all__ = [
    "Recording",
    "SimulatedStudy",
    "Template",
    "array_info",
    "sample",
    "simulated_study",
    "template",
    "template_recording",
]
