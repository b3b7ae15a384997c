"""Load image data sets with one prompt per image, ready to fit: ``ld.fit(*load_digits())``.

==========================  ======  =======  ======  =============================================
loader                      n       h x w    range   source
==========================  ======  =======  ======  =============================================
:func:`load_digits`          1,797  8 x 8    0..16   included in scikit-learn, needs no network
:func:`load_mnist`          70,000  28 x 28  0..255  LeCun et al. 1998, Proceedings IEEE 86 (11)
:func:`load_fashion_mnist`  70,000  28 x 28  0..255  Xiao, Rasul and Vollgraf, arXiv:1708.07747
==========================  ======  =======  ======  =============================================

The files of MNIST and Fashion-MNIST are searched in ``$LINEARDIFFUSION_DATA/mnist`` (or ``fashion-mnist``), then
in ``lineardiffusion/mnist`` in scikit-learn's data home. Missing files are downloaded into the latter once, and
each is checked against the SHA-256 of the official file.

:func:`in_batches` cuts arrays on disk into batches for :meth:`lineardiffusion.LinearDiffusion.fit_batches`, and
:func:`read_idx` reads files of MNIST's format.
"""

from lineardiffusion.datasets.batches import in_batches
from lineardiffusion.datasets.idx import read_idx
from lineardiffusion.datasets.loaders import load_digits, load_fashion_mnist, load_mnist

__all__ = ["in_batches", "load_digits", "load_fashion_mnist", "load_mnist", "read_idx"]
