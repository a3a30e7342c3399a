"""The joint representation of cover and title (paper, III-A1).

    cover -> images -> image_encoder -> f_C(x_I) |
                                                 | z = [f_C, f_T] -> mmoe -> p^k
    title -> title_encoder           -> f_T(x_W) |

:mod:`encoding` runs the two encoders over a catalogue, :mod:`dataset` makes the targets,
:mod:`training` learns z from stored encoder outputs and :mod:`fine_tuning` learns it end to end.
"""
