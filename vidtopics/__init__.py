"""Multimodal video topics in a feature store.

After Pu et al., *Multimodal Topic Learning for Video Recommendation*.
"""

__version__ = "0.1.0"
