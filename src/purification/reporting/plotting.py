"""Matplotlib and seaborn as all pictures use them: what a machine sets for its user's other
programs (MPLBACKEND, a matplotlibrc, a style) decides nothing about them.

The only module that imports the two. They take longer to load than most jobs' own work, so it is
imported inside the functions that draw.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Figure", "FigureCanvasAgg", "FixedLocator", "Line2D", "LogLocator", "MaxNLocator"]
__all__ += ["NullFormatter", "NullLocator", "cycler", "only_style", "seaborn"]


@contextmanager
def _no_settings() -> Iterator[None]:
    """Matplotlib reads the user's settings while it is imported: here there are none, and the
    backend is Agg.

    An MPLBACKEND of a notebook would otherwise fail in a job whose environment has no such backend,
    and some settings (image.lut) are taken for good.
    """
    own = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    # A matplotlibrc in the working directory comes before that of MATPLOTLIBRC.
    with chdir(Path(find_spec("matplotlib").origin).parent):
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


with _no_settings():
    import seaborn
    from cycler import cycler
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator


def only_style(settings: Mapping[str, Any]) -> AbstractContextManager[None]:
    """A block in which `settings` (rcParams), and else Matplotlib's defaults, are in force: also
    where Matplotlib was in use before this module, as in a notebook.

    The font is DejaVu Sans, which comes with Matplotlib: others are on some machines only.
    """
    font = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}
    return style.context(["default", {**settings, **font}])
