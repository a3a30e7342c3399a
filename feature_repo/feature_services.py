"""Which views each consumer reads together; training is exactly ranking."""

from feast import FeatureService

from feature_repo.feature_views import (
    user_recent_clicks,
    user_recent_skips,
    user_statistics,
    user_topics,
    video_statistics,
    video_topics,
)

recall_v1 = FeatureService(name="recall_v1", features=[video_topics])

ranking_v1 = FeatureService(name="ranking_v1", features=[video_topics, video_statistics])

training_v1 = FeatureService(name="training_v1", features=[video_topics, video_statistics])

ranking_v2 = FeatureService(
    name="ranking_v2",
    features=[
        video_topics,
        video_statistics,
        user_statistics,
        user_topics,
        user_recent_clicks,
        user_recent_skips,
    ],
)

training_v2 = FeatureService(
    name="training_v2",
    features=[
        video_topics,
        video_statistics,
        user_statistics,
        user_topics,
        user_recent_clicks,
        user_recent_skips,
    ],
)
