"""vidtopics: multimodal video topics in a feature store (Pu et al., *Multimodal Topic Learning for Video Recommendation*)."""

__version__ = "0.1.0"
