"""From a wish (a mode, sources, types, measurements, masks) to a plan, and from a plan to a folder of images."""
