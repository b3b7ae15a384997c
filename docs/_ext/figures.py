"""Show the figures of examples: those of module-level variables that have no pyplot and were not shown yet."""

import weakref

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_shown = weakref.WeakSet()


def scraper(block, block_vars, gallery_conf):
    """Save the new figures of a block and return the reStructuredText that shows them."""
    files, captions = [], []
    for name, value in block_vars["example_globals"].items():
        if isinstance(value, Figure) and value not in _shown and not name.startswith("_"):
            _shown.add(value)
            files.append(next(block_vars["image_path_iterator"]))
            value.savefig(files[-1], dpi=max(value.dpi, 110))
            captions.append(value._suptitle.get_text() if value._suptitle else "")
    return figure_rst(files, gallery_conf["src_dir"], " ".join(filter(None, captions)))


def _get_sg_image_scraper():
    return scraper
