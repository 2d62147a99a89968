"""Time and size of what people see: `python scripts/benchmark_pictures.py`.

Each part runs in a fresh process. Writes `data/benchmarks/pictures.csv`: a row per measurement, the
median of its repetitions, with its target, the processor time of all threads beside the time on the
wall (which a busy machine makes longer), the largest memory, and what it was measured on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

OUT = Path(__file__).parents[1] / "data" / "benchmarks" / "pictures.csv"
METHODS = ("vae", "mxne", "gamma_map", "sloreta", "dspm")
FIELDS = (
    "what",
    "value",
    "unit",
    "target",
    "met",
    "processor_s",
    "memory_mb",
    "repetitions",
    "condition",
)
TARGETS = {
    "import meg_vae": 0.3,
    "heavy modules loaded by import meg_vae": 0.0,
    "four-view still of both hemispheres": 5.0,
    "standalone page": 8.0,
    "standalone page of a cortex with 163,842 vertices a hemisphere": 8.0,
    "report of a comparison of five methods, beyond the methods' own time": 60.0,
}


class Clock:
    """Time on the wall and of the processor since it was made."""

    def __init__(self):
        self.start = time.perf_counter(), time.process_time()

    def read(self):
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def measure_import():
    clock = Clock()
    import meg_vae  # noqa: F401

    seconds = clock.read()
    heavy = {"torch", "pyvista", "vtkmodules", "matplotlib"} & set(sys.modules)
    yield "import meg_vae", *seconds, "s"
    yield "heavy modules loaded by import meg_vae", len(heavy), None, "modules"


def measure_still():
    import pyvista  # noqa: F401

    from meg_vae import datasets, viz

    head = datasets.template("ico3", verbose="error")
    sources = _sources()
    viz.plot_cortex, viz.save_picture  # noqa: B018 - imported before the clock starts
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        plotter = viz.plot_cortex(
            sources,
            subject=head.subject,
            subjects_dir=head.subjects_dir,
            look=viz.Look(off_screen=True),
        )
        viz.save_picture(plotter, Path(folder) / "still.png")
        yield "four-view still of both hemispheres", *clock.read(), "s"


def measure_page():
    from meg_vae import datasets, viz

    head = datasets.template("ico3", verbose="error")
    with tempfile.TemporaryDirectory() as folder:
        _fine_subject(head, Path(folder))
        for what, place, subject in (
            ("standalone page", head.subjects_dir, head.subject),
            (
                "standalone page of a cortex with 163,842 vertices a hemisphere",
                Path(folder),
                "fine",
            ),
        ):
            look = viz.Look(views="dorsal", off_screen=True)
            plotter = viz.plot_cortex(_sources(), subject=subject, subjects_dir=place, look=look)
            clock = Clock()
            path = viz.save_page(plotter, Path(folder) / "page.html")
            plotter.close()
            yield what, path.stat().st_size / 1e6, clock.read()[1], "MB"


def measure_report():
    from meg_vae import compare, datasets, report

    case = datasets.template_recording(
        n_sources=3, snr_db=10, random_state=0, spacing="ico3", verbose="error"
    )
    result = compare(
        case.evoked, case.forward, case.noise_cov, METHODS, truth=case.truth, verbose="error"
    )
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        page = report.comparison_report(
            result,
            case.evoked,
            report.Origin(case.forward, case.noise_cov),
            subjects_dir=case.subjects_dir,
        )
        path = report.save_report(page, Path(folder) / "report.html")
        seconds = clock.read()
        yield "report of a comparison of five methods, beyond the methods' own time", *seconds, "s"
        yield "size of that report", path.stat().st_size / 1e6, None, "MB"


PARTS = {
    "import": measure_import,
    "still": measure_still,
    "page": measure_page,
    "report": measure_report,
}


def _sources():
    import pandas as pd

    places = {"hemi": ["lh", "rh", "rh"], "vertno": [500, 100, 450]}
    return pd.DataFrame(places).assign(peak_nAm=[10.0, 8.0, 6.0])


def _fine_subject(head, folder):
    """Write a subject with every triangle of the template's cortex cut into sixteen."""
    import mne
    import nibabel
    import numpy as np
    import pyvista as pv

    (folder / "fine" / "surf").mkdir(parents=True)
    source = head.subjects_dir / head.subject / "surf"
    for hemi in ("lh", "rh"):
        curvature = nibabel.freesurfer.read_morph_data(source / f"{hemi}.curv")
        for kind in ("white", "inflated"):
            points, triangles = mne.read_surface(source / f"{hemi}.{kind}")
            mesh = pv.PolyData.from_regular_faces(points, triangles)
            mesh["curv"] = np.asarray(curvature, float)
            mesh = mesh.subdivide(2)
            target = folder / "fine" / "surf"
            mne.write_surface(target / f"{hemi}.{kind}", mesh.points, mesh.regular_faces)
        nibabel.freesurfer.write_morph_data(target / f"{hemi}.curv", mesh["curv"])
        assert mesh.n_points == 163_842


def run_part(name):
    """Measure one part in this process and print what was found as JSON."""
    rows = [(what, float(value), busy, unit) for what, value, busy, unit in PARTS[name]()]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "memory": memory}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="measure one part here (used by the script)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of the quick parts")
    arguments = parser.parse_args()
    if arguments.part:
        run_part(arguments.part)
        return
    condition = (
        f"{platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, VTK {version('vtk')}, MNE {version('mne')}"
    )
    rows = []
    for part in PARTS:
        repeat = arguments.repeat if part in ("import", "still") else 1
        found, memory = {}, []
        for _ in range(repeat):
            command = [sys.executable, __file__, "--part", part]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            answer = json.loads(out.splitlines()[-1])
            memory.append(answer["memory"])
            for what, value, busy, unit in answer["rows"]:
                found.setdefault((what, unit), []).append((value, busy))
        for (what, unit), values in found.items():
            value, target = statistics.median(one for one, _ in values), TARGETS.get(what)
            busy = [one for _, one in values if one is not None]
            busy = f"{statistics.median(busy):.3g}" if busy else ""
            met = "" if target is None else ("yes" if value <= target else "no")
            figures = (what, f"{value:.3g}", unit, target, met, busy, round(max(memory)), repeat)
            rows.append((*figures, condition))
            print(f"{what}: {value:.3g} {unit} (target {target}, processor {busy} s)")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
