"""Pictures of the tutorials: those that were shown, not those that were only written to files."""

from __future__ import annotations

import pyvista


class ShownPlotters(pyvista.Scraper):
    """Take the plotters whose ``show()`` was called."""

    def __call__(self, *args, **kwargs):
        """Forget the others, of which PyVista's scraper could not take a picture."""
        plotters = pyvista.plotting.plotter._ALL_PLOTTERS
        for name, plotter in list(plotters.items()):
            if plotter.last_image is None:
                plotter.close()
                del plotters[name]
        return super().__call__(*args, **kwargs)
