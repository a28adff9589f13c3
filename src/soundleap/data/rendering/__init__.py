"""Training sounds made on this computer, with captions that are exact by construction.

`soundleap.data.rendering.render.render_corpus` is the entry; every clip is a function of
(source, seed, index).
"""
