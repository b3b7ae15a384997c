"""Configuration of the documentation site: ``make docs`` builds it into docs/_build/html.

The site asks no other host for anything: formulas are set by a copy of MathJax with its fonts, and examples draw
their pictures while the site is built.
"""

import sys
import warnings
from pathlib import Path

from PIL import Image

from lineardiffusion import LinearDiffusion, __version__
from lineardiffusion.page import write_page

HERE = Path(__file__).parent
PI = "314159265358979323846264338327950288419716"
sys.path.insert(0, str(HERE / "_ext"))

project = "Linear Diffusion"
author = "The Linear Diffusion authors"
copyright = "The Linear Diffusion authors"
version = release = __version__
language = "en"

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "sphinx-mathjax-offline", "numpydoc",
    "myst_parser", "sphinx_gallery.gen_gallery", "sphinx_design", "sphinx_copybutton", "commands",
]  # fmt: skip
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/**/*.ipynb", "learn/course/*.ipynb"]
highlight_language = "none"

# ---------------------------------------------------------------------- docstrings

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
autodoc_mock_imports = ["dask", "distributed", "torch", "diffusers"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# ---------------------------------------------------------------------- pages

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

copybutton_exclude = ".linenos, .gp, .go"  # prompts and results are not copied

# ---------------------------------------------------------------------- examples

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/course", "../examples/gallery"],
    "gallery_dirs": ["learn/course", "gallery"],
    "filename_pattern": "plot_",
    "subsection_order": [
        f"../examples/gallery/{folder}" for folder in ("draw", "words", "complete", "choose", "samplers", "scale")
    ],
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("figures",),
    "reset_modules": (),
    "parallel": 2,
    "show_memory": False,
    "min_reported_time": 0,
    "download_all_examples": False,
    "doc_module": ("lineardiffusion",),
    "backreferences_dir": "reference/api/used_by",
    "remove_config_comments": True,
    "write_computation_times": False,  # its page loads scripts from other hosts
}
warnings.filterwarnings("ignore", message=".*styles.*")

# ---------------------------------------------------------------------- appearance

html_theme = "pydata_sphinx_theme"
html_title = "Linear Diffusion"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "play": []}
html_theme_options = {
    "logo": {"text": "Linear Diffusion"},
    "header_links_before_dropdown": 6,
    "icon_links": [
        {
            "name": "Source",
            "url": "https://github.com/linear-diffusion/linear-diffusion",
            "icon": "fa-brands fa-github",
        }
    ],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "use_edit_page_button": False,
}


def write_generated_files(app, error):
    """Write the page that holds a model, and the digits of the front page, beside the site's own pages."""
    if error is None and app.builder.format == "html":
        write_page(LinearDiffusion.from_pretrained("mnist-small"), Path(app.outdir) / "page.html")
        images = LinearDiffusion.from_pretrained("mnist").predict(list(PI), seed=range(len(PI)))
        rows = 255 - images.reshape(3, 14, 28, 28).transpose(0, 2, 1, 3).reshape(3 * 28, 14 * 28)
        picture = Image.fromarray(rows.round().astype("uint8")).resize((14 * 84, 3 * 84), Image.Resampling.BICUBIC)
        picture.save(Path(app.outdir) / "_static" / "digits.png")


def without_last_lines(app, name, source):
    """Leave out the empty lines that end blocks of code, where doctest needs them to end a result."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    app.connect("source-read", without_last_lines)
    app.connect("build-finished", write_generated_files)
