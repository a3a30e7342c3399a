"""Which views each consumer reads together; training is exactly ranking."""

from feast import FeatureService

from feature_repo.feature_views import video_statistics, video_topics

recall_v1 = FeatureService(name="recall_v1", features=[video_topics])

ranking_v1 = FeatureService(name="ranking_v1", features=[video_topics, video_statistics])

training_v1 = FeatureService(name="training_v1", features=[video_topics, video_statistics])
